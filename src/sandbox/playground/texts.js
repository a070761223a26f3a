// Explains JSON Schemas and refusals in words.

/** The values that a JSON Schema accepts. */
export function describe (schema) {
  if (schema === true) return 'anything'
  if ('const' in schema) return valueName(schema.const)
  if (schema.enum !== undefined) return schema.enum.map(valueName).join(', ')
  const variants = schema.anyOf ?? schema.oneOf
  if (variants !== undefined) return variants.map(describe).join('; or ')
  const { type, minimum, maximum, minLength, maxLength, pattern, properties, items } = schema
  if (type === 'number' || type === 'integer') {
    const whole = type === 'integer' ? 'a whole number' : 'a number'
    if (minimum !== undefined && maximum !== undefined) return `${whole} from ${minimum} to ${maximum}`
    if (minimum !== undefined) return `${whole} of at least ${minimum}`
    return maximum === undefined ? whole : `${whole} of at most ${maximum}`
  }
  if (type === 'string') {
    const length = maxLength === undefined ? '' : ` of at most ${maxLength} characters`
    const shortest = minLength === undefined ? '' : ` of at least ${minLength} characters`
    return `text${length}${shortest}${pattern === undefined ? '' : ` that matches ${pattern}`}`
  }
  if (type === 'boolean') return 'yes or no'
  if (type === 'null') return 'null, which turns it off'
  if (type === 'array') return `a list${items === undefined ? '' : ` of ${describe(items)}`}`
  if (properties !== undefined) {
    const members = Object.entries(properties).map(([key, value]) =>
      'const' in value ? `${key} ${valueName(value.const)}` : key)
    return `an object with ${members.join(', ')}`
  }
  return 'anything that matches its JSON Schema'
}

export function valueName (value) {
  if (value === null) return 'null: off'
  if (Array.isArray(value)) return value.map(valueName).join(' + ')
  if (typeof value === 'object') {
    return Object.keys(value).join() === 'type' ? String(value.type) : JSON.stringify(value)
  }
  return String(value)
}

/** The rules of the policy for a user's calls, as a sentence. */
export function describeCalls (calls, limits) {
  if (calls === undefined) return 'The policy grants this user no calls. Make one to see the refusal.'
  const windows = Object.entries(limits.call_seconds ?? {}).map(([window, { limit }]) => `${limit} s in one ${window}`)
  return `A call of this user lasts at most ${calls.max_seconds} s and ends after ${calls.idle_seconds} s of silence.` +
    (windows.length === 0 ? '' : ` All calls together: at most ${windows.join(', ')}.`) +
    (calls.data_channel ? '' : ' Audio only: the page cannot change the session.')
}

const CHANGE_RULES = {
  restore: 'what it does not permit is set back, deleted or cancelled. The fourth time within a minute ends the call.',
  end: 'the first change that it does not permit ends the call.',
  report: 'changes are only counted and written down.'
}

/** Describes how Ephemint answers a change, by `on_change` of the policy. */
export function describeChangeRule (onChange) {
  return CHANGE_RULES[onChange]
}

/** Describes the current state of an attempt to break out, and how long it took. */
export function becameOf (what, ms, message) {
  return {
    applied: () => `In force after ${shortTime(ms)}, not undone yet.`,
    corrected: () => `Corrected after ${shortTime(ms)}.`,
    deleted: () => `Deleted after ${shortTime(ms)}.`,
    cancelled: () => `Cancelled after ${shortTime(ms)}.`,
    permitted: () => 'Kept: the policy permits it.',
    completed: () => `Not undone: the response was complete after ${shortTime(ms)}.`,
    missed: () => `Not undone within ${shortTime(ms)}: Ephemint did not see it, or only reports it.`,
    refused: () => `OpenAI refused it: ${message}`,
    ended: () => `Ephemint ended the call after ${shortTime(ms)}: policy_change.`,
    over: () => 'The call ended before anything was done about it.'
  }[what]()
}

function shortTime (ms) {
  return ms < 1000 ? `${Math.max(1, Math.round(ms))} ms` : `${(ms / 1000).toFixed(1)} s`
}

const SENTENCES = {
  invalid_json: 'The body is not valid JSON.',
  invalid_request: 'This is not a valid session request.',
  invalid_credentials: 'Ephemint did not accept the credential. The reason is only in its log: see the terminal.',
  origin_not_allowed: 'This page may not call Ephemint: its origin is not in CORS_ORIGINS.',
  no_policy: 'No policy in the policy file applies to this user.',
  caller_blocked: 'The policy file blocks this user.',
  rate_limit_exceeded: 'A limit is used up.',
  upstream_rate_limited: 'OpenAI is limiting this service, or its account is out of credit.',
  upstream_rejected: 'OpenAI rejected the key or the request of this service. Its operator must fix this.',
  upstream_error: 'OpenAI gave an unexpected response.',
  upstream_unavailable: 'OpenAI cannot be reached.',
  upstream_timeout: 'OpenAI did not answer in time.',
  identity_unavailable: 'The identity provider cannot be reached, so the credential cannot be verified.',
  limits_unavailable: 'The store of the limits cannot be reached.',
  audit_unavailable: 'The audit log cannot be written, so nothing is minted.',
  call_in_progress: 'This user already has a call, and the policy permits no second one.',
  calls_full: 'There are as many calls as this policy, or Ephemint, can hold.',
  overloaded: 'Ephemint is overloaded.',
  draining: 'Ephemint is shutting down.'
}

/** The cause of a refusal, and advice. `sessions` is that part of the caller's policy. */
export function explain ({ code, message, param, retryAfter }, { kind, sessions, isCall }) {
  const allowed = sessions?.[kind]?.allow ?? {}
  const path = param?.replace(/^session\./, '')
  const again = retryAfter === null ? '' : `Try again in ${duration(Number(retryAfter))}.`
  if (code === 'call_in_progress') return { text: SENTENCES[code], advice: 'Hang it up, or wait for its end.' }
  if (code !== 'policy_violation') return { text: SENTENCES[code] ?? message, advice: again }
  if (param === 'sdp') {
    return {
      text: 'The policy permits audio only, and this offer has a data channel.', advice: 'Leave the channel out.'
    }
  }
  if (param === null && isCall && sessions?.[kind] !== undefined && sessions[kind].calls === undefined) {
    return { text: 'The policy grants this user no calls.', advice: 'Mint a client secret instead.' }
  }
  if (param === null) {
    return sessions !== undefined && sessions[kind] === undefined
      ? {
          text: `The policy grants this user no ${kind} session.`,
          advice: `Granted: ${Object.keys(sessions).join(', ') || 'none'}.`
        }
      : {
          text: 'The policy refuses this request.',
          advice: 'A claim that the policy needs may be missing.'
        }
  }
  if (path in allowed) {
    return { text: 'The policy does not permit this value.', advice: `Allowed: ${describe(allowed[path])}.` }
  }
  if (path.startsWith('expires_after') && sessions?.[kind] !== undefined) {
    return {
      text: 'The policy does not permit this lifetime.',
      advice: `Allowed: 10 to ${sessions[kind].expires_after.max} seconds.`
    }
  }
  if (path.startsWith('prompt')) {
    return {
      text: 'The policy does not offer this prompt, or not with these variables.',
      advice: `Offered: ${(sessions?.[kind]?.prompts ?? []).map(({ id }) => id).join(', ') || 'none'}.`
    }
  }
  return { text: 'The client cannot set this: the policy decides it.', advice: 'Leave it out.' }
}

const ENDS = {
  client: 'You hung up.',
  client_gone: 'The page had gone before the answer came.',
  never_connected: 'No one spoke or sent anything, so Ephemint took it for a call that no one had joined.',
  idle: 'No one said anything for too long.',
  max_duration: 'Its time was up.',
  policy_change: 'The session was changed in a way that the policy does not permit.',
  blocked: 'The policy file no longer permits this user a call.',
  replaced: 'This user has made another call, which replaced it.',
  operator: 'The operator ended it.',
  ended: 'OpenAI ended it, or the page was gone.',
  upstream_expired: 'OpenAI’s own limit for a call was reached.',
  supervision_lost: 'Ephemint could no longer follow it.',
  shutdown: 'Ephemint is shutting down.'
}

/** Why a call ended. */
export function endOf (reason) {
  return ENDS[reason] ?? `It ended with the reason ${reason}.`
}

export function duration (seconds) {
  if (seconds < 120) return `${seconds} s`
  return seconds < 7200 ? `${Math.ceil(seconds / 60)} min` : `${Math.ceil(seconds / 3600)} h`
}

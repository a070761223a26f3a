// What Ephemint answers, in words.

/** What a JSON Schema lets through. */
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
    return `${whole}${minimum === undefined ? '' : ` of at least ${minimum}`}${maximum === undefined ? '' : ` of at most ${maximum}`}`
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
    return `an object with ${Object.entries(properties).map(([key, value]) => 'const' in value ? `${key} ${valueName(value.const)}` : key).join(', ')}`
  }
  return 'what its JSON Schema says'
}

export function valueName (value) {
  if (value === null) return 'null: off'
  if (Array.isArray(value)) return value.map(valueName).join(' + ')
  if (typeof value === 'object') {
    return Object.keys(value).join() === 'type' ? String(value.type) : JSON.stringify(value)
  }
  return String(value)
}

const SENTENCES = {
  invalid_json: 'The body is not JSON. Nothing in it was looked at.',
  invalid_request: 'This is no session request.',
  invalid_credentials: 'Ephemint does not accept who you say you are. Why not stands in its log alone; here: in the terminal.',
  origin_not_allowed: 'This page may not call Ephemint: its origin is not in CORS_ORIGINS.',
  no_policy: 'No policy of the policy file is for this user.',
  caller_blocked: 'This user is on the policy file’s list of blocked callers.',
  rate_limit_exceeded: 'A limit is used up.',
  upstream_rate_limited: 'OpenAI is limiting this service, or its account is out of credit.',
  upstream_rejected: 'OpenAI does not take the key or the request of this service. That is for its operator to mend.',
  upstream_error: 'OpenAI did not answer as expected.',
  upstream_unavailable: 'OpenAI cannot be reached.',
  upstream_timeout: 'OpenAI did not answer in time.',
  identity_unavailable: 'The identity provider cannot be reached, so nobody can be told from anybody.',
  limits_unavailable: 'The store of the limits cannot be reached.',
  audit_unavailable: 'The decision cannot be written down, so nothing is minted.',
  overloaded: 'Ephemint has too much to do.',
  draining: 'Ephemint is shutting down.'
}

/** Of a refusal: what happened, and what may be done. `sessions` is the part of the policy of that name. */
export function explain ({ code, message, param, retryAfter }, { kind, sessions }) {
  const allowed = sessions?.[kind]?.allow ?? {}
  const path = param?.replace(/^session\./, '')
  const again = retryAfter === null ? '' : `Try again in ${duration(Number(retryAfter))}.`
  if (code !== 'policy_violation') return { text: SENTENCES[code] ?? message, advice: again }
  if (param === null) {
    return sessions !== undefined && sessions[kind] === undefined
      ? {
          text: `The policy grants this user no ${kind} session.`,
          advice: `It grants: ${Object.keys(sessions).join(', ') || 'none'}.`
        }
      : {
          text: 'The policy does not permit this request as a whole.',
          advice: 'Something that it needs to know about the user may be missing.'
        }
  }
  if (path in allowed) {
    return { text: 'The policy does not permit this value.', advice: `Allowed is ${describe(allowed[path])}.` }
  }
  if (path.startsWith('expires_after') && sessions?.[kind] !== undefined) {
    return {
      text: 'The policy does not permit this lifetime.',
      advice: `Allowed are 10 to ${sessions[kind].expires_after.max} seconds.`
    }
  }
  if (path.startsWith('prompt')) {
    return {
      text: 'The policy does not offer this prompt, or not with these variables.',
      advice: `It offers: ${(sessions?.[kind]?.prompts ?? []).map(({ id }) => id).join(', ') || 'none'}.`
    }
  }
  return { text: 'This is not for the client to say: the policy decides it.', advice: 'Leave it out.' }
}

export function duration (seconds) {
  if (seconds < 120) return `${seconds} s`
  return seconds < 7200 ? `${Math.ceil(seconds / 60)} min` : `${Math.ceil(seconds / 3600)} h`
}

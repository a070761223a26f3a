// Applies the policy to one request: the session sent upstream, or 403. It is defaults ⊕ client ⊕ prompt ⊕ fixed.

import { isDeepStrictEqual } from 'node:util'
import { ApiError, MAX_PARAM_LENGTH } from '../errors.ts'
import {
  deepestPath, getIn, isObject, type Json, type JsonObject, merge, omitIn, overlaps, type Path,
  withIn
} from '../json.ts'
import { SECRET_SECONDS } from '../realtime/nulls.ts'
import { checkSession, modelPath } from '../realtime/session.ts'
import { type Prompt, ruleAt, type RuleNode, type SessionRules } from './compile.ts'
import { choosePrompt } from './prompt.ts'
import { MissingValue, type Scope, type Template } from './template.ts'

/** The client's request, converted to a GA session if its body was a legacy one. */
export type Asked = Readonly<{
  session: JsonObject
  expiresAfter: Json | undefined
  /** Paths added by the conversion of a legacy body: not checked as the client's. */
  added: readonly Path[]
  /** Names of legacy fields without a GA equivalent. */
  dropped: readonly string[]
  /** A session path under the name that the client used: `session.audio.output.voice`, on a legacy route `voice`. */
  sessionParam: (path: Path) => string
  expiresAfterParam: string
}>

/** A request that no client sent: of the doctor, or for a call that is taken over. */
export function askedFor (session: JsonObject): Asked {
  return {
    session,
    expiresAfter: undefined,
    added: [],
    dropped: [],
    sessionParam: (path) => path.join('.'),
    expiresAfterParam: 'expires_after'
  }
}

export type Granted = Readonly<{
  session: JsonObject
  expiresAfterSeconds: number
  model: string | null
  prompt: string | null
  /** Dotted paths sent by the client and dropped by the policy or the conversion. */
  ignored: readonly string[]
  /** The paths under `allow` that the client has set. */
  accepted: Checked['accepted']
}>

/** Throws ApiError `policy_violation`. */
export function applyPolicy (rules: SessionRules, claims: JsonObject, asked: Asked): Granted {
  const refuse = (path: Path): never => violation(asked.sessionParam(path))
  const { prompt, fixed, profile, defaults } = configuredBy(rules, claims, asked)

  const client = replaceAlias(rules, rules.prompts.size > 0 ? omitIn(asked.session, ['prompt']) : asked.session)
  const checked: Checked = { accepted: [], ignored: [] }
  const accepts: Check['accepts'] = (rule, value, path) => meets(rule, value, path, asked.added)
  checkValue(client, rules.client, [fixed, profile], [], { added: asked.added, accepts, refuse, checked })

  let session = defaults()
  for (const [path, value] of checked.accepted) session = withIn(session, path, value)
  session = merge(prompt === null ? session : merge(session, profile), fixed)
  for (const path of asked.added) {
    // Only beside a value of the client: the policy's own values are sent as written.
    const parent = path.slice(0, -1)
    const isClients = isObject(getIn(session, parent)) &&
      checked.accepted.some(([accepted]) => overlaps(accepted, parent))
    const value = getIn(client, path) as Json
    if (isClients && getIn(session, path) === undefined && ruleAt(rules, path)?.accepts?.(value) !== false) {
      session = withIn(session, path, value)
    }
  }
  const wrong = checkSession(rules.kind, rules.unknown.reduce(omitIn, session))
  if (wrong !== null) {
    // Without a `param` if the client sent nothing there: it is not at fault.
    const sent = wrong.length === 0 ? undefined : getIn(asked.added.reduce(omitIn, asked.session), wrong)
    return sent === undefined ? violation(null) : refuse(deepestPath(wrong, sent))
  }
  const model = getIn(session, modelPath(rules.kind))
  return {
    session,
    expiresAfterSeconds: lifetime(rules, asked),
    model: typeof model === 'string' ? model : null,
    prompt: prompt?.name ?? null,
    ignored: [...asked.dropped, ...checked.ignored],
    accepted: checked.accepted
  }
}

export type Configured = Readonly<{
  prompt: Prompt | null
  fixed: JsonObject
  profile: JsonObject
  /** Rendered when it is called. */
  defaults: () => JsonObject
}>

/** The values of the policy itself, for this caller. Throws ApiError. */
export function configuredBy (rules: SessionRules, claims: JsonObject, asked: Asked): Configured {
  const refuse = (path: Path): never => violation(asked.sessionParam(path))
  const named = rules.prompts.size > 0 ? asked.session.prompt : undefined
  const { prompt, variables } = choosePrompt(rules, named, refuse)
  const scope = { claims, variables }
  return {
    prompt,
    fixed: render(rules.fixed, scope),
    profile: prompt === null ? {} : render(prompt.session, scope),
    defaults: () => render(rules.defaults, scope)
  }
}

export type Checked = { accepted: [path: Path, value: Json][], ignored: string[] }
export type Check = Readonly<{
  added: readonly Path[]
  /** Whether the value at a path that a client may set meets the schema there. */
  accepts: (rule: RuleNode, value: Json, path: Path) => boolean
  /** Takes a path that is not allowed: a request throws at the first, the check of a call collects all. */
  refuse: (path: Path) => void
  checked: Checked
}>

/** Walks the client's value. `configured` are the values of fixed and of the prompt at the same path. */
export function checkValue (
  value: Json, rule: RuleNode | undefined, configured: readonly (Json | undefined)[], path: Path, check: Check
): void {
  const { added, refuse, checked } = check
  if (rule?.ignored) {
    checked.ignored.push(path.join('.'))
    return
  }
  if (rule?.accepts) {
    if (check.accepts(rule, value, path)) checked.accepted.push([path, value])
    else refuse(path)
    return
  }
  const hasRulesBelow = rule !== undefined && rule.below.size > 0
  // Fields added by the conversion do not count: the client may have sent an empty object.
  const sent = isObject(value) ? insideOf(path, added).reduce(omitIn, value) : value
  if (isObject(value) && isObject(sent) && (path.length === 0 || hasRulesBelow || Object.keys(sent).length > 0)) {
    for (const key of Object.keys(sent)) {
      const inner = configured.map((one) => own(one, key))
      checkValue(value[key] as Json, rule?.below.get(key), inner, [...path, key], check)
    }
    return
  }
  const repeats = (one: Json | undefined) => one !== undefined &&
    (isDeepStrictEqual(one, value) || (isObject(one) && isObject(value)))
  if (!configured.some(repeats)) refuse(path)
}

/** Fields added by the conversion must meet the schema only if it names them. */
function meets ({ accepts: schema, names }: RuleNode, value: Json, path: Path, added: readonly Path[]): boolean {
  if (!isFiniteThroughout(value)) return false
  if (schema?.(value)) return true
  const inside = insideOf(path, added)
  return inside.length > 0 && isObject(value) && !inside.some((below) => names?.has([...path, ...below].join('.'))) &&
    schema?.(inside.reduce(omitIn, value)) === true
}

/** The added paths below `path`, relative to it. */
function insideOf (path: Path, added: readonly Path[]): Path[] {
  return added.filter((other) => other.length > path.length && overlaps(other, path)).map(
    (other) => other.slice(path.length)
  )
}

/** `1e400` is parsed as Infinity and would be sent as null, which is not the value that was checked. */
export function isFiniteThroughout (value: Json): boolean {
  if (typeof value === 'object' && value !== null) return Object.values(value).every(isFiniteThroughout)
  return typeof value !== 'number' || Number.isFinite(value)
}

/** Replaces the old name of a model once, at the model path only, before the client's values are checked. */
function replaceAlias (rules: SessionRules, session: JsonObject): JsonObject {
  const path = modelPath(rules.kind)
  const asked = rules.aliases.size > 0 ? getIn(session, path) : undefined
  const model = typeof asked === 'string' ? rules.aliases.get(asked) : undefined
  return model === undefined ? session : withIn(session, path, model)
}

function lifetime ({ expiresAfter: { default: seconds, max } }: SessionRules, asked: Asked): number {
  const given = asked.expiresAfter
  if (given === undefined) return seconds
  const at = asked.expiresAfterParam
  if (!isObject(given)) return violation(at)
  for (const [key, value] of Object.entries(given)) {
    const fits = key === 'anchor'
      ? value === 'created_at'
      : key === 'seconds' && Number.isInteger(value) && (value as number) >= SECRET_SECONDS.minimum &&
        (value as number) <= max
    if (!fits) return violation([at, ...deepestPath([key], value)].join('.').slice(0, MAX_PARAM_LENGTH))
  }
  return given.seconds as number | undefined ?? seconds
}

function render (template: Template, scope: Scope): JsonObject {
  try {
    return template.render(scope)
  } catch (error) {
    if (error instanceof MissingValue) return violation(null)
    throw error
  }
}

function own (value: Json | undefined, key: string): Json | undefined {
  return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined
}

function violation (param: string | null): never {
  throw new ApiError('policy_violation', { param })
}

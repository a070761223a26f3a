// The policy applied to one request: what is sent upstream, or 403. effective = defaults ⊕ client ⊕ prompt ⊕ fixed.

import { isDeepStrictEqual } from 'node:util'
import { ApiError } from '../errors.ts'
import {
  deepestPath, getIn, isObject, type Json, type JsonObject, merge, omitIn, overlaps, type Path,
  withIn
} from '../json.ts'
import { checkSession, modelPath } from '../realtime/session.ts'
import type { RuleNode, SessionRules } from './compile.ts'
import { choosePrompt } from './prompt.ts'
import { MissingValue, type Scope, type Template } from './template.ts'

/** Names in a `param` are the client's own, and of any length. */
export const MAX_PARAM = 256

/** What a client asks for, read as a GA session, whatever shape it came in. */
export type Asked = Readonly<{
  session: JsonObject
  expiresAfter: Json | undefined
  /** Paths that translating a legacy body added: not judged as the client's. */
  added: readonly Path[]
  /** Names of fields that the translation has no place for. */
  dropped: readonly string[]
  /** A path in the session as the client wrote it: `session.audio.output.voice`, on a legacy route `voice`. */
  sessionParam: (path: Path) => string
  expiresAfterParam: string
}>

export type Granted = Readonly<{
  session: JsonObject
  expiresAfterSeconds: number
  model: string | null
  prompt: string | null
  /** Dotted paths that the client sent and the policy or the translation drops. */
  ignored: readonly string[]
}>

/** Throws ApiError `policy_violation`. */
export function applyPolicy (rules: SessionRules, claims: JsonObject, asked: Asked): Granted {
  const refuse = (path: Path): never => violation(asked.sessionParam(path))
  const prompted = rules.prompts.size > 0
  const { prompt, variables } = choosePrompt(rules, prompted ? asked.session.prompt : undefined, refuse)
  const scope = { claims, variables }
  const fixed = render(rules.fixed, scope)
  const profile = prompt === null ? {} : render(prompt.session, scope)

  const client = translateAlias(rules, prompted ? omitIn(asked.session, ['prompt']) : asked.session)
  const judged: Judged = { accepted: [], ignored: [] }
  judge(client, rules.client, [fixed, profile], [], { added: asked.added, refuse, judged })

  let session = render(rules.defaults, scope)
  for (const [path, value] of judged.accepted) session = withIn(session, path, value)
  session = merge(prompt === null ? session : merge(session, profile), fixed)
  for (const path of asked.added) {
    // Only to what the client's value became: what the policy says is sent as written.
    const beside = path.slice(0, -1)
    const taken = isObject(getIn(session, beside)) && judged.accepted.some(([accepted]) => overlaps(accepted, beside))
    const value = getIn(client, path) as Json
    if (taken && getIn(session, path) === undefined && ruleAt(rules, path)?.accepts?.(value) !== false) {
      session = withIn(session, path, value)
    }
  }
  const wrong = checkSession(rules.kind, rules.unknown.reduce(omitIn, session))
  if (wrong !== null) {
    // Null where the client sent nothing there, and so is not at fault.
    const sent = wrong.length === 0 ? undefined : getIn(asked.added.reduce(omitIn, asked.session), wrong)
    return sent === undefined ? violation(null) : refuse(deepestPath(wrong, sent))
  }
  const model = getIn(session, modelPath(rules.kind))
  return {
    session,
    expiresAfterSeconds: lifetime(rules, asked),
    model: typeof model === 'string' ? model : null,
    prompt: prompt?.name ?? null,
    ignored: [...asked.dropped, ...judged.ignored]
  }
}

type Judged = { accepted: [Path, Json][], ignored: string[] }
type Judging = { added: readonly Path[], refuse: (path: Path) => never, judged: Judged }

/** Walks what the client sent. `said` is what fixed and the prompt say at the same place. */
function judge (
  value: Json, rule: RuleNode | undefined, said: readonly (Json | undefined)[], path: Path, judging: Judging
): void {
  const { added, refuse, judged } = judging
  if (rule?.ignored) {
    judged.ignored.push(path.join('.'))
    return
  }
  if (rule?.accepts) {
    if (!accepts(rule, value, path, added)) refuse(path)
    judged.accepted.push([path, value])
    return
  }
  const governed = rule !== undefined && rule.below.size > 0
  // An object that holds only what the translation added is as empty as the client sent it.
  const sent = isObject(value) ? insideOf(path, added).reduce(omitIn, value) : value
  if (isObject(value) && isObject(sent) && (path.length === 0 || governed || Object.keys(sent).length > 0)) {
    for (const key of Object.keys(sent)) {
      judge(value[key] as Json, rule?.below.get(key), said.map((at) => own(at, key)), [...path, key], judging)
    }
    return
  }
  if (said.some((at) => at !== undefined && (isDeepStrictEqual(at, value) || (isObject(at) && isObject(value))))) return
  refuse(path)
}

/** A schema that does not speak of what translation added need not admit it; one that does must. */
function accepts ({ accepts: schema, names }: RuleNode, value: Json, path: Path, added: readonly Path[]): boolean {
  if (!isFiniteThroughout(value)) return false
  if (schema?.(value)) return true
  const inside = insideOf(path, added)
  return inside.length > 0 && isObject(value) && !inside.some((below) => names?.has([...path, ...below].join('.'))) &&
    schema?.(inside.reduce(omitIn, value)) === true
}

/** What was added below `path`, from there on. */
function insideOf (path: Path, added: readonly Path[]): Path[] {
  return added.filter((other) => other.length > path.length && overlaps(other, path)).map(
    (other) => other.slice(path.length)
  )
}

function ruleAt ({ client }: SessionRules, path: Path): RuleNode | undefined {
  return path.reduce<RuleNode | undefined>((node, key) => node?.below.get(key), client)
}

/** `1e400` is read as Infinity and would be sent as null: what is checked would not be what is sent. */
function isFiniteThroughout (value: Json): boolean {
  if (typeof value === 'object' && value !== null) return Object.values(value).every(isFiniteThroughout)
  return typeof value !== 'number' || Number.isFinite(value)
}

/** Once, to the model path, before judging: models that old clients still name. */
function translateAlias (rules: SessionRules, session: JsonObject): JsonObject {
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
      : key === 'seconds' && Number.isInteger(value) && (value as number) >= 10 && (value as number) <= max
    if (!fits) return violation([at, ...deepestPath([key], value)].join('.').slice(0, MAX_PARAM))
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

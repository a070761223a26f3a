// Compiles one session kind of one policy: what is fixed, defaulted, allowed and ignored, ready to be applied.

import { deepFreeze, type Json, type JsonObject, leafPaths, type Path } from '../json.ts'
import { isKnownPath, type Kind } from '../realtime/session.ts'
import type { Report } from '../schema/report.ts'
import { type Accepts, type CompileSchema, listsObjects, pathsIn } from './allowed-schema.ts'
import { compileConceal, type Conceal, type Inlined, type Secret } from './conceal.ts'
import type { CallPolicy, PromptEntry, RealtimePolicy } from './schema.ts'
import { hasSlowPattern } from './slow-pattern.ts'
import { compileTemplate, type Template } from './template.ts'

/** The values that a client may send at and below a path. */
export type RuleNode = {
  accepts?: Accepts
  /** The dotted paths that the schema at this path names. */
  names?: ReadonlySet<string>
  /** The schema lists whole objects: their members belong together. */
  listsObjects?: boolean
  ignored?: true
  below: Map<string, RuleNode>
}

export type Prompt = Readonly<{
  name: string
  variables: ReadonlyMap<string, Accepts>
  variableSchemas: JsonObject
  session: Template
  secrets: readonly Secret[]
}>

/** Null at this path turns turn detection off: then only events of a data channel can end a turn. */
export const TURN_DETECTION: Path = ['audio', 'input', 'turn_detection']

/** Brokered calls of one kind of session. */
export type CallRules = Readonly<{
  maxSeconds: number
  idleSeconds: number
  /** Calls of one caller at a time, over all policies and kinds. */
  concurrent: number
  whenFull: 'refuse' | 'replace'
  /** Calls of all callers of the policy at a time; null: no limit. */
  total: number | null
  hasDataChannel: boolean
  onChange: 'restore' | 'end' | 'report'
}>

export type SessionRules = Readonly<{
  kind: Kind
  fixed: Template
  defaults: Template
  client: RuleNode
  /** Dotted path → schema, as written: shown by `GET /v1/realtime/policy`. */
  allowed: JsonObject
  aliases: ReadonlyMap<string, string>
  /** By name: `id`, or `id@version`. */
  prompts: ReadonlyMap<string, Prompt>
  defaultPrompt: Prompt | null
  expiresAfter: Readonly<{ default: number, max: number }>
  hide: readonly Path[]
  /** Leaves the secrets of fixed, defaults and prompts out of an answer. */
  conceal: Conceal | null
  /** The paths of the policy that our types do not know: what is below them is sent unchecked. */
  unknown: readonly Path[]
  /** Null: no calls of this kind. */
  calls: CallRules | null
  /** False: no client secret of this kind is minted. */
  hasSecrets: boolean
}>

/** Shared by all prompts and kinds of one file. `secrets` are the values of `$env` and `$file`, already in place. */
export type FileContext = Readonly<{
  compileSchema: CompileSchema
  report: Report
  secrets: ReadonlySet<string>
}>

export function compilePrompt (
  name: string,
  entry: Pick<PromptEntry, 'variables'>,
  { session, secrets: own }: Inlined,
  { compileSchema, report, secrets }: FileContext
): Prompt {
  const variableSchemas = (entry.variables ?? {}) as JsonObject
  return deepFreeze({
    name,
    variables: new Map(Object.entries(variableSchemas).map(([variable, schema]) =>
      [variable, compileAllowed(schema, `prompts.${name}.variables.${variable}`, compileSchema, report)])),
    variableSchemas,
    session: compileTemplate(session, secrets),
    secrets: own
  })
}

/** `at` is the path of this session kind in the file, for reports. */
export function compileRules (
  kind: Kind, policy: Omit<RealtimePolicy, 'fixed' | 'defaults'> & { fixed: Inlined, defaults: Inlined }, at: string,
  context: FileContext & { prompts: ReadonlyMap<string, Prompt> }
): SessionRules {
  const { prompts, compileSchema, report, secrets } = context
  const allowed = (policy.allow ?? {}) as JsonObject
  const client: RuleNode = { below: new Map() }
  for (const [path, schema] of Object.entries(allowed)) {
    Object.assign(nodeAt(client, splitPath(path)), {
      accepts: compileAllowed(schema, `${at}.allow.${path}`, compileSchema, report),
      names: new Set(pathsIn(schema, splitPath(path)).map((named) => named.join('.'))),
      listsObjects: listsObjects(schema)
    })
  }
  for (const path of policy.ignore ?? []) nodeAt(client, splitPath(path)).ignored = true

  const named = (name: string, where: string): Prompt[] => {
    const prompt = prompts.get(name)
    if (prompt === undefined) report.problem(where, 'names a prompt that is not under prompts:')
    return prompt === undefined ? [] : [prompt]
  }
  const fixed = compileTemplate(policy.fixed.session, secrets)
  const defaults = compileTemplate(policy.defaults.session, secrets)
  const nameable = (policy.prompts ?? []).flatMap((name, i) => named(name, `${at}.prompts.${i}`))
  const [defaultPrompt = null] = policy.default_prompt === undefined
    ? []
    : named(policy.default_prompt, `${at}.default_prompt`)
  const prompted = [...nameable, defaultPrompt].filter((prompt) => prompt !== null)
  const templates = [fixed, defaults, ...prompted.map(({ session }) => session)]
  const configured = [...templates.flatMap(({ source }) => leafPaths(source)), ...Object.keys(allowed).map(splitPath)]
  const max = policy.expires_after?.max
  const seconds = policy.expires_after?.default ?? Math.min(60, max ?? 60)
  return deepFreeze({
    kind,
    fixed,
    defaults,
    client,
    allowed,
    aliases: new Map(Object.entries(policy.aliases ?? {})),
    prompts: new Map(nameable.map((prompt) => [prompt.name, prompt])),
    defaultPrompt,
    expiresAfter: { default: seconds, max: max ?? seconds },
    hide: (policy.hide ?? []).map(splitPath),
    conceal: compileConceal([policy.fixed, policy.defaults, ...prompted].flatMap(({ secrets }) => secrets)),
    unknown: configured.filter((path) => !isKnownPath(kind, path))
      .map((path) => path.slice(0, path.findIndex((_, i) => !isKnownPath(kind, path.slice(0, i + 1))) + 1)),
    calls: policy.calls === undefined ? null : compileCalls(policy.calls),
    hasSecrets: policy.secrets !== false
  })
}

function compileCalls (calls: CallPolicy): CallRules {
  const maxSeconds = calls.max_seconds ?? 600
  return {
    maxSeconds,
    idleSeconds: calls.idle_seconds ?? Math.min(120, maxSeconds),
    concurrent: calls.concurrent ?? 1,
    whenFull: calls.when_full ?? 'refuse',
    total: calls.total ?? null,
    hasDataChannel: calls.data_channel !== false,
    onChange: calls.on_change ?? 'restore'
  }
}

export function splitPath (dotted: string): Path {
  return dotted.split('.')
}

/** By the names of the policy file, with every default. */
export function describeCalls (rules: CallRules) {
  return {
    max_seconds: rules.maxSeconds,
    idle_seconds: rules.idleSeconds,
    concurrent: rules.concurrent,
    when_full: rules.whenFull,
    total: rules.total,
    data_channel: rules.hasDataChannel,
    on_change: rules.onChange
  }
}

export function ruleAt ({ client }: Pick<SessionRules, 'client'>, path: Path): RuleNode | undefined {
  return path.reduce<RuleNode | undefined>((node, key) => node?.below.get(key), client)
}

function nodeAt (root: RuleNode, path: Path): RuleNode {
  let node = root
  for (const key of path) {
    let next = node.below.get(key)
    if (next === undefined) node.below.set(key, next = { below: new Map() })
    node = next
  }
  return node
}

const SLOW_PATTERN = 'has a pattern with a repetition inside another one: ' +
  'if both match the same text, one string of a client may block all requests'

function compileAllowed (schema: Json, path: string, compileSchema: CompileSchema, report: Report): Accepts {
  try {
    const accepts = compileSchema(schema as boolean | JsonObject)
    if (hasSlowPattern(schema)) report.warning(path, SLOW_PATTERN)
    return accepts
  } catch (error) {
    report.problem(path, `is not a JSON Schema (2020-12): ${(error as Error).message}`)
    return () => false
  }
}

// For any valid policy and any request: the session sent upstream has the policy's values, and the client's only at
// allowed paths. Client values contain tokens, so that a leak is visible anywhere in the result.

import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { ApiError } from '../../src/errors.ts'
import { deepFreeze, getIn, isObject, type Json, type JsonObject, omitIn, type Path } from '../../src/json.ts'
import type { Granted } from '../../src/policy/apply.ts'
import type { SessionRules } from '../../src/policy/compile.ts'
import { legacyCanCarry, type LegacyKind, readLegacy, writeLegacy } from '../../src/realtime/legacy/request.ts'
import { withoutNulls } from '../../src/realtime/nulls.ts'
import { checkSession, type Kind, modelPath, sessionSchemas } from '../../src/realtime/session.ts'
import { upstreamRoutes } from '../../src/upstream/mint.ts'
import { times } from '../support/times.ts'
import { ask, fileWith, readPolicy } from './harness.ts'

const TOKEN = 'client-token'
const VARIABLE = 'variable-token'
const text = { type: 'string', maxLength: 300 }

/** For each path: valid values, and a schema that allows them. */
const COMMON: Record<string, [Json[], Json]> = {
  'audio.input.noise_reduction': [
    [null, { type: 'near_field' }], { enum: [null, { type: 'near_field' }, { type: 'far_field' }] }
  ],
  'audio.input.transcription': [
    [null, { model: 'whisper-1' }],
    { type: ['object', 'null'], additionalProperties: false, properties: { model: text, language: text, prompt: text } }
  ],
  brand_new: [[7, 'plain', ['a'], { x: 1 }, '{{name|nobody}}'], true],
  'future.deep.path': [['x', null], text]
}
const INPUT: Record<string, [Json[], Json]> = {
  'audio.input.format': [
    [{ type: 'audio/pcm', rate: 24000 }, { type: 'audio/pcmu' }],
    { enum: [{ type: 'audio/pcm', rate: 24000 }, { type: 'audio/pcmu' }] }
  ],
  'audio.input.transcription.model': [
    ['whisper-1', 'gpt-live-transcribe'], { enum: ['whisper-1', 'gpt-live-transcribe'] }
  ],
  'audio.input.transcription.language': [['en', '{{/org/lang|de}}'], text],
  'audio.input.turn_detection': [
    [null, { type: 'server_vad', threshold: 0.5 }, { type: 'semantic_vad', eagerness: 'low' }],
    {
      type: ['object', 'null'],
      additionalProperties: false,
      properties: {
        type: { enum: ['server_vad', 'semantic_vad'] },
        threshold: { type: 'number' },
        eagerness: { enum: ['low', 'high'] }
      }
    }
  ],
  'audio.input.turn_detection.threshold': [[0.25], { type: 'number', minimum: 0, maximum: 1 }],
  'audio.input.turn_detection.type': [['server_vad', 'semantic_vad'], { const: 'semantic_vad' }],
  include: [[['item.input_audio_transcription.logprobs']], { type: 'array', items: { type: 'string' } }]
}
const PATHS: Record<Kind, Record<string, [Json[], Json]>> = {
  transcription: { ...COMMON, ...INPUT },
  translation: {
    ...COMMON,
    'audio.input.transcription': [[null, { model: 'whisper-1' }], { enum: [null, { model: 'whisper-1' }] }],
    model: [['gpt-realtime-translate', 'other'], { enum: ['gpt-realtime-translate', 'other'] }],
    'audio.output.language': [['de', '{{/org/lang|de}}'], text]
  },
  realtime: {
    ...COMMON,
    ...INPUT,
    model: [['gpt-realtime-2.1', 'gpt-realtime-2.1-mini'], { enum: ['gpt-realtime-2.1', 'gpt-realtime-2.1-mini'] }],
    instructions: [
      ['Be brief.', 'You are {{name}}.', 'Of {{/org/name|us}}, about {{variables.product|things}} {"a":{"b":1}}'], text
    ],
    max_output_tokens: [
      [1, 2048, 'inf'], { anyOf: [{ type: 'integer', minimum: 1, maximum: 2048 }, { const: 'inf' }] }
    ],
    'audio.output': [
      [{ voice: 'cedar', speed: 1 }],
      { type: 'object', additionalProperties: false, properties: { voice: text, speed: { type: 'number' } } }
    ],
    'audio.output.voice': [
      ['marin', { id: 'voice_1' }, '{{voice|alloy}}'], { anyOf: [text, { const: { id: 'voice_1' } }] }
    ],
    'audio.output.speed': [[1, 1.25], { type: 'number', minimum: 0.75, maximum: 1.25 }],
    'audio.output.color': [['red'], text],
    output_modalities: [[['audio'], ['text']], { enum: [['audio'], ['text']] }],
    tools: [
      [
        [], [{ type: 'function', name: 'find', description: 'for {{name|all}}' }],
        [{ type: 'mcp', server_label: 'crm', headers: { 'X-Key': { $env: 'KEY' } } }]
      ],
      {
        type: 'array',
        items: {
          type: 'object',
          required: ['type'],
          additionalProperties: false,
          properties: {
            type: { const: 'function' }, name: text
          }
        }
      }
    ],
    tool_choice: [
      ['auto', { type: 'function', name: 'find' }], { enum: ['auto', 'none', { type: 'function', name: 'find' }] }
    ],
    temperature: [[0.8], { type: 'number', minimum: 0.6, maximum: 1.2 }],
    tracing: [
      [null, 'auto', { workflow_name: 'w', metadata: { a: 1 } }],
      { type: ['object', 'null'], additionalProperties: false, properties: { group_id: text, metadata: true } }
    ],
    truncation: [['auto', { type: 'retention_ratio', retention_ratio: 0.5 }], { enum: ['auto', 'disabled'] }],
    'reasoning.effort': [['low'], { enum: ['low', 'high'] }],
    parallel_tool_calls: [[true], { type: 'boolean' }]
  }
}

const split = (path: string) => path.split('.')
const touch = (a: string, b: string) => a === b || a.startsWith(`${b}.`) || b.startsWith(`${a}.`)

function put (target: JsonObject, path: Path, value: Json): void {
  let at = target
  for (const key of path.slice(0, -1)) at = (isObject(at[key]) ? at[key] : (at[key] = {})) as JsonObject
  at[path.at(-1) as string] = value
}

/** Keeps only the first of overlapping paths: the others contradict it. */
function apart<T> (entries: [string, T][], others: string[] = []): [string, T][] {
  return entries.filter(([path], i) =>
    !others.some((other) => touch(path, other)) && !entries.slice(0, i).some(([other]) => touch(path, other)))
}

function nested (entries: [string, Json][]): JsonObject {
  const session = {}
  for (const [path, value] of entries) put(session, split(path), structuredClone(value))
  return session
}

type Parts = { kind: Kind, session: JsonObject, prompts: JsonObject }

const policies: fc.Arbitrary<Parts> = fc.constantFrom<Kind>('realtime', 'realtime', 'transcription', 'translation')
  .chain((kind) => {
    const paths = Object.keys(PATHS[kind])
    const valued = fc.constantFrom(...paths).chain(
      (path) => fc.tuple(fc.constant(path), fc.constantFrom(...(PATHS[kind][path] as [Json[], Json])[0]))
    )
    return fc.record({
      fixed: fc.array(valued, { maxLength: 4 }),
      defaults: fc.array(valued, { maxLength: 4 }),
      allow: fc.array(fc.constantFrom(...paths), { maxLength: 6 }),
      ignore: fc.array(fc.constantFrom(...paths, 'old.junk'), { maxLength: 2 }),
      aliases: fc.subarray(['old-model', 'older-model']),
      profiles: fc.array(fc.array(valued, { maxLength: 3 }), { minLength: 3, maxLength: 3 }),
      nameable: fc.subarray(['helper', 'helper@2', 'other']),
      byDefault: fc.option(fc.constantFrom('helper', 'helper@2', 'other')),
      lifetime: fc.option(fc.tuple(fc.integer({ min: 10, max: 7200 }), fc.integer({ min: 10, max: 7200 })))
    }).map(({ fixed, defaults, allow, ignore, aliases, profiles, nameable, byDefault, lifetime }): Parts => {
      const model = modelPath(kind).join('.')
      const fix = apart(kind === 'translation' ? [...fixed, ['model', 'gpt-realtime-translate']] : fixed)
      const open = apart(
        allow.map((path): [string, Json] => [path, (PATHS[kind][path] as [Json[], Json])[1]]), fix.map(([path]) => path)
      )
      const dropped = [...new Set(ignore)].filter((path) => !open.some(([other]) => touch(path, other)))
      const reachable = fix.find(([path]) => path === model)?.[1] ??
      (open.some(([path]) => path === model) ? (PATHS[kind][model] as [Json[], Json])[0][0] : undefined)
      const named = [...nameable, ...byDefault === null ? [] : [byDefault]]
      return {
        kind,
        session: {
          fixed: nested(fix),
          defaults: nested(apart(defaults)),
          ...open.length === 0 ? {} : { allow: Object.fromEntries(open) },
          ...dropped.length === 0 ? {} : { ignore: dropped },
          ...aliases.length === 0 || typeof reachable !== 'string'
            ? {}
            : { aliases: Object.fromEntries(aliases.map((alias) => [alias, reachable])) },
          ...nameable.length === 0 ? {} : { prompts: nameable },
          ...byDefault === null ? {} : { default_prompt: byDefault },
          ...lifetime === null ? {} : { expires_after: { default: Math.min(...lifetime), max: Math.max(...lifetime) } }
        },
        prompts: named.length === 0
          ? {}
          : Object.fromEntries(['helper', 'helper@2', 'other'].map((name, i) => [name, {
            variables: { product: { type: ['string', 'number'], maxLength: 280 } },
            session: nested(apart(profiles[i] as [string, Json][], fix.map(([path]) => path)))
          }]))
      }
    })
  })

/** A value for the client to send, once the policy is known: right, nearly right, or wrong in a way that shows. */
type Choice = Readonly<{ how: 'good' | 'configured' | 'token' | 'deep' | 'list' | 'near' | 'odd', n: number }>
const choice: fc.Arbitrary<Choice> = fc.record({
  how: fc.constantFrom('good', 'good', 'configured', 'configured', 'token', 'deep', 'list', 'near', 'odd'),
  n: fc.nat(1000)
})
const ODD: Json[] = [
  null, '', 0, -0, -1, 1.5, true, false, [], {}, [[]], [null], 'old-model', Infinity, { type: 'server_vad' },
  { toString: 1 }
]

function chosen ({ how, n }: Choice, path: string, { kind, session }: Parts): Json {
  const good = PATHS[kind][path]?.[0] ?? [TOKEN]
  const configured = [session.fixed, session.defaults].map((part) => getIn(part as Json, split(path))).filter(
    (value) => value !== undefined
  )
  const pick = (values: Json[]): Json => structuredClone(values[n % values.length] as Json)
  switch (how) {
    case 'good': return pick(good)
    case 'configured': return pick(configured.length > 0 ? configured : good)
    case 'token': return `${TOKEN}-${n}`
    case 'deep': return { [`k${n % 3}`]: `${TOKEN}-${n}`, inner: { x: `${TOKEN}-${n}` } }
    case 'list': return [`${TOKEN}-${n}`, { x: `${TOKEN}-${n}` }]
    case 'near': {
      const value = pick(configured.length > 0 ? configured : good)
      if (n % 2 === 0 && !isObject(value)) return typeof value === 'number' ? String(value) : [value]
      return typeof value === 'string'
        ? `${value} ${TOKEN}`
        : typeof value === 'number' ? value + 1 : isObject(value) ? { ...value, extra: TOKEN } : [value, TOKEN]
    }
    default: return pick(ODD)
  }
}

const OTHER_PATHS = [
  'audio', 'audio.input', 'audio.output', 'prompt', 'old.junk', 'old', 'voice', 'unheard.of', 'toString',
  'audio.output.voice.id', 'tools.0', 'future'
]
const LEGACY_NAMES = [
  'voice', 'speed', 'turn_detection', 'tools', 'tool_choice', 'input_audio_transcription', 'modalities', 'model',
  'instructions', 'temperature', 'audio', 'type', 'unheard_of', 'prompt'
]
const seconds = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 10, max: 60 }) },
  fc.integer({ min: 5, max: 7300 }),
  fc.constantFrom<Json[]>(9, 10, 7200, 7201, 60.5, -0, Infinity, 2 ** 53 + 2, '60', null, TOKEN, [60], { x: TOKEN })
)
const expiry = fc.option(fc.oneof(
  { weight: 8, arbitrary: fc.record({ anchor: fc.constant('created_at'), seconds }, { requiredKeys: [] }) },
  fc.constantFrom<Json[]>(
    null, 60, [], {}, { anchor: 'last_active' }, { anchor: null, seconds: 60 }, { seconds: 60, more: { x: TOKEN } }
  )
), { nil: undefined, freq: 2 }) as fc.Arbitrary<Json | undefined>
const variable = fc.oneof(
  fc.constantFrom<Json[]>('bikes', `${VARIABLE} {{name}}`, 'x'.repeat(257), 7, 'a\u2028b', {
    type: 'input_text', text: VARIABLE
  }, { type: 'input_text', text: VARIABLE, more: 1 }, null, [VARIABLE]))
const prompt = fc.option(fc.record({
  id: fc.constantFrom<Json[]>('helper', 'helper', 'other', 'helper@2', 'strange', 7, null),
  version: fc.constantFrom<Json[]>('2', '3', null, 2),
  variables: fc.oneof(
    fc.constantFrom<Json[]>(null, TOKEN, {}), fc.dictionary(fc.constantFrom('product', 'product', 'other'), variable)
  ),
  more: fc.constant({ x: TOKEN })
}, { requiredKeys: ['id'] }).map((members) => {
  // Mostly without members that are refused in any case.
  if (typeof members.version !== 'string' || members.version === '3') delete members.version
  if (members.id !== 'helper') delete members.more
  return members
}), { nil: undefined, freq: 2 }) as fc.Arbitrary<JsonObject | undefined>

const request = fc.record({
  legacy: fc.boolean(),
  parts: fc.array(fc.tuple(fc.nat(), choice), { maxLength: 5 }),
  names: fc.array(fc.tuple(fc.constantFrom(...LEGACY_NAMES), choice), { maxLength: 1 }),
  expiresAfter: expiry,
  prompt,
  extra: fc.constantFrom<JsonObject[]>({ model: TOKEN }, { unheard_of: { x: TOKEN } }, {}, {}, {}, {}, {}, {}),
  /** How many of the parts are arbitrary; the others keep to allowed, fixed or ignored paths. */
  slips: fc.constantFrom(0, 0, 0, 1, 1, 5)
})
type Request = typeof request extends fc.Arbitrary<infer R> ? R : never

const claimText = fc.constantFrom<Json[]>(
  'Ada',
  'Grace',
  'Hopper',
  '{{sub}}',
  'x {{/org/name|y}} {{variables.product}}',
  'a'.repeat(256),
  'a'.repeat(257),
  'a\nb',
  7,
  true,
  null,
  { x: 1 },
  ['a'],
  ''
)
const claims = fc.record({
  sub: fc.constant('claim-of-sub'),
  name: claimText,
  org: fc.record(
    { name: claimText, lang: claimText }, { requiredKeys: [] }
  ),
  voice: claimText
}, { requiredKeys: ['sub'] }) as fc.Arbitrary<JsonObject>

function bodyOf ({ legacy, parts, names, expiresAfter, prompt, extra, slips }: Request, policy: Parts): JsonObject {
  const { allow, ignore, fixed } = policy.session as { allow?: JsonObject, ignore?: string[], fixed: JsonObject }
  const fixedPaths = leaves(fixed).map(([path]) => path.join('.')).filter(Boolean)
  const open = [...Object.keys(allow ?? {}), ...ignore ?? []]
  const anywhere = [...open, ...fixedPaths, ...fixedPaths, ...Object.keys(PATHS[policy.kind]), ...OTHER_PATHS]
  const polite = slips === 0
  const session: JsonObject = {}
  for (const [i, [n, value]] of parts.entries()) {
    const paths = i < slips ? anywhere : [...open, ...open, ...fixedPaths]
    const path = paths[n % paths.length]
    if (path === undefined) continue
    const isFree = i < slips || value.how === 'token' || allow?.[path] === true
    put(session, split(path), chosen(
      isFree ? value : { ...value, how: fixedPaths.includes(path) ? 'configured' : 'good' }, path, policy
    ))
  }
  if (prompt !== undefined && (!polite || policy.session.prompts !== undefined)) session.prompt = prompt
  if (!legacy || policy.kind === 'translation') {
    const type = policy.kind === 'realtime' ? {} : { type: policy.kind }
    return {
      session: { ...session, ...type },
      ...polite ? {} : extra,
      ...expiresAfter === undefined ? {} : { expires_after: expiresAfter }
    }
  }
  const { client_secret: _, ...body } = writeLegacy(policy.kind, session, 60)
  for (const [name, value] of polite ? [] : names) body[name] = chosen(value, name, policy)
  return { ...body, ...expiresAfter === undefined ? {} : { client_secret: { expires_after: expiresAfter } } }
}

// A second, simpler implementation of the effective session.

class Missing extends Error {}

function rendered (value: Json, scope: { claims: JsonObject, variables: JsonObject }): Json {
  if (Array.isArray(value)) return value.map((item) => rendered(item, scope))
  if (isObject(value)) {
    return '$env' in value
      ? `secret of ${value.$env}`
      : Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, rendered(inner, scope)]))
  }
  if (typeof value !== 'string') return value
  return value.replaceAll(/\{\{([a-z./]+)(?:\|([^}]*))?\}\}/g, (_, reference: string, fallback: string | undefined) => {
    const [from, path] = reference.startsWith('variables.')
      ? [scope.variables, [reference.slice(10)]]
      : [scope.claims, reference.startsWith('/') ? reference.slice(1).split('/') : [reference]]
    const found = getIn(from, path)
    const fits = ['string', 'number', 'boolean'].includes(typeof found) && String(found).length <= 256 &&
      !/[\n\u2028]/.test(String(found))
    if (!fits && fallback === undefined) throw new Missing()
    return fits ? String(found) : fallback as string
  })
}

function plus (base: Json | undefined, over: Json): Json {
  if (!isObject(base) || !isObject(over)) return over
  return { ...base, ...Object.fromEntries(Object.entries(over).map(([key, value]) => [key, plus(base[key], value)])) }
}

type Effective = Readonly<{ policy: Parts, claims: JsonObject, client: JsonObject, added: readonly Path[] }>

function effective (
  { policy: { kind, session, prompts }, claims, client, added }: Effective
): { session: JsonObject, fixed: JsonObject, profile: JsonObject } {
  const asked = session.prompts === undefined ? undefined : client.prompt as JsonObject | undefined
  const name = asked === undefined
    ? session.default_prompt as string | undefined
    : `${asked.id}${typeof asked.version === 'string' ? `@${asked.version}` : ''}`
  const variables = Object.fromEntries(Object.entries(asked?.variables as JsonObject ?? {}).map(
    ([key, value]) => [key, isObject(value) ? value.text as Json : value]
  ))
  const scope = { claims: { iss: 'https://auth.example.com/', ...claims }, variables }
  const part = (value: Json | undefined) => rendered(value ?? {}, scope) as JsonObject
  const fixed = part(session.fixed)
  const profile = part(name === undefined ? {} : (prompts[name] as JsonObject).session)

  const result = structuredClone(part(session.defaults))
  for (const path of Object.keys(session.allow ?? {})) {
    const sent = getIn(client, split(path))
    if (sent === undefined || (added.some((other) => other.join('.') === path))) continue
    const alias = path === modelPath(kind).join('.') ? getIn(session.aliases ?? {}, [String(sent)]) : undefined
    put(result, split(path), alias ?? translated(kind, path, sent, session.aliases as JsonObject | undefined))
  }
  const whole = plus(plus(result, profile), fixed) as JsonObject
  for (const path of added) {
    const beside = getIn(whole, path.slice(0, -1))
    if (isObject(beside) && beside.type === undefined) put(whole, path, 'server_vad')
  }
  return { session: whole, fixed, profile }
}

/** Applies aliases to a model inside an allowed object too. */
function translated (kind: Kind, path: string, value: Json, aliases: JsonObject = {}): Json {
  const below = modelPath(kind).slice(split(path).length)
  const alias = touch(path, modelPath(kind).join('.')) && below.length > 0
    ? aliases[String(getIn(value, below))]
    : undefined
  return alias === undefined ? value : plus(value, { [below[0] as string]: alias })
}

/** The paths of all strings in a value that contain `mark`, through arrays too. */
function marked (value: Json, mark: string, path: string[] = []): string[] {
  if (typeof value === 'string') return value.includes(mark) ? [path.join('.')] : []
  return typeof value === 'object' && value !== null
    ? Object.entries(value).flatMap(([key, inner]) => marked(inner, mark, [...path, key]))
    : []
}

function leaves (value: Json, path: Path = []): [Path, Json][] {
  return isObject(value) && Object.keys(value).length > 0
    ? Object.entries(value).flatMap(([key, inner]) => leaves(inner, [...path, key]))
    : [[path, value]]
}

function pathsSent (value: Json, path: string[] = []): string[] {
  return isObject(value)
    ? Object.entries(value).flatMap(([key, inner]) => [[...path, key].join('.'), ...pathsSent(inner, [...path, key])])
    : []
}

type Case = Readonly<{ policy: Parts, rules: SessionRules, body: JsonObject, legacy: boolean, claims: JsonObject }>

/** A path with a client value that is neither allowed, nor ignored, nor equal to the policy's. */
function unexpectedPathIn (
  { kind, session }: Parts,
  { session: sent, added }: { session: JsonObject, added: readonly Path[] },
  { fixed, profile }: { fixed: JsonObject, profile: JsonObject }
): string | undefined {
  const permitted = [
    ...Object.keys(session.allow ?? {}), ...(session.ignore ?? []) as string[], ...added.map((path) => path.join('.'))
  ]
  const { type: _, prompt, ...others } = sent
  const checked = session.prompts === undefined && prompt !== undefined ? { ...others, prompt } : others
  const variables = Object.keys((checked === others ? (prompt as JsonObject | undefined)?.variables : undefined) ?? {})
  if (variables.some((name) => name !== 'product')) return 'a variable that is not declared'
  return leaves(checked).map(([path, value]) => {
    const alias = path.join('.') === modelPath(kind).join('.')
      ? getIn(session.aliases ?? {}, [String(value)])
      : undefined
    const configured = [getIn(fixed, path), getIn(profile, path)]
    const isConfigured = configured.some((at) =>
      at !== undefined && (isDeepStrictEqual(at, alias ?? value) || (isObject(at) && isDeepStrictEqual(value, {}))))
    // An empty object around an allowed path has no effect.
    const isEmpty = isDeepStrictEqual(value, {}) &&
      permitted.some((open) => [...path, ''].join('.') === open.slice(0, path.join('.').length + 1))
    const isPermitted = permitted.some((open) => `${path.join('.')}.`.startsWith(`${open}.`))
    return path.length === 0 || isConfigured || isEmpty || isPermitted ? undefined : path.join('.')
  }).find((path) => path !== undefined)
}

function hasNonFinite (value: Json): boolean {
  return typeof value === 'object' && value !== null
    ? Object.values(value).some(hasNonFinite)
    : typeof value === 'number' && !Number.isFinite(value)
}

/** The refusal, or the grant. Other errors are rethrown. */
function attempt ({ rules, body, legacy, claims }: Case): Granted | ApiError {
  try {
    return ask(rules, body, { legacy, claims })
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    return error
  }
}

function refusalFault ({ code, param }: ApiError, { body }: Case): string | null {
  if (!['policy_violation', 'invalid_request'].includes(code)) return `refused as ${code}`
  return param === null || pathsSent(body).includes(param) ? null : `names ${param}, which was not sent`
}

function grantFault (granted: Granted, { policy, rules, body, legacy, claims }: Case): string | null {
  const { session, expiresAfterSeconds } = granted
  const { max = 60, default: otherwise = 60 } = (policy.session.expires_after ?? {}) as {
    max?: number, default?: number
  }
  const lifetime = legacy ? getIn(body, ['client_secret', 'expires_after']) : body.expires_after
  if (!Number.isInteger(expiresAfterSeconds) || expiresAfterSeconds < 10 || expiresAfterSeconds > max) {
    return `lives for ${expiresAfterSeconds}`
  }
  if (expiresAfterSeconds !== (getIn(lifetime ?? null, ['seconds']) ?? otherwise)) {
    return `lives for ${expiresAfterSeconds}, not as asked`
  }

  const translated = legacy
    ? readLegacy(policy.kind as LegacyKind, body)
    : { session: withoutNulls(sessionSchemas[policy.kind], body.session ?? {}) as JsonObject ?? {}, added: [] }
  const expected = effective({ policy, claims, client: translated.session, added: translated.added })
  if (!isDeepStrictEqual(session, expected.session)) {
    return `is ${JSON.stringify(session)} where it should be ${JSON.stringify(expected.session)}`
  }

  const allowed = Object.keys(policy.session.allow ?? {})
  const unexpected = unexpectedPathIn(policy, translated, expected)
  if (unexpected !== undefined) return `passes over ${unexpected}, which should be refused`
  const templates = [
    rules.fixed, rules.defaults, ...[...rules.prompts.values()].map((prompt) => prompt.session)
  ].flatMap(({ paths }) => paths.map((path) => path.join('.')))
  for (const mintApi of ['client_secrets', 'auto', 'sessions'] as const) {
    for (const route of upstreamRoutes({ kind: policy.kind, session, expiresAfterSeconds, legacy }, mintApi)) {
      if (route === undefined) continue
      const { temperature: _, ...sent } = (route.legacy
        ? readLegacy(policy.kind as LegacyKind, route.body).session
        : route.body.session) as JsonObject
      if (marked(route.body, TOKEN).length > marked(sent, TOKEN).length) return `leaks beside the session by ${mintApi}`
      for (const path of marked(sent, TOKEN)) {
        if (!allowed.some((open) => path === open || path.startsWith(`${open}.`))) return `leaks at ${path}`
      }
      for (const path of marked(sent, VARIABLE)) if (!templates.includes(path)) return `leaks a variable at ${path}`
      if (hasNonFinite(route.body)) return 'sends what JSON has no words for'
      if (JSON.stringify(route.body).includes('"helper"')) return 'names a prompt upstream'
      const lost = leaves(expected.fixed).find(([path, value]) => path.length > 0 && path[0] !== 'temperature' &&
        (!route.legacy || legacyCanCarry(policy.kind, path, value)) && !isDeepStrictEqual(getIn(sent, path), value))
      if (lost !== undefined) return `loses what is fixed at ${lost[0].join('.')} by ${mintApi}`
    }
  }
  return null
}

/** Undefined if the policy is invalid. */
function rulesFor ({ kind, session, prompts }: Parts): SessionRules | undefined {
  const { policies } = readPolicy(fileWith({ kind, session, ...Object.keys(prompts).length > 0 && { prompts } }))
  return policies?.policies[0]?.sessions[kind]
}

function written ({ fixed, defaults, allowed, prompts }: SessionRules): string {
  return JSON.stringify([fixed, defaults, allowed, ...prompts.values()])
}

/** Without a body: defaults ⊕ prompt ⊕ fixed, or a refusal if a claim is missing or the result is invalid. */
function emptyBodyFault ({ policy, rules, legacy, claims }: Case): string | null {
  const result = attempt({ policy, rules, legacy, claims, body: legacy ? {} : { session: { type: policy.kind } } })
  const expected = silent(policy, claims)
  if (result instanceof ApiError) {
    const isMissing = expected === null || checkSession(policy.kind, rules.unknown.reduce(omitIn, expected)) !== null
    return isMissing && result.code === 'policy_violation' && result.param === null
      ? null
      : `refuses ${result.param} where nothing was sent`
  }
  return isDeepStrictEqual(result.session, expected) && result.ignored.length === 0
    ? null
    : `is ${JSON.stringify(result)} where nothing was sent`
}

/** Null if a template lacks a value. */
function silent (policy: Parts, claims: JsonObject): JsonObject | null {
  try {
    return effective({ policy, claims, client: {}, added: [] }).session
  } catch (error) {
    if (!(error instanceof Missing)) throw error
    return null
  }
}

const CASES = times(1000)
/** Requests per policy: compiling it takes most of the time. */
const REQUESTS = 20

t.test('the upstream session has values of the policy, and of the client only where allowed', async (t) => {
  const seen = { granted: 0, refused: 0, unloaded: 0 }
  fc.assert(fc.property(policies, fc.array(
    fc.tuple(request, claims), { minLength: REQUESTS, maxLength: REQUESTS }
  ), (policy, requests) => {
    const rules = rulesFor(policy)
    if (rules === undefined) seen.unloaded++
    fc.pre(rules !== undefined)
    const before = written(rules)
    for (const [request, claims] of requests) {
      // Frozen, so that a write to it throws.
      const one: Case = {
        policy,
        rules,
        body: deepFreeze(bodyOf(request, policy)),
        legacy: request.legacy &&
        policy.kind !== 'translation',
        claims: deepFreeze(claims)
      }
      const result = attempt(one)
      seen[result instanceof ApiError ? 'refused' : 'granted']++
      const fault = (result instanceof ApiError ? refusalFault(result, one) : grantFault(result, one)) ??
        emptyBodyFault(one)
      if (fault !== null) throw new Error(`${fault}\n${JSON.stringify({ ...one, rules: undefined })}`)
    }
    if (written(rules) !== before) throw new Error('the policy has changed')
  }), { numRuns: Math.ceil(CASES / REQUESTS) })
  // A property that sees only refusals proves nothing.
  t.ok(seen.granted > CASES / 10 && seen.refused > CASES / 10 && seen.unloaded < CASES / REQUESTS, JSON.stringify(seen))
})

// For any policy and whatever a client says: after the last correction the session at every path is the policy's or a
// value that the policy allows; and a client that stays within the policy is never corrected.

import assert from 'node:assert/strict'
import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { getIn, type Json, type JsonObject, type Path, setIn } from '../../src/json.ts'
import { ruleAt, type SessionRules, splitPath } from '../../src/policy/compile.ts'
import { updateSession } from '../../src/sandbox/openai/session-object.ts'
import { fileWith, readPolicy } from '../policy/harness.ts'
import { times } from '../support/times.ts'
import { type GuardWorld, startGuardWorld } from './guard-world.ts'

fc.configureGlobal({ endOnFailure: true })

/** Policies with 50 sequences each: 10,000 sequences by `npm run laws`. */
const POLICIES = times(20)
const SEQUENCES = 50

const weather = { type: 'function', name: 'weather', description: 'W', parameters: { type: 'object', properties: {} } }
const shell = { type: 'function', name: 'shell', description: 'S', parameters: { type: 'object', properties: {} } }
const server = (rest: JsonObject) => ({ type: 'server_vad', ...rest })
const semantic = (rest: JsonObject = {}) => ({ type: 'semantic_vad', ...rest })

/** For each field: values to send, and schemas that allow some of them. */
const FIELDS: Readonly<Record<string, readonly [readonly Json[], readonly Json[]]>> = {
  instructions: [['Mine.', 'You are Ada.', ''], [{ type: 'string', maxLength: 6 }]],
  tools: [[[], [weather], [weather, shell]], [{ enum: [[], [weather]] }]],
  tool_choice: [
    ['auto', 'none', { type: 'function', name: 'weather' }], [{ enum: ['auto', { type: 'function', name: 'weather' }] }]
  ],
  max_output_tokens: [['inf', 100, 4096], [{ type: 'integer', maximum: 500 }]],
  output_modalities: [[['audio'], ['text']], [{ enum: [['text'], ['audio']] }]],
  truncation: [
    ['auto', 'disabled', { type: 'retention_ratio', retention_ratio: 0.5 }],
    [{
      anyOf: [{ const: 'auto' }, {
        type: 'object',
        additionalProperties: false,
        required: ['type', 'retention_ratio'],
        properties: { type: { const: 'retention_ratio' }, retention_ratio: { type: 'number', maximum: 0.7 } }
      }]
    }]
  ],
  tracing: [[null, 'auto', { workflow_name: 'w' }], [{ const: 'auto' }]],
  reasoning: [[{ effort: 'low' }, { effort: 'high' }], [{ enum: [{ effort: 'low' }] }]],
  include: [[[], ['item.input_audio_transcription.logprobs']], [{ enum: [[]] }]],
  'audio.input.turn_detection': [
    [
      null, server({}), server({ threshold: 0.5 }), server({ threshold: 0.9, create_response: false }),
      server({ silence_duration_ms: 700 }), server({ threshold: 0.7 }), semantic(),
      semantic({ eagerness: 'low' }), semantic({ eagerness: 'auto' })
    ],
    [
      { enum: [server({}), semantic({ eagerness: 'low' })] },
      { enum: [null, semantic()] },
      {
        type: 'object',
        additionalProperties: false,
        required: ['type'],
        properties: {
          type: { const: 'server_vad' },
          threshold: { type: 'number', maximum: 0.8 },
          silence_duration_ms: { type: 'integer', minimum: 500 }
        }
      },
      {
        anyOf: [
          { type: 'null' },
          {
            type: 'object',
            additionalProperties: false,
            required: ['type', 'threshold'],
            properties: { type: { const: 'server_vad' }, threshold: { type: 'number' } }
          },
          {
            type: 'object',
            additionalProperties: false,
            required: ['type'],
            properties: { type: { const: 'semantic_vad' }, eagerness: { enum: ['low', 'high'] } }
          }
        ]
      }
    ]
  ],
  'audio.input.transcription': [
    [null, { model: 'whisper-1' }, { model: 'whisper-1', language: 'de' }, { model: 'other', prompt: 'p' }],
    [
      { enum: [null, { model: 'whisper-1' }] },
      {
        type: 'object',
        additionalProperties: false,
        properties: { model: { const: 'whisper-1' }, language: { type: 'string' } }
      }
    ]
  ],
  'audio.input.noise_reduction': [
    [null, { type: 'near_field' }, { type: 'far_field' }], [{ enum: [null, { type: 'near_field' }] }]
  ],
  'audio.input.format': [
    [{ type: 'audio/pcm', rate: 24000 }, { type: 'audio/pcmu' }],
    [{ enum: [{ type: 'audio/pcm' }] }]
  ],
  'audio.output.voice': [['marin', 'cedar', 'ash'], [{ enum: ['marin', 'cedar'] }]],
  'audio.output.speed': [[0.5, 1, 1.25], [{ type: 'number', minimum: 0.9 }]]
}
/** Values that equal no value where the policy has none. */
const EMPTY: Readonly<Record<string, readonly Json[]>> = { instructions: [''], include: [[]] }
/** Fields of which a policy may fix one member and allow another, and what a client may then send. */
const PARTS: Readonly<Record<string, readonly [fixed: Json, allowed: string, schema: Json, mine: readonly Json[]]>> = {
  'audio.input.turn_detection': [
    { type: 'server_vad' }, 'threshold', { type: 'number', maximum: 0.8 },
    [server({}), server({ threshold: 0.5 }), server({ threshold: 0.7 })]
  ],
  'audio.input.transcription': [
    { model: 'whisper-1' }, 'language', { enum: ['de'] },
    [{ model: 'whisper-1' }, { model: 'whisper-1', language: 'de' }]
  ]
}
const PATHS = Object.keys(FIELDS)
const valuesAt = (path: string) => (FIELDS[path] as typeof FIELDS[string])[0]

const roleAt = (path: string): fc.Arbitrary<readonly [string, string, Json]> => {
  const [values, schemas] = FIELDS[path] as typeof FIELDS[string]
  return fc.oneof(
    fc.constant([path, 'unnamed', null] as const),
    fc.constantFrom(...values).map((value) => [path, 'fixed', value] as const),
    fc.constantFrom(...values).map((value) => [path, 'defaults', value] as const),
    fc.constantFrom(...schemas).map((schema) => [path, 'allow', schema] as const),
    fc.constant([path, 'ignore', null] as const),
    ...PARTS[path] === undefined ? [] : [fc.constant([path, 'parts', null] as const)]
  )
}

const policy = fc.tuple(...PATHS.map(roleAt)).map((roles) => {
  const session: JsonObject = { fixed: { model: 'gpt-realtime-2.1' }, calls: {}, allow: {}, ignore: [] }
  for (const [path, role, value] of roles) {
    if (role === 'fixed' || role === 'defaults') setIn(session, [role, ...splitPath(path)], value)
    if (role === 'allow') (session.allow as JsonObject)[path] = value
    if (role === 'parts') {
      const [fixed, member, schema] = PARTS[path] as typeof PARTS[string]
      setIn(session, ['fixed', ...splitPath(path)], fixed)
      ;(session.allow as JsonObject)[`${path}.${member}`] = schema
    }
    if (role === 'ignore') (session.ignore as Json[]).push(path)
  }
  for (const key of ['allow', 'ignore']) if (Object.keys(session[key] as object).length === 0) delete session[key]
  return session
})

const change = fc.constantFrom(...PATHS).chain((path) =>
  fc.constantFrom(...valuesAt(path)).map((value) => [path, value] as const))
type Change = readonly [string, Json]
const sequence = fc.record({
  mirrorsUpdates: fc.boolean(),
  updates: fc.array(fc.record({
    changes: fc.array(change, { minLength: 1, maxLength: 4 }),
    /** The events that arrive before the next update: true for one to the guard, false for one from it. */
    arriving: fc.array(fc.boolean(), { maxLength: 6 }),
    passMs: fc.constantFrom(0, 100, 5000, 20_000, 61_000)
  }), { maxLength: 6 })
})

function rulesOf (session: JsonObject): SessionRules | null {
  return readPolicy(fileWith({ session })).policies?.policies[0]?.sessions.realtime ?? null
}

/** Whether the rules permit a client this value at the path. */
function mayBe (rules: SessionRules, path: string, value: Json): boolean {
  const accepts = ruleAt(rules, splitPath(path))?.accepts
  const [, member, , mine] = PARTS[path] ?? []
  if (member !== undefined && ruleAt(rules, splitPath(`${path}.${member}`)) !== undefined) {
    return mine?.some((one) => isDeepStrictEqual(one, value)) === true
  }
  return accepts?.(value) === true
}

function updateOf (changes: readonly Change[]): JsonObject {
  const update: JsonObject = {}
  for (const [path, value] of changes) setIn(update, splitPath(path), value)
  return update
}

type Updates = readonly Readonly<{ changes: readonly Change[], arriving: readonly boolean[], passMs: number }>[]

function run (world: GuardWorld, updates: Updates): void {
  for (const { changes, arriving, passMs } of updates) {
    if (world.isOver()) return
    world.update(updateOf(changes))
    for (const isForUs of arriving) world.step(isForUs)
    world.clock.pass(passMs)
  }
}

/** Lets all events arrive, while the client sends no more. */
function calm (world: GuardWorld): void {
  for (let i = 0; i < 4; i++) {
    world.settle()
    world.clock.pass(20_000)
  }
  world.settle()
}

const absent = (value: Json | undefined) => value ?? null

/** A value at a path, as upstream reports it. */
function asReported (world: GuardWorld, path: Path, value: Json): Json {
  const update: JsonObject = {}
  setIn(update, path, value)
  return absent(getIn(updateSession(world.baseline, update), path))
}

function assertHeld (rules: SessionRules, world: GuardWorld): void {
  for (const path of PATHS) {
    const at = splitPath(path)
    const now = absent(getIn(world.session(), at))
    const ours = [absent(getIn(world.baseline, at)), ...EMPTY[path] ?? []]
    const allowed = valuesAt(path).filter((value) => mayBe(rules, path, value))
    const isHeld = path === 'tracing' || ours.some((value) => isDeepStrictEqual(value, now)) ||
      allowed.some((value) => isDeepStrictEqual(asReported(world, at, value), now))
    assert.ok(isHeld, `${path} is ${JSON.stringify(now)}, and was ${JSON.stringify(ours[0])}`)
  }
}

t.test('call: for any policy and any updates of a client, after the last correction the policy holds', (t) => {
  let ended = 0
  let held = 0
  fc.assert(fc.property(
    policy, fc.array(sequence, { minLength: SEQUENCES, maxLength: SEQUENCES }), (session, sequences) => {
      const rules = rulesOf(session)
      fc.pre(rules !== null)
      for (const { mirrorsUpdates, updates } of sequences) {
        const world = startGuardWorld(rules as SessionRules, { mirrorsUpdates })
        run(world, updates)
        calm(world)
        assert.deepEqual(world.faults, [])
        if (world.isOver()) ended++
        else {
          held++
          assertHeld(rules as SessionRules, world)
        }
      }
    }
  ), { numRuns: POLICIES })
  t.comment(`${held} held, ${ended} ended`)
  t.ok(held > ended, 'most calls go on')
  t.end()
})

t.test('call: a client that stays within the policy is never corrected', (t) => {
  let tried = 0
  fc.assert(fc.property(
    policy, fc.array(sequence, { minLength: SEQUENCES, maxLength: SEQUENCES }), (session, sequences) => {
      const rules = rulesOf(session)
      fc.pre(rules !== null)
      for (const { mirrorsUpdates, updates } of sequences) {
        const world = startGuardWorld(rules as SessionRules, { mirrorsUpdates })
        run(world, updates.map((update) => ({
          ...update,
          changes: update.changes.filter(([path, value]) => mayBe(rules as SessionRules, path, value) ||
            isDeepStrictEqual(getIn(world.baseline, splitPath(path)), value))
        })))
        calm(world)
        tried++
        assert.deepEqual(world.changes, [])
        assert.equal(world.isOver(), false)
        assert.deepEqual(world.sent.filter(({ session }) => Object.keys(session as object).length > 1), [])
      }
    }
  ), { numRuns: POLICIES })
  t.ok(tried >= POLICIES * SEQUENCES)
  t.end()
})

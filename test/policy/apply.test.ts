import t from 'tap'
import type { Json, JsonObject } from '../../src/json.ts'
import { applyPolicy, askedFor } from '../../src/policy/apply.ts'
import { ask, outcome, rulesOf } from './harness.ts'

const at = (path: string) => `403 policy_violation ${path}`
const closed = (properties: JsonObject): JsonObject => ({ type: 'object', additionalProperties: false, properties })
const detection = {
  anyOf: [{ type: 'null' }, closed(
    { type: { enum: ['server_vad', 'semantic_vad'] }, threshold: { type: 'number' }, eagerness: { type: 'string' } }
  )]
}

t.test('null is a value that a schema must admit', async (t) => {
  const without = rulesOf({ session: { allow: { 'audio.input.noise_reduction': { enum: [{ type: 'near_field' }] } } } })
  const withNull = rulesOf({
    session: {
      defaults: { audio: { input: { noise_reduction: { type: 'far_field' } } } },
      allow: { 'audio.input.noise_reduction': { enum: [{ type: 'near_field' }, null] } }
    }
  })
  const body = { session: { audio: { input: { noise_reduction: null } } } }
  t.equal(outcome(without, body), at('session.audio.input.noise_reduction'))
  t.equal(outcome(without, { input_audio_noise_reduction: null }, { legacy: true }), at('input_audio_noise_reduction'))
  t.strictSame(ask(withNull, body).session, { audio: { input: { noise_reduction: null } } })
  t.strictSame(
    ask(withNull, { input_audio_noise_reduction: null }, { legacy: true }).session,
    { audio: { input: { noise_reduction: null } } }
  )
  t.strictSame(ask(withNull, {}).session, { audio: { input: { noise_reduction: { type: 'far_field' } } } })
})

t.test('a fixed null turns a feature off', async (t) => {
  const rules = rulesOf({ session: { fixed: { audio: { input: { turn_detection: null } }, tracing: null } } })
  t.equal(outcome(rules, { session: { tracing: 'auto' } }), at('session.tracing'))
  t.equal(
    outcome(rules, { session: { audio: { input: { turn_detection: { type: 'server_vad' } } } } }),
    at('session.audio.input.turn_detection.type')
  )
  t.equal(outcome(rules, { turn_detection: { threshold: 0.5 } }, { legacy: true }), at('turn_detection.threshold'))
  t.strictSame(
    ask(rules, { session: { tracing: null } }).session, { audio: { input: { turn_detection: null } }, tracing: null }
  )
})

t.test('an empty object is accepted where the policy has an object, and refused elsewhere', async (t) => {
  const rules = rulesOf({
    session: {
      fixed: { tracing: { group_id: 'g' }, instructions: 'x' }, allow: { 'audio.output.voice': { type: 'string' } }
    }
  })
  t.equal(outcome(rules, { session: { instructions: {} } }), at('session.instructions'))
  t.equal(outcome(rules, { session: { reasoning: {} } }), at('session.reasoning'))
  t.strictSame(
    ask(rules, { session: { tracing: {}, audio: { output: {} } } }).session,
    { tracing: { group_id: 'g' }, instructions: 'x' }
  )
})

t.test('an empty list is a value', async (t) => {
  const rules = rulesOf(
    { session: { defaults: { tools: [{ type: 'function', name: 'f' }] }, allow: { tools: { const: [] } } } }
  )
  t.equal(outcome(rules, { session: { tools: [{}] } }), at('session.tools'))
  t.strictSame(ask(rules, { session: { tools: [] } }).session, { tools: [] })
  t.strictSame(
    ask(rulesOf({ session: { fixed: { tools: [] } } }), { tools: [] }, { legacy: true }).session, { tools: [] }
  )
})

t.test('a client\'s value replaces its allowed path whole', async (t) => {
  const rules = rulesOf({
    session: {
      defaults: { audio: { input: { turn_detection: { type: 'server_vad', threshold: 0.5 } } } },
      allow: { 'audio.input.turn_detection': detection }
    }
  })
  const semantic = { type: 'semantic_vad', eagerness: 'low' }
  t.strictSame(
    ask(rules, { session: { audio: { input: { turn_detection: semantic } } } }).session,
    { audio: { input: { turn_detection: semantic } } }
  )
  t.strictSame(
    ask(rules, { session: { audio: { input: { turn_detection: null } } } }).session,
    { audio: { input: { turn_detection: null } } }
  )
  t.strictSame(
    ask(rules, { session: { audio: { input: {} } } }).session,
    { audio: { input: { turn_detection: { type: 'server_vad', threshold: 0.5 } } } }
  )
})

t.test('defaults stay beside allowed paths, and prompts and fixed values win', async (t) => {
  const rules = rulesOf({
    session: {
      fixed: { audio: { output: { speed: 1 } } },
      defaults: { audio: { output: { voice: 'marin' }, input: { noise_reduction: null } }, instructions: 'default' },
      allow: { 'audio.output.voice': { type: 'string' }, instructions: { type: 'string' } },
      prompts: ['p']
    },
    prompts: { p: { session: { instructions: 'of the prompt' } } }
  })
  t.strictSame(ask(rules, { session: { instructions: 'of the client', audio: { output: { voice: 'cedar' } } } })
    .session,
  {
    audio: { output: { voice: 'cedar', speed: 1 }, input: { noise_reduction: null } }, instructions: 'of the client'
  })
  t.equal(
    ask(rules, { session: { instructions: 'of the client', prompt: { id: 'p' } } }).session.instructions,
    'of the prompt'
  )
})

t.test('a value equal to that of the prompt is accepted, another one is refused', async (t) => {
  const rules = rulesOf({
    session: { prompts: ['p'], default_prompt: 'p' },
    prompts: { p: { session: { instructions: 'x', tools: [{ type: 'function', name: 'f' }] } } }
  })
  t.equal(outcome(rules, { session: { instructions: 'y' } }), at('session.instructions'))
  t.equal(outcome(rules, { session: { tools: [] } }), at('session.tools'))
  t.strictSame(
    ask(rules, { session: { instructions: 'x', tools: [{ type: 'function', name: 'f' }] } }).session,
    { instructions: 'x', tools: [{ type: 'function', name: 'f' }] }
  )
})

t.test('an invalid result is refused at a path of the client, or without a path', async (t) => {
  const rules = rulesOf({
    session: {
      defaults: { audio: { input: { turn_detection: { type: 'semantic_vad' } } } },
      allow: {
        'audio.input.turn_detection.threshold': { type: 'number' },
        'audio.output': closed({ voice: true, speed: true }),
        tools: {
          type: 'array',
          items: {
            type: 'object',
            additionalProperties: true,
            required: ['type'],
            properties: {
              type: { enum: ['mcp', 'function'] }
            }
          }
        }
      }
    }
  })
  t.equal(
    outcome(rules, { session: { audio: { input: { turn_detection: { threshold: 0.5 } } } } }),
    at('session.audio.input.turn_detection.threshold')
  )
  t.equal(outcome(rules, { turn_detection: { threshold: 0.5 } }, { legacy: true }), at('turn_detection.threshold'))
  t.equal(outcome(rules, { session: { audio: { output: { voice: 7 } } } }), at('session.audio.output.voice'))
  t.equal(
    outcome(rules, { session: { audio: { output: { voice: { name: 'x' } } } } }), at('session.audio.output.voice.name')
  )
  t.equal(outcome(rules, { speed: 9 }, { legacy: true }), at('speed'))
  t.equal(outcome(rules, { session: { tools: [{ type: 'mcp' }] } }), at('session.tools'), 'never an index')
  t.equal(outcome(rulesOf({ kind: 'translation', session: { allow: { model: { type: 'string' } } } }), {}), at('null'))
})

t.test('a value that fails a schema is refused at its path, under the client\'s name for it', async (t) => {
  const rules = rulesOf({
    session: {
      allow: {
        'audio.output': closed({ voice: { enum: ['marin'] } }),
        'audio.input.turn_detection': detection,
        'audio.input.format': { enum: [{ type: 'audio/pcmu' }] }
      }
    }
  })
  t.equal(outcome(rules, { session: { audio: { output: { voice: 'cedar' } } } }), at('session.audio.output'))
  t.equal(outcome(rules, { voice: 'cedar' }, { legacy: true }), at('voice'))
  t.equal(outcome(rules, { speed: 1 }, { legacy: true }), at('speed'))
  t.equal(outcome(rules, { turn_detection: { threshold: 'x' } }, { legacy: true }), at('turn_detection'))
  t.equal(outcome(rules, { input_audio_format: 'pcm16' }, { legacy: true }), at('input_audio_format'))
})

t.test('fields added by the translation of a legacy body are not checked as the client\'s', async (t) => {
  const byMember = rulesOf({
    session: {
      defaults: { audio: { input: { turn_detection: { type: 'semantic_vad' } } } },
      allow: {
        'audio.input.turn_detection.type': { const: 'semantic_vad' },
        'audio.input.turn_detection.create_response': { type: 'boolean' }
      }
    }
  })
  const open = closed({ threshold: { type: 'number' } })
  const whole = rulesOf({ session: { allow: { 'audio.input.turn_detection': open } } })
  const around = rulesOf({ session: { allow: { 'audio.input': closed({ turn_detection: open }) } } })
  const dropped = rulesOf({
    session: {
      ignore: ['audio.input.turn_detection.type'], allow: { 'audio.input.turn_detection.threshold': { type: 'number' } }
    }
  })

  t.equal(outcome(around, { turn_detection: { threshold: 'x' } }, { legacy: true }), at('turn_detection.threshold'))
  t.equal(outcome(whole, { turn_detection: null }, { legacy: true }), at('turn_detection'))
  t.equal(
    outcome(whole, { session: { audio: { input: { turn_detection: { type: 'server_vad', threshold: 0.5 } } } } }),
    at('session.audio.input.turn_detection')
  )
  t.strictSame(
    ask(byMember, { turn_detection: { create_response: true } }, { legacy: true }).session,
    { audio: { input: { turn_detection: { type: 'semantic_vad', create_response: true } } } }
  )
  for (const rules of [whole, around, dropped]) {
    const { session, ignored } = ask(rules, { turn_detection: { threshold: 0.5 } }, { legacy: true })
    t.strictSame(session, { audio: { input: { turn_detection: { type: 'server_vad', threshold: 0.5 } } } })
    t.strictSame(ignored, [])
  }
})

t.test('edge L4: a legacy turn detection is checked like the same value in GA shape', async (t) => {
  const wholly = (schema: JsonObject) => rulesOf({ session: { allow: { 'audio.input.turn_detection': schema } } })
  const semantic = { enum: ['semantic_vad'] }
  const rows: [rules: ReturnType<typeof rulesOf>, detection: Json, path: string][] = [
    ...[
      rulesOf({}), rulesOf({ session: { fixed: { audio: { input: { turn_detection: null } } } } })
    ].flatMap((rules): [typeof rules, Json, string][] => [
      [rules, {}, ''], [rules, { eagerness: 'low' }, '.eagerness'], [
        rules, { type: 'semantic_vad', threshold: 0.5 }, '.type'
      ]
    ]),
    [wholly(detection), { eagerness: 'low' }, '.eagerness'],
    [wholly(detection), { type: 'server_vad', eagerness: 'low' }, '.eagerness'],
    [wholly(detection), { type: 'semantic_vad', threshold: 0.5 }, '.threshold'],
    [wholly(closed({ type: semantic, threshold: { type: 'number' } })), {}, ''],
    [wholly(closed({ type: semantic, threshold: { type: 'number' } })), { threshold: 0.5 }, ''],
    [rulesOf({
      session: {
        allow: {
          'audio.input.turn_detection.type': semantic, 'audio.input.turn_detection.create_response': { type: 'boolean' }
        }
      }
    }), { create_response: true }, '.create_response'],
    [
      rulesOf({ session: { allow: { 'audio.input.turn_detection.threshold': { type: 'number' } } } }),
      { threshold: 0.5, eagerness: 'low' }, '.eagerness'
    ]
  ]
  for (const [rules, sent, path] of rows) {
    t.equal(
      outcome(rules, { turn_detection: sent }, { legacy: true }), at(`turn_detection${path}`), JSON.stringify(sent)
    )
    t.match(
      outcome(rules, { session: { audio: { input: { turn_detection: sent } } } }),
      /^403 policy_violation session.audio.input.turn_detection/,
      JSON.stringify(sent)
    )
  }
})

t.test('edge L4: documented legacy values are accepted where they are allowed', async (t) => {
  const whole = rulesOf({ session: { allow: { 'audio.input.turn_detection': detection } } })
  const detectionOf = (rules: typeof whole, sent: Json) =>
    (ask(rules, { turn_detection: sent }, { legacy: true }).session.audio as JsonObject).input
  t.strictSame(detectionOf(whole, {}), { turn_detection: { type: 'server_vad' } })
  t.strictSame(detectionOf(whole, { threshold: 0.5 }), { turn_detection: { type: 'server_vad', threshold: 0.5 } })
  t.strictSame(
    detectionOf(whole, { type: 'semantic_vad', eagerness: 'low' }),
    { turn_detection: { type: 'semantic_vad', eagerness: 'low' } }
  )
  const fixed = { audio: { input: { turn_detection: { type: 'semantic_vad' } } } }
  t.strictSame(
    ask(rulesOf({ session: { fixed } }), { turn_detection: {} }, { legacy: true }).session,
    fixed,
    'an object without members says nothing'
  )
})

t.test('edge L4: fields without a GA equivalent are dropped and reported, the others are checked', async (t) => {
  const member = { 'audio.input.turn_detection.create_response': { type: 'boolean' } }
  const responding = rulesOf({ kind: 'transcription', session: { allow: member } })
  const transcription = rulesOf({ kind: 'transcription' })
  t.equal(
    outcome(transcription, { turn_detection: { create_response: true } }, { legacy: true }),
    at('turn_detection.create_response')
  )
  t.equal(
    outcome(transcription, { turn_detection: { interrupt_response: true } }, { legacy: true }),
    at('turn_detection.interrupt_response')
  )
  t.strictSame(ask(responding, { turn_detection: { create_response: false } }, { legacy: true }).session,
    { audio: { input: { turn_detection: { type: 'server_vad', create_response: false } } } })
  t.strictSame(ask(transcription, { modalities: ['text'] }, { legacy: true }).ignored, ['modalities'])
})

t.test('an ignored path is dropped, reported, and has no effect', async (t) => {
  const rules = rulesOf(
    { session: { fixed: { model: 'm' }, ignore: ['temperature', 'old.junk', 'audio.input', 'model'] } }
  )
  t.equal(outcome(rules, { session: { old: { gold: 1 } } }), at('session.old.gold'))
  t.equal(outcome(rules, { session: { audio: { output: {} } } }), at('session.audio.output'))
  const { session, ignored } = ask(
    rules,
    { session: { temperature: 0.8, model: 'other', old: { junk: { a: 1 } }, audio: { input: { format: 'x' } } } }
  )
  t.strictSame(session, { model: 'm' })
  t.strictSame(ignored, ['temperature', 'model', 'old.junk', 'audio.input'])
  t.strictSame(ask(rules, { temperature: 0.8, input_audio_noise_reduction: null }, { legacy: true }), {
    session: { model: 'm' },
    expiresAfterSeconds: 60,
    model: 'm',
    prompt: null,
    ignored: ['audio.input', 'temperature'],
    accepted: []
  })
})

t.test('aliases are applied once, to the model path, before the check', async (t) => {
  const rules = rulesOf(
    { session: { allow: { model: { enum: ['new', 'newer'] } }, aliases: { old: 'new', new: 'newer' } } }
  )
  t.equal(outcome(rules, { session: { model: 'other' } }), at('session.model'))
  t.equal(outcome(rules, { session: { model: ['old'] } }), at('session.model'))
  t.equal(outcome(rules, { session: { model: 'toString' } }), at('session.model'))
  t.equal(ask(rules, { session: { model: 'old' } }).session.model, 'new')
  t.equal(ask(rules, { session: { model: 'new' } }).model, 'newer')
  t.equal(ask(
    rulesOf({ session: { fixed: { model: 'new' }, aliases: { old: 'new' } } }), { model: 'old' }, { legacy: true }
  ).model, 'new')

  const transcription = rulesOf({
    kind: 'transcription',
    session: { fixed: { audio: { input: { transcription: { model: 'new' } } } }, aliases: { old: 'new' } }
  })
  t.equal(ask(transcription, { input_audio_transcription: { model: 'old' } }, { legacy: true }).model, 'new')
  t.equal(
    outcome(transcription, { input_audio_transcription: { model: 'older' } }, { legacy: true }),
    at('input_audio_transcription.model')
  )
})

t.test('the default prompt applies if none is named; without prompts, prompt is a path like any other', async (t) => {
  const prompts = {
    p: { session: { instructions: 'p' } },
    'p@2': { session: { instructions: 'p2' } },
    q: { session: { instructions: 'q' } }
  }
  const rules = rulesOf({ session: { prompts: ['p', 'p@2'], default_prompt: 'q' }, prompts })
  t.equal(outcome(rules, { session: { prompt: { id: 'q' } } }), at('session.prompt.id'))
  const instructionsOf = (body: unknown) => ask(rules, body).session.instructions
  t.equal(instructionsOf({}), 'q')
  t.equal(instructionsOf({ session: { prompt: { id: 'p' } } }), 'p')
  t.equal(instructionsOf({ session: { prompt: { id: 'p', version: '2', variables: {} } } }), 'p2')

  const none = rulesOf({ session: { default_prompt: 'q' }, prompts })
  t.equal(outcome(none, { session: { prompt: { id: 'q' } } }), at('session.prompt.id'))
  t.strictSame(ask(
    rulesOf({ session: { allow: { prompt: { const: { id: 'pmpt_1' } } } } }), { session: { prompt: { id: 'pmpt_1' } } }
  ).session, { prompt: { id: 'pmpt_1' } })
})

t.test('the default lifetime is that of the policy, or 60 s', async (t) => {
  const rows: [expiresAfter: Json | undefined, seconds: number, max: number][] = [
    [undefined, 60, 60], [{ default: 30 }, 30, 30], [{ max: 300 }, 60, 300], [{ max: 20 }, 20, 20],
    [{ default: 10, max: 7200 }, 10, 7200]
  ]
  for (const [expiresAfter, seconds, max] of rows) {
    const rules = rulesOf({ session: { ...expiresAfter !== undefined && { expires_after: expiresAfter } } })
    t.equal(outcome(rules, { expires_after: { seconds: max + 1 } }), '403 policy_violation expires_after.seconds')
    t.equal(ask(rules, {}).expiresAfterSeconds, seconds)
    t.equal(ask(rules, { expires_after: { seconds: max } }).expiresAfterSeconds, max)
  }
})

t.test('paths that our types do not know are sent as the policy and its clients write them', async (t) => {
  const rules = rulesOf({
    session: {
      fixed: { brand: { new: { a: 1 } } },
      defaults: { audio: { output: { colour: 'red' } } },
      allow: { 'audio.output.colour': { type: 'string' }, 'other.deep.thing': { type: 'number' } }
    }
  })
  t.equal(outcome(rules, { session: { brand: { new: { a: 2 } } } }), at('session.brand.new.a'))
  t.equal(outcome(rules, { session: { other: { deep: { thing: 'x' } } } }), at('session.other.deep.thing'))
  t.equal(outcome(rules, { session: { other: { deep: { stranger: 1 } } } }), at('session.other.deep.stranger'))
  t.strictSame(ask(rules, { session: { audio: { output: { colour: 'blue' } }, other: { deep: { thing: 1 } } } })
    .session,
  { audio: { output: { colour: 'blue' } }, brand: { new: { a: 1 } }, other: { deep: { thing: 1 } } })
})

t.test('a number that JSON cannot represent is refused, whatever a schema admits', async (t) => {
  const rules = rulesOf({ session: { allow: { brand_new: true } } })
  for (const value of [Infinity, [-Infinity], { a: [{ b: Infinity }] }]) {
    t.equal(outcome(rules, { session: { brand_new: value } }), at('session.brand_new'))
  }
  t.strictSame(
    ask(rules, { session: { brand_new: { a: [1.5, null, 'x'] } } }).session, { brand_new: { a: [1.5, null, 'x'] } }
  )
})

t.test('edge L8: the check for unique items does not take quadratic time', async (t) => {
  const rules = rulesOf({
    session: {
      allow: {
        brand_new: { type: 'array', items: true, uniqueItems: true },
        other_new: { type: 'array', items: true, uniqueItems: false }
      }
    }
  })
  const sent = (brand: Json[]) => outcome(rules, { session: { brand_new: brand } })
  for (const twice of [[1, 1.0], [{ a: 1, b: [2] }, 'x', { b: [2], a: 1 }], [[1, 2], [1, 2]], [null, null]]) {
    t.equal(sent(twice as Json[]), at('session.brand_new'), JSON.stringify(twice))
  }
  for (const distinct of [[1, '1', [1], { a: 1 }], [['1,2'], ['1', '2']], [{ a: 1 }, { b: 1 }], []]) {
    t.type(sent(distinct as Json[]), 'object', JSON.stringify(distinct))
  }
  t.type(outcome(rules, { session: { other_new: [1, 1] } }), 'object')

  // A pairwise comparison of a hundred thousand items would take minutes.
  t.equal(sent([...Array.from({ length: 100_000 }, (_, i) => ({ i })), { i: 0 }]), at('session.brand_new'))
})

t.test('a member named like a method of objects is a value like any other, not an internal error', async (t) => {
  const rules = rulesOf({
    session: {
      allow: {
        one: { enum: [null, { type: 'near_field' }] },
        two: { const: { type: 'near_field' } },
        three: { type: 'array', items: true, uniqueItems: true }
      }
    }
  })
  for (const name of ['toString', 'valueOf', 'constructor']) {
    const value = { [name]: 1 }
    for (const [path, sent] of Object.entries({ one: value, two: value, three: [value, value] })) {
      t.equal(outcome(rules, { session: { [path]: sent } }), at(`session.${path}`), name)
    }
  }
})

t.test('an unexpected error is not turned into a refusal', async (t) => {
  const rules = rulesOf({ session: { fixed: { instructions: '{{name}}' } } })
  const claims = Object.defineProperty({}, 'name', { get: () => { throw new RangeError('broken') } })
  t.throws(() => applyPolicy(rules, claims, askedFor({})), RangeError)
})

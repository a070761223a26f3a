// Typed clients send what is not set as null: where that counts as not set, and where it is a value.

import t from 'tap'
import type { Json, JsonObject } from '../../src/json.ts'
import { ask, fileWith, lines, outcome, readPolicy, rulesOf } from './harness.ts'

const rules = rulesOf({
  session: {
    fixed: { model: 'm' },
    allow: {
      tools: {
        type: 'array',
        items: {
          type: 'object',
          required: ['type'],
          additionalProperties: false,
          properties: { type: { const: 'function' }, name: { type: 'string' }, parameters: true }
        }
      },
      'audio.input.turn_detection': {
        type: ['object', 'null'],
        additionalProperties: false,
        properties: { type: { type: 'string' }, threshold: { type: 'number' }, idle_timeout_ms: { type: 'null' } }
      }
    },
    expires_after: { default: 60, max: 300 }
  }
})
const at = (path: string) => `403 policy_violation ${path}`
const detection = (value: Json) => ({ session: { audio: { input: { turn_detection: value } } } })

t.test('D4, field F16: a null where it has a meaning, at an unknown name or in a list is a value', async (t) => {
  const refused: [body: JsonObject, path: string, legacy?: boolean][] = [
    [{ session: { tracing: null } }, 'session.tracing'],
    [{ session: { prompt: null } }, 'session.prompt'],
    [{ session: { audio: { input: { transcription: null } } } }, 'session.audio.input.transcription'],
    [{ session: { audio: { input: { noise_reduction: null } } } }, 'session.audio.input.noise_reduction'],
    [{ session: { unheard_of: null } }, 'session.unheard_of'],
    [{ session: { audio: { colour: null } } }, 'session.audio.colour'],
    [{ session: { tools: [null] } }, 'session.tools'],
    [{ session: { tools: [{ type: 'function', colour: null }] } }, 'session.tools'],
    [{ session: { audio: { output: {} } } }, 'session.audio.output'],
    [{ model: null }, 'model'],
    [{ expires_after: { hours: null } }, 'expires_after.hours'],
    [{ input_audio_transcription: null }, 'input_audio_transcription', true],
    [{ unheard_of: null }, 'unheard_of', true],
    [{ client_secret: { value: null } }, 'client_secret.value', true]
  ]
  for (const [body, path, legacy = false] of refused) {
    t.equal(outcome(rules, body, { legacy }), at(path), JSON.stringify(body))
  }
  t.equal(outcome(rules, null), '400 invalid_request null', 'a body is not null')
  t.strictSame(ask(rules, detection(null)).session, { model: 'm', audio: { input: { turn_detection: null } } })
  t.strictSame(ask(rules, { turn_detection: null }, { legacy: true }).session, {
    model: 'm', audio: { input: { turn_detection: null } }
  })
  const named = { type: 'server_vad', idle_timeout_ms: null }
  t.strictSame(ask(rules, detection(named)).session.audio, { input: { turn_detection: named } })
})

t.test('D4, field F16: any other null counts as not set, nested ones and those of the beta too', async (t) => {
  const unset: [body: JsonObject, legacy?: boolean][] = [
    [{ session: null, expires_after: null }],
    [{ session: { type: null, model: null, instructions: null, tools: null, tool_choice: null, temperature: null } }],
    [{ session: { audio: null, reasoning: { effort: null }, truncation: null, include: null } }],
    [{ session: { audio: { input: null, output: { voice: null, speed: null, format: { type: null, rate: null } } } } }],
    [{ session: { tool_choice: { type: null, server_label: null } } }],
    [{ expires_after: { anchor: null, seconds: null } }],
    [{ expires_after: { anchor: 'created_at', seconds: null } }],
    [{ voice: null, modalities: null, input_audio_format: null, tools: null, temperature: null }, true],
    [{ client_secret: null, voice: { id: null }, max_response_output_tokens: null }, true],
    [{ client_secret: { expires_at: null, expires_after: null } }, true],
    [{ client_secret: { expires_after: { anchor: null, seconds: null } } }, true]
  ]
  for (const [body, legacy = false] of unset) {
    t.match(ask(rules, body, { legacy }), { expiresAfterSeconds: 60, ignored: [] }, JSON.stringify(body))
    t.strictSame(ask(rules, body, { legacy }).session, { model: 'm' }, JSON.stringify(body))
  }
  t.equal(ask(rules, { expires_after: { anchor: null, seconds: 90 } }).expiresAfterSeconds, 90)
  const secret = { expires_at: null, expires_after: { anchor: null, seconds: 90 } }
  t.equal(ask(rules, { client_secret: secret }, { legacy: true }).expiresAfterSeconds, 90)

  const semantic = { type: 'semantic_vad', threshold: null, prefix_padding_ms: null, idle_timeout_ms: null }
  t.strictSame(ask(rules, detection(semantic)).session.audio, { input: { turn_detection: { type: 'semantic_vad' } } })
  t.strictSame(
    ask(rules, { turn_detection: { type: null, threshold: null } }, { legacy: true }).session.audio,
    { input: { turn_detection: { type: 'server_vad' } } }
  )
  const parameters = { enum: [null], default: null }
  const tool = { type: 'function', name: 'f', description: null, server_label: null, parameters }
  t.strictSame(ask(rules, { session: { tools: [tool] } }).session.tools, [{ type: 'function', name: 'f', parameters }])
  t.strictSame(
    ask(rules, { tools: [{ ...tool, type: null }] }, { legacy: true }).session.tools,
    [{ type: 'function', name: 'f', parameters }]
  )
  const transcription = rulesOf({ kind: 'transcription' })
  t.match(ask(transcription, { modalities: null, input_audio_format: null }, { legacy: true }), { ignored: [] })
})

t.test('field F16: a schema that admits a null which can never pass causes a warning', async (t) => {
  const warningsOf = (path: string, schema: Json) =>
    lines(readPolicy(fileWith({ session: { fixed: { model: 'm' }, allow: { [path]: schema } } })).warnings)
  const warning = (path: string, place = path) => [
    `policies.0.realtime.allow.${path} admits null at ${place}, where the API takes none: ` +
    'a client\'s null counts as not set'
  ]
  const object = (properties: JsonObject) => ({ type: 'object', additionalProperties: false, properties })
  const rows: [path: string, schema: Json, warnings: string[]][] = [
    ['instructions', { type: ['string', 'null'] }, warning('instructions')],
    ['instructions', { enum: [null, 'a'] }, warning('instructions')],
    ['audio.output.voice', { anyOf: [{ const: 'a' }, { const: null }] }, warning('audio.output.voice')],
    ['audio.output', object({ voice: { type: ['string', 'null'] } }), warning('audio.output', 'audio.output.voice')],
    ['tracing', object({ group_id: { type: 'null' } }), warning('tracing', 'tracing.group_id')],
    ['include', { type: 'array', items: { enum: [null] } }, []],
    ['tools', {
      type: 'array',
      items: { ...object({ type: { const: 'function' }, description: { type: 'null' } }), required: ['type'] }
    }, warning('tools', 'tools.description')],
    ['tracing', { type: ['string', 'null'] }, []],
    ['audio.input.turn_detection', { enum: [null] }, []],
    ['instructions', true, []],
    ['instructions', { type: 'string' }, []]
  ]
  for (const [path, schema, warnings] of rows) t.strictSame(warningsOf(path, schema), warnings, JSON.stringify(schema))
  t.match(warningsOf('unheard_of', { type: 'null' }), [/is not a path that this version knows/])
})

import fc from 'fast-check'
import t from 'tap'
import { projector } from '../../../src/http/serializer.ts'
import type { JsonObject } from '../../../src/json.ts'
import {
  ClientSecretAnswer, LegacyAnswer, LegacyTranscriptionAnswer, TranslationAnswer
} from '../../../src/realtime/answers.ts'
import { FIELDS } from '../../../src/realtime/legacy/fields.ts'
import { sessionFromLegacy, sessionToLegacy } from '../../../src/realtime/legacy/session.ts'

const kinds = ['realtime', 'transcription'] as const
const secrets = { client_secret: { value: 'ek_canary', expires_at: 1 } }

t.test('a secret inside a session is not carried over, in either direction', async (t) => {
  for (const kind of kinds) {
    t.notMatch(JSON.stringify(sessionToLegacy(kind, secrets)), 'canary')
    t.notMatch(JSON.stringify(sessionFromLegacy(kind, secrets)), 'canary')
  }
})

t.test('D25: no response contains fields outside its schema, nor the secrets of a tool', async (t) => {
  const tool = {
    type: 'mcp',
    server_label: 'crm',
    server_url: 'https://crm.example',
    headers: { key: 'canary' },
    authorization: 'canary'
  }
  const session = { id: 'sess_1', model: 'm', tools: [tool], novelty: 'canary', voice: 'x', ...secrets }
  for (const schema of [ClientSecretAnswer, TranslationAnswer]) {
    t.notMatch(JSON.stringify(projector(schema)({ value: 'ek_1', expires_at: 2, session, debug: 'canary' })), 'canary')
  }
  for (const [kind, schema] of [['realtime', LegacyAnswer], ['transcription', LegacyTranscriptionAnswer]] as const) {
    t.notMatch(JSON.stringify(projector(schema)(sessionToLegacy(kind, session))), 'canary')
  }
  t.strictSame(projector(ClientSecretAnswer)({ value: 'ek_1', expires_at: 2, session }),
    {
      value: 'ek_1',
      expires_at: 2,
      session: {
        id: 'sess_1', model: 'm', tools: [{ type: 'mcp', server_label: 'crm', server_url: 'https://crm.example' }]
      }
    })
})

t.test('translating a response does not throw, whatever upstream returns', async () => {
  const names = [
    ...FIELDS.realtime.map(({ name }) => name), 'audio', 'output_modalities', 'max_output_tokens', 'id', 'expires_at',
    'type'
  ]
  const anything = fc.oneof(
    fc.jsonValue(),
    fc.dictionary(fc.constantFrom('input', 'output', 'format', 'turn_detection', 'type', 'name'), fc.jsonValue())
  )
  fc.assert(fc.property(fc.constantFrom(
    ...kinds
  ), fc.dictionary(fc.constantFrom(...names), anything), (kind, answer) => {
    const session = answer as JsonObject
    return sessionToLegacy(kind, session) !== undefined && sessionFromLegacy(kind, session) !== undefined
  }))
})

t.test('a GA session is translated to the equivalent legacy session', async (t) => {
  t.strictSame(sessionToLegacy('realtime', {
    type: 'realtime',
    object: 'realtime.session',
    id: 'sess_1',
    expires_at: 0,
    model: 'gpt-realtime',
    output_modalities: ['audio'],
    max_output_tokens: 'inf',
    tool_choice: { type: 'function', name: 'lookup' },
    parallel_tool_calls: true,
    audio: {
      input: {
        format: { type: 'audio/pcm', rate: 24000 },
        transcription: null,
        turn_detection: { type: 'server_vad', threshold: 0.5, idle_timeout_ms: null }
      },
      output: { format: { type: 'audio/pcmu' }, voice: 'marin', speed: 1 }
    }
  }), {
    object: 'realtime.session',
    id: 'sess_1',
    expires_at: 0,
    input_audio_format: 'pcm16',
    input_audio_transcription: null,
    turn_detection: { type: 'server_vad', threshold: 0.5 },
    model: 'gpt-realtime',
    modalities: ['audio', 'text'],
    voice: 'marin',
    speed: 1,
    output_audio_format: 'g711_ulaw',
    tool_choice: 'lookup',
    max_response_output_tokens: 'inf'
  })
  t.strictSame(sessionToLegacy('transcription', { audio: { input: { format: { type: 'audio/pcma' } } } }),
    { object: 'realtime.transcription_session', input_audio_format: 'g711_alaw' })
})

t.test('a legacy session is translated to the equivalent GA session, with its type', async (t) => {
  t.strictSame(sessionFromLegacy('realtime', {
    object: 'realtime.session',
    id: 'sess_1',
    modalities: [
      'audio', 'text'
    ],
    input_audio_format: 'pcm16',
    output_audio_format: 'opus',
    voice: 'alloy'
  }), {
    type: 'realtime',
    object: 'realtime.session',
    id: 'sess_1',
    audio: { input: { format: { type: 'audio/pcm', rate: 24000 } }, output: { voice: 'alloy' } },
    output_modalities: ['audio']
  }, 'an unknown format is left out')
  t.strictSame(sessionFromLegacy('transcription', { modalities: ['text'], turn_detection: null }),
    { type: 'transcription', object: 'realtime.transcription_session', audio: { input: { turn_detection: null } } })
})

// Bodies are not validated by the schemas of the reference: these must match what the app accepts.

import { Ajv2020 } from 'ajv/dist/2020.js'
import t from 'tap'
import type { JsonObject } from '../../src/json.ts'
import { FIELDS } from '../../src/realtime/legacy/fields.ts'
import { readLegacy } from '../../src/realtime/legacy/request.ts'
import { checkSession } from '../../src/realtime/session.ts'
import { openapiDocument } from '../../src/reference/document.ts'

const ajv = new Ajv2020({ strict: false })
ajv.addSchema(openapiDocument(), 'openapi')
const accepts = (name: string, body: unknown) => ajv.validate({ $ref: `openapi#/components/schemas/${name}` }, body)

const INPUT = {
  include: ['item.input_audio_transcription.logprobs'],
  input_audio_format: 'g711_ulaw',
  input_audio_transcription: { model: 'whisper-1', language: 'de', prompt: 'names' },
  input_audio_noise_reduction: { type: 'near_field' },
  modalities: ['text', 'audio']
}
const FULL = {
  realtime: {
    ...INPUT,
    turn_detection: { threshold: 0.5, silence_duration_ms: 200, create_response: true },
    model: 'm',
    instructions: 'i',
    voice: 'cedar',
    speed: 1.1,
    output_audio_format: 'pcm16',
    tools: [{ name: 'f', parameters: {} }],
    tool_choice: 'f',
    max_response_output_tokens: 'inf',
    prompt: { id: 'p', version: '2', variables: { a: 'b' } },
    tracing: { workflow_name: 'w' },
    truncation: { type: 'retention_ratio', retention_ratio: 0.8 },
    temperature: 0.8
  },
  transcription: { ...INPUT, turn_detection: { type: 'semantic_vad', eagerness: 'low', interrupt_response: false } }
} as const
const NAMES = { realtime: 'LegacySessionRequest', transcription: 'LegacyTranscriptionSessionRequest' }
const LIFETIMES = [{ expires_after: { anchor: 'created_at', seconds: 60 } }, { expires_at: { seconds: 60 } }]

for (const kind of ['realtime', 'transcription'] as const) {
  t.test(`${kind}: a legacy body with every field is valid, and becomes a session`, async (t) => {
    t.same(Object.keys(FULL[kind]).sort(), FIELDS[kind].map(({ name }) => name).sort())
    for (const secret of LIFETIMES) {
      const body = { ...FULL[kind], client_secret: secret } as unknown as JsonObject
      t.ok(accepts(NAMES[kind], body))
      t.equal(checkSession(kind, readLegacy(kind, body).session), null)
    }
  })

  t.test(`${kind}: null is accepted for features that can be turned off`, async (t) => {
    for (const name of ['turn_detection', 'input_audio_transcription', 'input_audio_noise_reduction']) {
      t.ok(accepts(NAMES[kind], { [name]: null }), name)
      t.equal(checkSession(kind, readLegacy(kind, { [name]: null }).session), null)
    }
  })

  t.test(`${kind}: names and members of the GA API are invalid`, async (t) => {
    for (const body of [
      { audio: {} }, { type: kind }, { output_modalities: ['text'] }, { modalities: [] }, { input_audio_format: 'mp3' },
      { turn_detection: { idle_timeout_ms: 5000 } }, { input_audio_transcription: { delay: 'low' } }, {
        client_secret: { expires_after: { seconds: 9 } }
      }
    ]) t.notOk(accepts(NAMES[kind], body), JSON.stringify(body))
  })
}

t.test('a GA session is valid for its kind, with its type or, for realtime, without', async (t) => {
  t.ok(accepts('ClientSecretRequest', {}))
  t.ok(accepts('ClientSecretRequest', { session: { audio: { output: { voice: 'cedar' } } } }))
  t.ok(
    accepts('ClientSecretRequest', { session: { type: 'transcription', audio: { input: { turn_detection: null } } } })
  )
  t.ok(accepts('TranslationClientSecretRequest', { session: { audio: { output: { language: 'de' } } } }))
  for (const body of [
    [], { session: [] }, { session: { type: 'translation' } }, { session: { temperature: 0.8 } }, { voice: 'cedar' }
  ]) t.notOk(accepts('ClientSecretRequest', body))
})

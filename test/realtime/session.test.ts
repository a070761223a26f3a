import fc from 'fast-check'
import t from 'tap'
import type { JsonObject, Path } from '../../src/json.ts'
import { checkSession, isKnownPath, type Kind, KINDS, modelPath, sessionSchemas } from '../../src/realtime/session.ts'

const dotted = (path: Path | null) => path?.join('.') ?? null
const translation = { model: 'gpt-realtime-translate' }
const input = (input: JsonObject) => ({ audio: { input } })
const output = (output: JsonObject) => ({ audio: { output } })

t.test('an invalid session is refused at the deepest path of the fault', async (t) => {
  const refused: [Kind, JsonObject, string][] = [
    ['realtime', { type: 'realtime' }, 'type'],
    ['realtime', { voice: 'marin' }, 'voice'],
    ['realtime', { model: '' }, 'model'],
    ['realtime', { instructions: null }, 'instructions'],
    ['realtime', { output_modalities: ['audio', 'audio'] }, 'output_modalities'],
    ['realtime', { output_modalities: [] }, 'output_modalities'],
    ['realtime', { max_output_tokens: 0 }, 'max_output_tokens'],
    ['realtime', { max_output_tokens: 4097 }, 'max_output_tokens'],
    ['realtime', { max_output_tokens: 1.5 }, 'max_output_tokens'],
    ['realtime', { max_output_tokens: 'infinite' }, 'max_output_tokens'],
    ['realtime', { temperature: 1.3 }, 'temperature'],
    ['realtime', { reasoning: { effort: 'endless' } }, 'reasoning.effort'],
    ['realtime', { audio: [] }, 'audio'],
    ['realtime', output({ speed: 1.6 }), 'audio.output.speed'],
    ['realtime', output({ voice: { id: '' } }), 'audio.output.voice.id'],
    ['realtime', output({ voice: 7 }), 'audio.output.voice'],
    ['realtime', input({ format: { type: 'audio/mp3' } }), 'audio.input.format.type'],
    ['realtime', input({ format: { type: 'audio/pcm', rate: 8000 } }), 'audio.input.format.rate'],
    ['realtime', input({ format: { rate: 8000 } }), 'audio.input.format.rate'],
    ['realtime', input({ format: { type: 'audio/pcmu', rate: 24000 } }), 'audio.input.format.rate'],
    ['realtime', input({ noise_reduction: { type: 'middle_field' } }), 'audio.input.noise_reduction.type'],
    ['realtime', input({ turn_detection: { threshold: 0.5 } }), 'audio.input.turn_detection'],
    [
      'realtime', input({ turn_detection: { type: 'server_vad', eagerness: 'low' } }),
      'audio.input.turn_detection.eagerness'
    ],
    [
      'realtime', input({ turn_detection: { type: 'semantic_vad', threshold: 0.5 } }),
      'audio.input.turn_detection.threshold'
    ],
    [
      'realtime', input({ turn_detection: { type: 'server_vad', threshold: 2 } }),
      'audio.input.turn_detection.threshold'
    ],
    [
      'realtime', input({ turn_detection: { type: 'server_vad', idle_timeout_ms: -1 } }),
      'audio.input.turn_detection.idle_timeout_ms'
    ],
    ['realtime', { tools: [{ type: 'shell' }] }, 'tools'],
    ['realtime', { tools: [{ type: 'mcp' }] }, 'tools'],
    ['realtime', { tool_choice: 'lookup' }, 'tool_choice'],
    ['realtime', { tool_choice: { type: 'function' } }, 'tool_choice'],
    ['realtime', { truncation: { type: 'retention_ratio', retention_ratio: 1.1 } }, 'truncation.retention_ratio'],
    ['realtime', { prompt: { id: 'a', variables: { ok: 'x', name: 1 } } }, 'prompt.variables.name'],
    ['realtime', { prompt: { id: 'a', variables: { name: { type: 'input_text' } } } }, 'prompt.variables.name'],
    [
      'realtime', { prompt: { id: 'a', variables: { name: { more: 1, type: 'input_text', text: 1 } } } },
      'prompt.variables.name.text'
    ],
    ['transcription', { model: 'whisper-1' }, 'model'],
    ['transcription', { audio: { output: {} } }, 'audio.output'],
    ['translation', {}, ''],
    ['translation', { ...translation, instructions: 'x' }, 'instructions'],
    ['translation', { ...translation, ...input({ noise_reduction: { strength: 1 } }) }, 'audio.input.noise_reduction']
  ]
  for (const [kind, session, path] of refused) {
    t.equal(dotted(checkSession(kind, session)), path, JSON.stringify(session))
  }
})

t.test('null is accepted for features that can be turned off', async (t) => {
  t.equal(checkSession('realtime', {
    prompt: null, tracing: null, audio: { input: { noise_reduction: null, transcription: null, turn_detection: null } }
  }), null)
  t.equal(
    checkSession('translation', { ...translation, ...input({ transcription: null, noise_reduction: null }) }), null
  )
})

t.test('models, voices, tools and free-form values are not restricted', async (t) => {
  const session = {
    model: 'gpt-realtime-9',
    audio: { output: { voice: 'newcomer' } },
    tools: [
      { name: 'lookup', parameters: { type: 'object' }, strict: true },
      { type: 'mcp', server_label: 'crm', headers: { a: 'b' } }
    ],
    tracing: { metadata: { anything: [1] } },
    prompt: { id: 'a', version: null, variables: { name: 'Ada', scan: { type: 'input_file', file_id: 'f' } } }
  }
  t.equal(checkSession('realtime', session), null)
  t.equal(checkSession('realtime', output({ voice: { id: 'voice_1' } })), null)
})

t.test('a fault is always at a path of the input', async () => {
  fc.assert(fc.property(fc.constantFrom(
    ...KINDS
  ), fc.dictionary(fc.constantFrom('audio', 'prompt', 'model', 'tools', 'x'), fc.jsonValue()), (kind, value) => {
    const session = value as JsonObject
    const path = checkSession(kind, session)
    let at: unknown = session
    for (const key of path ?? []) {
      if (typeof at !== 'object' || at === null || Array.isArray(at) || !Object.hasOwn(at, key)) return false
      at = (at as JsonObject)[key]
    }
    return true
  }))
})

t.test('known paths are those of the schema', async (t) => {
  const known = (kind: Kind, path: string) => isKnownPath(kind, path.split('.'))
  for (const path of [
    'voice', 'audio.output.color', 'model.name', 'audio.output.voice.name', 'output_modalities_', 'toString',
    'audio.input.turn_detection.type.x', 'reasoning.effort.x'
  ]) {
    t.equal(known('realtime', path), false, path)
  }
  for (const path of [
    'audio', 'audio.output.voice.id', 'audio.input.turn_detection.eagerness', 'audio.input.turn_detection.threshold',
    'temperature', 'tools.0.anything', 'tracing.metadata.any.thing', 'prompt.variables.name.text',
    'truncation.token_limits.post_instructions'
  ]) {
    t.equal(known('realtime', path), true, path)
  }
  t.equal(known('transcription', 'instructions'), false)
  t.equal(known('translation', 'audio.output.language'), true)
})

t.test('every kind has a schema, and a known path of its model', async (t) => {
  for (const kind of KINDS) {
    t.has(sessionSchemas[kind], { type: 'object', additionalProperties: false })
    t.ok(isKnownPath(kind, modelPath(kind)))
  }
})

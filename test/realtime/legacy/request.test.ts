import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import t from 'tap'
import { ApiError } from '../../../src/errors.ts'
import { getIn, type Json, type JsonObject, leafPaths } from '../../../src/json.ts'
import { FIELDS } from '../../../src/realtime/legacy/fields.ts'
import {
  legacyCanCarry, type LegacyKind,
  legacyParam, readLegacy, writeLegacy
} from '../../../src/realtime/legacy/request.ts'
import { checkSession, type Kind } from '../../../src/realtime/session.ts'

const kinds = ['realtime', 'transcription'] as const

t.test('a value without a translation is an invalid request', async (t) => {
  const refused: [LegacyKind, JsonObject, string][] = [
    ['realtime', { input_audio_format: 'mp3' }, 'input_audio_format'],
    ['realtime', { output_audio_format: { type: 'audio/pcm' } }, 'output_audio_format'],
    ['realtime', { output_audio_format: 7 }, 'output_audio_format'],
    ['transcription', { input_audio_format: 'toString' }, 'input_audio_format'],
    ['realtime', { modalities: 'audio' }, 'modalities'],
    ['realtime', { modalities: [] }, 'modalities'],
    ['realtime', { modalities: ['text', 'text'] }, 'modalities'],
    ['realtime', { modalities: ['audio', 'video'] }, 'modalities'],
    ['transcription', { modalities: 'text' }, 'modalities']
  ]
  for (const [kind, body, param] of refused) {
    t.throws(() => readLegacy(kind, body), { code: 'invalid_request', param }, JSON.stringify(body))
  }
})

t.test('a GA body is refused on a legacy route', async (t) => {
  const refused: [LegacyKind, JsonObject, string][] = [
    ['realtime', { type: 'realtime' }, 'type'],
    ['realtime', { audio: { output: { voice: 'marin' } } }, 'audio.output.voice'],
    ['realtime', { audio: null }, 'audio'],
    ['realtime', { voice: 'alloy', output_modalities: ['text'] }, 'output_modalities'],
    ['realtime', { max_output_tokens: 1 }, 'max_output_tokens'],
    ['realtime', { reasoning: { effort: 'low' } }, 'reasoning.effort'],
    ['realtime', { parallel_tool_calls: true }, 'parallel_tool_calls'],
    ['transcription', { model: 'gpt-4o-transcribe' }, 'model'],
    ['transcription', { instructions: 'x' }, 'instructions'],
    ['transcription', { audio: { input: {} } }, 'audio.input']
  ]
  for (const [kind, body, param] of refused) {
    t.throws(() => readLegacy(kind, body), { code: 'policy_violation', param }, JSON.stringify(body))
  }
})

t.test('a client_secret holds one lifetime and nothing else', async (t) => {
  const lifetime = { anchor: 'created_at', seconds: 60 }
  const refused: [Json, string][] = [
    [7, 'client_secret'],
    [{ value: null }, 'client_secret.value'],
    ['ek_mine', 'client_secret'],
    [{ value: 'ek_mine' }, 'client_secret.value'],
    [{ expires_after: lifetime, a: { b: 1 } }, 'client_secret.a.b'],
    [{ expires_at: lifetime, expires_after: lifetime }, 'client_secret.expires_at.anchor'],
    [{ ['x'.repeat(1000)]: 1 }, `client_secret.${'x'.repeat(242)}`]
  ]
  for (const kind of kinds) {
    for (const [secret, param] of refused) {
      t.throws(() => readLegacy(kind, { client_secret: secret }), { code: 'policy_violation', param })
    }
    for (const name of ['expires_after', 'expires_at']) {
      for (const value of [lifetime, [], 7]) {
        const { expiresAfter, expiresAfterPath } = readLegacy(kind, { client_secret: { [name]: value } })
        t.strictSame(
          [expiresAfter, expiresAfterPath], [value, ['client_secret', name]], 'checked by the policy, not here'
        )
      }
    }
  }
  t.match(readLegacy('realtime', {}), { expiresAfter: undefined, expiresAfterPath: ['client_secret', 'expires_after'] })
  t.match(
    readLegacy('transcription', { client_secret: {} }),
    { expiresAfter: undefined, expiresAfterPath: ['client_secret', 'expires_at'] }
  )
})

t.test('a flat realtime session becomes a nested one', async (t) => {
  t.strictSame(readLegacy('realtime', {
    model: 'gpt-4o-realtime-preview',
    modalities: ['text', 'audio'],
    instructions: 'Be brief.',
    voice: 'alloy',
    speed: 1.1,
    input_audio_format: 'pcm16',
    output_audio_format: 'g711_ulaw',
    input_audio_transcription: null,
    input_audio_noise_reduction: { type: 'near_field' },
    turn_detection: { threshold: 0.5 },
    tools: [{ name: 'lookup' }, { type: 'mcp' }, 7],
    tool_choice: 'lookup',
    max_response_output_tokens: 'inf',
    temperature: 0.8,
    tracing: 'auto',
    neither: { knows: true }
  }), {
    session: {
      neither: { knows: true },
      audio: {
        input: {
          format: { type: 'audio/pcm', rate: 24000 },
          transcription: null,
          noise_reduction: { type: 'near_field' },
          turn_detection: { type: 'server_vad', threshold: 0.5 }
        },
        output: { voice: 'alloy', speed: 1.1, format: { type: 'audio/pcmu' } }
      },
      model: 'gpt-4o-realtime-preview',
      output_modalities: ['audio'],
      instructions: 'Be brief.',
      tools: [{ type: 'function', name: 'lookup' }, { type: 'mcp' }, 7],
      tool_choice: { type: 'function', name: 'lookup' },
      max_output_tokens: 'inf',
      tracing: 'auto',
      temperature: 0.8
    },
    expiresAfter: undefined,
    expiresAfterPath: ['client_secret', 'expires_after'],
    added: [['audio', 'input', 'turn_detection', 'type'], ['audio', 'input', 'format', 'rate']],
    dropped: []
  })
})

t.test('edge L4: turn detection keeps all fields of the client, for the policy to check', async (t) => {
  const all = {
    threshold: 0.5,
    prefix_padding_ms: 1,
    silence_duration_ms: 2,
    eagerness: 'low',
    create_response: true,
    interrupt_response: true
  }
  const read = (kind: LegacyKind, detection: Json) =>
    getIn(readLegacy(kind, { turn_detection: detection }).session, ['audio', 'input', 'turn_detection'])
  t.strictSame(read('realtime', { type: 'semantic_vad', ...all }),
    { type: 'semantic_vad', ...all })
  t.strictSame(read('transcription', { ...all }),
    { type: 'server_vad', ...all })
  t.strictSame(
    read('realtime', { type: 'constructor', ...all }), { type: 'constructor', ...all }, 'for the policy to refuse'
  )
  for (const value of [null, 'server_vad', []]) {
    t.strictSame(read('realtime', value), value)
    t.strictSame(readLegacy('realtime', { turn_detection: value }).added, [])
  }
  t.strictSame(readLegacy('realtime', { turn_detection: { type: 'server_vad' } }).added, [])
})

t.test('values of the wrong type are moved to their GA path unchanged', async (t) => {
  t.strictSame(readLegacy(
    'realtime', { voice: 7, tools: 'x', tool_choice: 7, input_audio_transcription: 'whisper-1' }
  ).session,
  { audio: { input: { transcription: 'whisper-1' }, output: { voice: 7 } }, tools: 'x', tool_choice: 7 })
  t.match(
    readLegacy('transcription', { modalities: ['text'] }),
    { session: {}, dropped: ['modalities'] },
    'a transcription has no modalities in GA'
  )
})

t.test('a GA path is reported under its legacy name', async (t) => {
  const params: [LegacyKind, string, string][] = [
    ['realtime', 'audio.output.voice', 'voice'],
    ['realtime', 'audio.output.voice.id', 'voice.id'],
    ['realtime', 'audio.input.turn_detection.threshold', 'turn_detection.threshold'],
    ['realtime', 'audio.input.format.rate', 'input_audio_format'],
    ['realtime', 'tool_choice.name', 'tool_choice'],
    ['realtime', 'max_output_tokens', 'max_response_output_tokens'],
    ['realtime', 'audio.output', 'audio.output'],
    ['realtime', 'neither.knows', 'neither.knows'],
    ['transcription', 'audio.input.transcription.model', 'input_audio_transcription.model'],
    ['transcription', 'audio.output.voice', 'audio.output.voice']
  ]
  for (const [kind, path, param] of params) t.equal(legacyParam(kind, path.split('.')), param)
})

t.test('some GA values have no legacy equivalent', async (t) => {
  const can = (kind: Kind, path: string) => legacyCanCarry(kind, path.split('.'))
  for (const path of [
    'reasoning', 'reasoning.effort', 'parallel_tool_calls', 'audio.input.turn_detection.idle_timeout_ms',
    'audio.output.color', 'audio.input.transcription.keywords', 'audio.input.transcription.delay',
    'audio.input.noise_reduction.strength', 'tool_choice.server_label'
  ]) {
    t.equal(can('realtime', path), false, path)
  }
  for (const path of [
    'audio.output.voice', 'audio.output', 'model', 'temperature', 'audio.input.format.rate',
    'audio.input.turn_detection', 'audio.input.turn_detection.type', 'brand_new'
  ]) {
    t.equal(can('realtime', path), true, path)
  }
  t.equal(legacyCanCarry('realtime', ['tools'], [{ name: 'lookup' }, { type: 'mcp' }]), false)
  t.equal(legacyCanCarry('realtime', ['tools'], [{ name: 'lookup' }, { type: 'function' }]), true)
  t.equal(legacyCanCarry('transcription', ['tools'], []), false)
  t.equal(can('transcription', 'audio.input.turn_detection.create_response'), false)
  t.equal(can('transcription', 'model'), false)
  t.equal(can('transcription', 'audio.input.transcription.model'), true)
  t.equal(can('translation', 'model'), false)
})

t.test('a GA session is written for a legacy upstream', async (t) => {
  t.strictSame(writeLegacy('realtime', {
    model: 'm',
    brand_new: 1,
    reasoning: { effort: 'low' },
    output_modalities: ['audio'],
    temperature: 0.8,
    tool_choice: { type: 'mcp', server_label: 'crm' },
    audio: { input: { format: { type: 'audio/opus' }, turn_detection: { type: 'server_vad', idle_timeout_ms: 5 } } }
  }, 90), {
    brand_new: 1,
    input_audio_format: { type: 'audio/opus' },
    turn_detection: { type: 'server_vad' },
    model: 'm',
    modalities: ['audio', 'text'],
    temperature: 0.8,
    client_secret: { expires_after: { anchor: 'created_at', seconds: 90 } }
  })
  t.strictSame(writeLegacy('transcription', {
    audio: {
      input: {
        transcription: { model: 'whisper-1', keywords: ['a'] },
        turn_detection: { type: 'server_vad', create_response: true }
      }
    }
  }, 90), {
    input_audio_transcription: { model: 'whisper-1' },
    turn_detection: { type: 'server_vad' },
    client_secret: { expires_at: { anchor: 'created_at', seconds: 90 } }
  })
})

// Objects as JSON.parse makes them: with a prototype.
const record = <T extends {
  [name: string]: fc.Arbitrary<Json>
}>(members: T, requiredKeys: (keyof T & string)[] = []) =>
    fc.record(members, { requiredKeys, noNullPrototype: true }) as fc.Arbitrary<JsonObject>

// Legacy bodies as the `openai` types allow them.
const format = fc.constantFrom('pcm16', 'g711_ulaw', 'g711_alaw')
const name = fc.string({ minLength: 1 }).filter((text) => !['auto', 'none', 'required'].includes(text))
const responses = { create_response: fc.boolean(), interrupt_response: fc.boolean() }
const serverVad = {
  threshold: fc.double({ min: 0, max: 1, noNaN: true }).map(Math.abs),
  prefix_padding_ms: fc.nat(),
  silence_duration_ms: fc.nat()
}
const detection = (members: { [name: string]: fc.Arbitrary<Json> }) => fc.option(fc.oneof(
  record({ type: fc.constant('server_vad'), ...serverVad, ...members }, ['type']),
  record({ type: fc.constant('semantic_vad'), eagerness: fc.constantFrom('low', 'auto'), ...members }, ['type'])
))
const input = {
  include: fc.constant<Json>(['item.input_audio_transcription.logprobs']),
  input_audio_format: format,
  input_audio_transcription: fc.option(record({ model: name, language: fc.string(), prompt: fc.string() })),
  input_audio_noise_reduction: fc.option(record({ type: fc.constantFrom('near_field', 'far_field') }))
}
const BODIES: Record<LegacyKind, fc.Arbitrary<JsonObject>> = {
  transcription: record({ ...input, turn_detection: detection({}) }),
  realtime: record({
    ...input,
    turn_detection: detection(responses),
    model: name,
    modalities: fc.constantFrom<Json[]>(['text'], ['audio', 'text']),
    instructions: fc.string(),
    voice: name,
    speed: fc.constantFrom(0.25, 1, 1.5),
    output_audio_format: format,
    tools: fc.array(record({ type: fc.constant('function'), name, description: fc.string() }, ['type'])),
    tool_choice: fc.oneof(fc.constantFrom('auto', 'none', 'required'), name),
    max_response_output_tokens: fc.oneof(fc.integer({ min: 1, max: 4096 }), fc.constant('inf')),
    temperature: fc.constantFrom(0.6, 1.2),
    tracing: fc.option(fc.constant('auto'))
  })
}

t.test('legacy → GA → legacy returns the original request, through a valid GA session', async () => {
  for (const kind of kinds) {
    fc.assert(fc.property(BODIES[kind], (body) => {
      const { session } = readLegacy(kind, body)
      const { client_secret: secret, ...back } = writeLegacy(kind, session, 60)
      return checkSession(kind, session) === null && isDeepStrictEqual(back, body)
    }))
  }
})

const names = ['client_secret', 'audio', 'type', 'neither', ...FIELDS.realtime.map(({ name }) => name)]
const members = ['type', 'threshold', 'eagerness', 'create_response', 'expires_after', 'value', 'model']
const value = fc.oneof(
  fc.constantFrom('server_vad', 'semantic_vad', 'pcm16', 'auto'), fc.constant(['audio']), fc.jsonValue()
) as fc.Arbitrary<Json>
const dictionary = (keys: fc.Arbitrary<string>, values: fc.Arbitrary<Json>, maxKeys: number) =>
  fc.dictionary(keys, values, { noNullPrototype: true, maxKeys }) as fc.Arbitrary<JsonObject>
const hostile = dictionary(
  fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...names) }, fc.string()),
  fc.oneof(value, dictionary(fc.oneof(fc.constantFrom(...members), fc.string()), value, 4)),
  4
)

function tryReading (kind: LegacyKind, body: JsonObject): ReturnType<typeof readLegacy> | unknown {
  try {
    return readLegacy(kind, body)
  } catch (error) {
    return error
  }
}

t.test('translation returns a session or throws an ApiError, and does not change the body', async () => {
  for (const kind of kinds) {
    fc.assert(fc.property(hostile, (body) => {
      const before = JSON.stringify(body)
      const read = tryReading(kind, body)
      const session = (read as { session?: JsonObject }).session
      return (read instanceof ApiError || (session !== undefined && writeLegacy(kind, session, 60) !== undefined)) &&
        JSON.stringify(body) === before
    }))
  }
})

t.test('every GA path comes from the client or is listed as added', async () => {
  const constants = ['output_modalities', 'tool_choice', 'tools', 'audio.input.format', 'audio.output.format']
  for (const kind of kinds) {
    fc.assert(fc.property(hostile, (body) => {
      const read = tryReading(kind, body)
      if (read instanceof ApiError) return true
      const { session, added } = read as ReturnType<typeof readLegacy>
      return leafPaths(session).every((path) => {
        const field = FIELDS[kind].find((field) => field.path?.every((key, i) => key === path[i]))
        const name = field?.name ?? path[0] as string
        if (!Object.hasOwn(body, name)) return false
        const rest = path.slice(field?.path?.length ?? 1)
        const value = getIn(session, path) as Json
        return isDeepStrictEqual(value, getIn(body, [name, ...rest])) ||
          added.some((other) => isDeepStrictEqual(other, path)) ||
          constants.includes(field?.path?.join('.') ?? '')
      })
    }))
  }
})

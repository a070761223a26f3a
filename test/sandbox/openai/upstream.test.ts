// The emulator over real sockets: it must refuse what OpenAI refuses, or tests against it prove little.

import OpenAI from 'openai'
import t, { type Test } from 'tap'
import { startUpstream, type UpstreamOptions } from '../../../src/sandbox/openai/upstream.ts'

const apiKey = 'sk-sandbox-0123456789abcdef'
const realtime = { type: 'realtime' as const, model: 'gpt-realtime-2.1' }

async function start (t: Test, options: Partial<UpstreamOptions> = {}) {
  const upstream = await startUpstream({ apiKey, ...options })
  t.teardown(upstream.close)
  return { url: upstream.url, client: new OpenAI({ baseURL: upstream.url, apiKey, maxRetries: 0 }) }
}

async function post (url: string, path: string, body: unknown, key = apiKey) {
  const response = await fetch(`${url}${path}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body)
  })
  return { status: response.status, headers: response.headers, body: await response.json() as any }
}

t.test('a wrong key is 401, and its message shows part of it', async (t) => {
  const { url, client } = await start(t)
  const { status, body } = await post(url, '/realtime/client_secrets', {}, 'sk-wrong-key-of-somebody')
  t.equal(status, 401)
  t.match(body, { error: { type: 'invalid_request_error', code: 'invalid_api_key', param: null } })
  t.match(body.error.message, 'sk-wrong*')
  await t.rejects(
    client.withOptions({ apiKey: 'other' }).realtime.clientSecrets.create({}), { status: 401, code: 'invalid_api_key' }
  )
})

t.test('no key is 401', async (t) => {
  const { url } = await start(t)
  const { status } = await fetch(`${url}/realtime/client_secrets`, { method: 'POST' })
  t.equal(status, 401)
})

t.test('what GA does not take is 400 and named', async (t) => {
  const { url } = await start(t)
  const cases: [body: unknown, code: string, param: string, path?: string][] = [
    [{ session: { ...realtime, temperature: 0.8 } }, 'unknown_parameter', 'session.temperature'],
    [{ session: { ...realtime, voice: 'cedar' } }, 'unknown_parameter', 'session.voice'],
    [{ session: { ...realtime, audio: { output: { pitch: 1 } } } }, 'unknown_parameter', 'session.audio.output.pitch'],
    [{ session: { type: 'transcription', model: 'x' } }, 'unknown_parameter', 'session.model'],
    [{ session: realtime, extra: 1 }, 'unknown_parameter', 'extra'],
    [{ session: { model: 'gpt-realtime-2.1' } }, 'missing_required_parameter', 'session.type'],
    [{ session: { type: 'translation' } }, 'invalid_value', 'session.type'],
    [{ session: { ...realtime, output_modalities: ['text', 'audio'] } }, 'invalid_value', 'session.output_modalities'],
    [{ session: { ...realtime, audio: { output: { speed: 9 } } } }, 'invalid_value', 'session.audio.output.speed'],
    [{ session: realtime, expires_after: { seconds: 60 } }, 'missing_required_parameter', 'expires_after.anchor'],
    [
      { session: realtime, expires_after: { anchor: 'created_at' } }, 'missing_required_parameter',
      'expires_after.seconds'
    ],
    [
      { session: realtime, expires_after: { anchor: 'created_at', seconds: 9 } }, 'integer_below_min_value',
      'expires_after.seconds'
    ],
    [
      { session: realtime, expires_after: { anchor: 'created_at', seconds: 7201 } }, 'integer_above_max_value',
      'expires_after.seconds'
    ],
    [[], 'invalid_value', 'body'],
    [{ session: {} }, 'missing_required_parameter', 'session.model', '/realtime/translations/client_secrets'],
    [
      { session: { type: 'translation', model: 'x' } }, 'unknown_parameter', 'session.type',
      '/realtime/translations/client_secrets'
    ]
  ]
  for (const [body, code, param, path = '/realtime/client_secrets'] of cases) {
    const answer = await post(url, path, body)
    t.equal(answer.status, 400, param)
    t.match(answer.body, { error: { type: 'invalid_request_error', code, param } })
  }
})

t.test('a body that is not JSON is 400 in the envelope', async (t) => {
  const { url } = await start(t)
  const { status, body } = await post(url, '/realtime/client_secrets', '{"session":')
  t.equal(status, 400)
  t.match(body, { error: { type: 'invalid_request_error', code: null } })
})

t.test('the routes of the beta are gone', async (t) => {
  const { url, client } = await start(t)
  for (const path of ['/realtime/sessions', '/realtime/transcription_sessions']) {
    const { status, body } = await post(url, path, {})
    t.equal(status, 400)
    t.strictSame(body, {
      error: {
        message: 'The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API.',
        type: 'invalid_request_error',
        param: null,
        code: 'beta_api_shape_disabled'
      }
    })
  }
  await t.rejects(client.beta.realtime.sessions.create({}), { status: 400, code: 'beta_api_shape_disabled' })
})

t.test('an unknown route is 404 in the envelope', async (t) => {
  const { client } = await start(t)
  await t.rejects(client.models.list(), { status: 404, message: /Invalid URL/ })
})

t.test('a mint answers the whole session, completed by the server, and the secret\'s own end', async (t) => {
  const { client } = await start(t, { now: () => 1_800_000_000_999 })
  const { value, expires_at: expiresAt, session } = await client.realtime.clientSecrets.create({
    expires_after: { anchor: 'created_at', seconds: 60 },
    session: {
      ...realtime,
      audio: { input: { turn_detection: { type: 'semantic_vad' } }, output: { format: { type: 'audio/pcmu' } } }
    }
  })
  t.match(value, /^ek_[0-9a-f]{32}$/)
  t.equal(expiresAt, 1_800_000_060)
  t.match(session, {
    type: 'realtime',
    object: 'realtime.session',
    id: /^sess_/,
    model: 'gpt-realtime-2.1',
    output_modalities: ['audio'],
    instructions: /knowledge cutoff/,
    max_output_tokens: 'inf',
    expires_at: 0,
    audio: {
      input: { format: { type: 'audio/pcm', rate: 24_000 }, transcription: null }, output: { voice: 'alloy', speed: 1 }
    }
  })
  const { audio } = session as OpenAI.Realtime.RealtimeSessionCreateResponse
  t.strictSame(
    audio?.input?.turn_detection,
    { type: 'semantic_vad', eagerness: 'auto', create_response: true, interrupt_response: true },
    'no mixture with the default'
  )
  t.strictSame(audio?.output?.format, { type: 'audio/pcmu' }, 'no rate of another format')
})

t.test('an answer carries what must not be passed on', async (t) => {
  const { url } = await start(t)
  const { headers } = await post(url, '/realtime/client_secrets', {})
  for (const name of ['x-request-id', 'openai-processing-ms', 'openai-organization', 'set-cookie']) {
    t.ok(headers.get(name), name)
  }
})

t.test('transcription and translation are minted in their own shapes', async (t) => {
  const { client } = await start(t)
  const transcription = await client.realtime.clientSecrets.create({
    session: { type: 'transcription', audio: { input: { transcription: { model: 'gpt-live-transcribe' } } } }
  })
  t.match(transcription.session, {
    type: 'transcription',
    object: 'realtime.transcription_session',
    audio: { input: { transcription: { model: 'gpt-live-transcribe' } } }
  })
  t.notOk('model' in transcription.session)

  const translation = await client.realtime.translations.clientSecrets.create(
    { session: { model: 'gpt-realtime-translate', audio: { output: { language: 'es' } } } }
  )
  t.match(translation.session, {
    type: 'translation',
    model: 'gpt-realtime-translate',
    expires_at: translation.expires_at,
    audio: { output: { language: 'es' } }
  })
})

t.test('as a server of the beta it refuses what the beta refuses', async (t) => {
  const { url } = await start(t, { legacy: true })
  const cases: [path: string, body: unknown, code: string, param: string][] = [
    ['/realtime/sessions', { session: {} }, 'unknown_parameter', 'session'],
    ['/realtime/sessions', { output_modalities: ['audio'] }, 'unknown_parameter', 'output_modalities'],
    ['/realtime/sessions', { modalities: ['audio'] }, 'invalid_value', 'modalities'],
    ['/realtime/sessions', { client_secret: { expires_at: {} } }, 'unknown_parameter', 'client_secret.expires_at'],
    ['/realtime/transcription_sessions', { model: 'whisper-1' }, 'unknown_parameter', 'model'],
    [
      '/realtime/transcription_sessions', { client_secret: { expires_at: { anchor: 'created_at', seconds: 1 } } },
      'integer_below_min_value', 'client_secret.expires_at.seconds'
    ]
  ]
  for (const [path, body, code, param] of cases) {
    const answer = await post(url, path, body)
    t.equal(answer.status, 400, param)
    t.match(answer.body, { error: { code, param } })
  }
})

t.test('as a server of the beta it mints flat sessions', async (t) => {
  const { client } = await start(t, { legacy: true, now: () => 1_800_000_000_000 })
  const session = await client.beta.realtime.sessions.create(
    { voice: 'verse', modalities: ['text', 'audio'], temperature: 0.7 }
  )
  t.match(session, {
    voice: 'verse',
    temperature: 0.7,
    input_audio_format: 'pcm16',
    client_secret: {
      value: /^ek_/, expires_at: 1_800_000_060
    }
  })
  const transcription = await client.beta.realtime.transcriptionSessions.create(
    { input_audio_transcription: { model: 'whisper-1' } }
  )
  t.match(transcription, {
    object: 'realtime.transcription_session',
    input_audio_transcription: { model: 'whisper-1' },
    client_secret: { value: /^ek_/ }
  })
})

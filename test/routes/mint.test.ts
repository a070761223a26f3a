import type { ServerResponse } from 'node:http'
import t from 'tap'
import { ORIGIN, POLICY, startApp } from '../support/app.ts'
import { assertNoCanary } from '../support/invariants.ts'
import { GA, hang, inSeconds, json, SESSIONS, TRANSCRIPTIONS, TRANSLATIONS } from '../support/upstream.ts'

const POLICY_SAYS = { model: 'gpt-realtime-2.1', instructions: 'You are Ada.' }
const TRANSCRIBES = { audio: { input: { transcription: { model: 'gpt-4o-transcribe', language: 'de' } } } }

t.test('each route mints what its policy says, in the shape that the route promises', async (t) => {
  const app = await startApp(t)
  const rows = [
    {
      route: 'sessions',
      body: { voice: 'cedar', speed: 1.1, turn_detection: null, temperature: 0.8 },
      path: SESSIONS,
      sent: {
        ...POLICY_SAYS,
        voice: 'cedar',
        speed: 1.1,
        turn_detection: null,
        client_secret: {
          expires_after: { anchor: 'created_at', seconds: 60 }
        }
      },
      answered: {
        id: 'sess_1',
        object: 'realtime.session',
        expires_at: 0,
        model: 'gpt-realtime-2.1',
        voice: 'cedar',
        speed: 1.1,
        turn_detection: null
      }
    },
    {
      route: 'transcription_sessions',
      body: { input_audio_transcription: { model: 'gpt-4o-transcribe', language: 'de' } },
      path: TRANSCRIPTIONS,
      sent: {
        input_audio_transcription: { model: 'gpt-4o-transcribe', language: 'de' },
        client_secret: { expires_at: { anchor: 'created_at', seconds: 60 } }
      },
      answered: {
        id: 'sess_1',
        object: 'realtime.transcription_session',
        expires_at: 0,
        input_audio_transcription: {
          model: 'gpt-4o-transcribe', language: 'de'
        }
      }
    },
    {
      route: 'client_secrets',
      body: { expires_after: { seconds: 300 }, session: { audio: { output: { voice: 'cedar' } } } },
      path: GA,
      sent: {
        expires_after: { anchor: 'created_at', seconds: 300 },
        session: { ...POLICY_SAYS, type: 'realtime', audio: { output: { voice: 'cedar' } } }
      },
      session: {
        type: 'realtime',
        id: 'sess_1',
        object: 'realtime.session',
        expires_at: 0,
        model: 'gpt-realtime-2.1',
        audio: { output: { voice: 'cedar' } }
      }
    },
    {
      route: 'client_secrets',
      body: { session: { type: 'transcription', ...TRANSCRIBES } },
      path: GA,
      sent: {
        expires_after: { anchor: 'created_at', seconds: 60 }, session: { type: 'transcription', ...TRANSCRIBES }
      },
      session: { type: 'transcription', id: 'sess_1', object: 'realtime.session', expires_at: 0, ...TRANSCRIBES }
    },
    {
      route: 'translations/client_secrets',
      body: { session: { model: 'gpt-realtime-translate', audio: { output: { language: 'de' } } } },
      path: TRANSLATIONS,
      sent: {
        expires_after: { anchor: 'created_at', seconds: 60 },
        session: { model: 'gpt-realtime-translate', audio: { output: { language: 'de' } } }
      },
      session: {
        id: 'sess_1',
        object: 'realtime.session',
        expires_at: 0,
        model: 'gpt-realtime-translate',
        audio: {
          output: { language: 'de' }
        }
      }
    }
  ]
  for (const { route, body, path, sent, answered, session } of rows) {
    const { status, body: answer } = await app.mint(route, body)
    const upstream = app.upstream.requests.at(-1)
    const value = app.upstream.secrets.at(-1)
    t.equal(status, 200, route)
    t.equal(upstream?.path, path)
    t.same(upstream?.body, sent)
    const { client_secret: secret = answer, ...rest } = answer
    t.match(secret, { value, expires_at: Number })
    t.same(session === undefined ? rest : answer.session, session ?? answered)
  }
})

t.test('a token that its issuer signed with a key of its own mints, too', async (t) => {
  const app = await startApp(
    t, { signing: 'ES256', policy: POLICY.replace('secret_env: TOKEN_SECRET', "jwks: 'JWKS_URL'") }
  )
  t.equal((await app.mint('sessions')).status, 200)
  t.equal(
    (await app.mint('sessions', {}, { authorization: `Bearer ${(await app.token()).slice(0, -8)}AAAAAAAA` })).status,
    401
  )
})

t.test('no body, an empty one and {} mint with the policy\'s own configuration on every route', async (t) => {
  const app = await startApp(t)
  for (const route of ['sessions', 'transcription_sessions', 'client_secrets', 'translations/client_secrets']) {
    const bodies = []
    for (const [body, headers] of [[undefined], ['', { 'content-type': 'application/json' }], [{}]] as const) {
      const { status } = await app.mint(route, body, headers)
      t.equal(status, 200, route)
      bodies.push(app.upstream.requests.at(-1)?.body)
    }
    t.same(bodies[0], bodies[1])
    t.same(bodies[0], bodies[2])
  }
})

t.test('a legacy answer is translated back from what a GA upstream says', async (t) => {
  const app = await startApp(t, { env: { OPENAI_MINT_API: 'client_secrets' } })
  app.upstream.answer(GA, json(200, {
    value: 'ek_canary_full',
    expires_at: inSeconds(60),
    session: {
      type: 'realtime',
      object: 'realtime.session',
      id: 'sess_9',
      model: 'gpt-realtime-2.1',
      output_modalities: ['audio'],
      instructions: 'You are Ada.',
      tools: [{ type: 'function', name: 'f', parameters: {} }],
      tool_choice: { type: 'function', name: 'f' },
      max_output_tokens: 'inf',
      tracing: null,
      truncation: 'auto',
      prompt: null,
      expires_at: 0,
      audio: {
        input: {
          format: { type: 'audio/pcm', rate: 24000 },
          transcription: null,
          noise_reduction: null,
          turn_detection: { type: 'server_vad', threshold: 0.5, idle_timeout_ms: null }
        },
        output: { format: { type: 'audio/pcmu' }, voice: 'cedar', speed: 1 }
      }
    }
  }))
  app.upstream.secrets.push('ek_canary_full')
  const { status, body } = await app.mint('sessions', { temperature: 0.7 })
  t.equal(status, 200)
  t.match(body.client_secret, { value: 'ek_canary_full' })
  t.match(body, {
    id: 'sess_9',
    object: 'realtime.session',
    model: 'gpt-realtime-2.1',
    modalities: ['audio', 'text'],
    voice: 'cedar',
    speed: 1,
    input_audio_format: 'pcm16',
    output_audio_format: 'g711_ulaw',
    turn_detection: { type: 'server_vad', threshold: 0.5 },
    tool_choice: 'f',
    max_response_output_tokens: 'inf'
  })
  t.notOk('instructions' in body, 'hidden by the policy')
  t.notOk('type' in body)
  t.notOk('audio' in body)
})

t.test('the headers of a mint name where to connect and what remains, and forbid caching', async (t) => {
  const app = await startApp(t)
  for (const [route, url, kept] of [
    ['sessions', 'https://realtime.test/v1/realtime/calls', '49'],
    ['client_secrets', 'https://realtime.test/v1/realtime/calls', '48'],
    ['translations/client_secrets', 'https://realtime.test/v1/realtime/translations/calls', '47']
  ] as const) {
    const { headers } = await app.mint(route, {}, { origin: ORIGIN })
    t.equal(headers.get('x-realtime-url'), url)
    t.equal(headers.get('ratelimit-limit'), '50')
    t.equal(headers.get('ratelimit-remaining'), kept)
    t.match(headers.get('ratelimit-reset'), /^(60|59|58)$/)
    t.equal(headers.get('access-control-allow-origin'), ORIGIN)
    t.equal(
      headers.get('access-control-expose-headers'),
      'X-Realtime-Url, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, X-Request-Id, Retry-After'
    )
    t.equal(headers.get('access-control-allow-credentials'), null)
  }
})

t.test('clients connect to the upstream itself unless another address is configured', async (t) => {
  const app = await startApp(t, { env: { REALTIME_PUBLIC_URL: '' } })
  const { headers } = await app.mint('sessions')
  t.equal(headers.get('x-realtime-url'), `${app.upstream.url}/realtime/calls`)
})

t.test('a kind that the policy does not name is refused', async (t) => {
  const app = await startApp(t, { policy: POLICY.replace(/ {4}translation:[^]*?(?=blocked)/, '') })
  const { status, body } = await app.mint('translations/client_secrets')
  t.equal(status, 403)
  t.match(body.error, { code: 'policy_violation', param: null })
  t.equal(app.auditLines()[0]?.reason, 'kind_not_named')
})

t.test('D22: nothing that a client sends but its choices reaches upstream', async (t) => {
  const app = await startApp(t, { env: { OPENAI_ORG_ID: 'org-ours', OPENAI_PROJECT_ID: 'proj-ours' } })
  await app.mint('client_secrets', {}, {
    cookie: 'a=b',
    'openai-organization': 'org-theirs',
    'openai-project': 'proj-theirs',
    'openai-beta': 'assistants=v2',
    'openai-safety-identifier': 'someone-else',
    'idempotency-key': 'once',
    'x-stainless-lang': 'js',
    'user-agent': 'theirs',
    'x-request-id': 'theirs',
    'x-forwarded-for': '192.0.2.1',
    range: 'bytes=0-1',
    'if-none-match': '*'
  })
  const [first] = app.upstream.requests
  const { host, connection, 'content-length': length, ...headers } = first?.headers ?? {}
  const [line] = app.auditLines()
  t.same(headers, {
    'content-type': 'application/json',
    accept: 'application/json',
    authorization: 'Bearer sk-canary-1f0b6b0c9a7d4e52',
    'openai-organization': 'org-ours',
    'openai-project': 'proj-ours',
    'openai-safety-identifier': line?.subject,
    'x-client-request-id': line?.request_id
  })
  t.match(line?.subject, /^[0-9a-f]{64}$/)
})

t.test('the key is sent as Azure wants it', async (t) => {
  const app = await startApp(t, { env: { OPENAI_AUTH_SCHEME: 'api-key' } })
  await app.mint('client_secrets')
  t.equal(app.upstream.requests[0]?.headers['api-key'], 'sk-canary-1f0b6b0c9a7d4e52')
  t.equal(app.upstream.requests[0]?.headers.authorization, undefined)
})

t.test('a grant is written down whole', async (t) => {
  const app = await startApp(t)
  const { headers } = await app.mint('sessions', { temperature: 1 })
  const [line] = app.auditLines()
  const { time, duration_ms: duration, ...rest } = line ?? {}
  t.same(rest, {
    audit: 1,
    level: 'info',
    severity: 'INFO',
    event: 'mint.granted',
    request_id: headers.get('x-request-id'),
    subject: app.upstream.requests[0]?.headers['openai-safety-identifier'],
    issuer: 'https://auth.test/',
    policy: 'pro',
    kind: 'realtime',
    model: 'gpt-realtime-2.1',
    prompt: null,
    session_id: 'sess_1',
    secret_sha256: rest.secret_sha256,
    expires_at: rest.expires_at,
    ignored: ['temperature'],
    upstream_request_id: 'req_upstream_1',
    code: null,
    reason: null,
    param: null
  })
  t.match(rest.secret_sha256, /^[0-9a-f]{64}$/)
  t.ok(Number(rest.expires_at) > inSeconds(0))
  t.ok(Math.abs(Date.parse(String(time)) - Date.now()) < 60_000)
  t.ok(Number(duration) > 0)
})

t.test('a mint whose line cannot be written is not granted, and is given back', async (t) => {
  const app = await startApp(t)
  app.audit.stick()
  const stuck = await app.mint('client_secrets')
  t.equal(stuck.status, 503)
  t.match(stuck.body.error, { code: 'audit_unavailable', type: 'api_error', param: null })
  t.equal(stuck.headers.get('retry-after'), '1')
  t.equal(app.upstream.requests.length, 0, 'nothing is minted where it is known before')

  app.audit.refuse()
  const refused = await app.mint('client_secrets')
  t.match(refused.body.error, { code: 'audit_unavailable' })
  t.equal(app.upstream.requests.length, 1)

  app.audit.recover()
  const granted = await app.mint('client_secrets')
  t.equal(granted.headers.get('ratelimit-remaining'), '49', 'both were given back')
})

t.test('a mint beyond its deadline ends with 504, and is audited as unknown', async (t) => {
  const app = await startApp(t, { env: { UPSTREAM_TIMEOUT_MS: '150' } })
  app.upstream.answer(GA, hang)
  const { status, body } = await app.mint('client_secrets')
  t.equal(status, 504)
  t.match(body.error, { code: 'upstream_timeout' })
  t.match(app.auditLines(), [{ event: 'mint.unknown', code: 'upstream_timeout', reason: 'deadline' }])
})

t.test('an answer that cannot be serialized is no grant, and is given back', async (t) => {
  const app = await startApp(t)
  const text = `{"value":"ek_canary_unwritable","expires_at":${inSeconds(60)},"session":{"type":"realtime"}}`
  app.upstream.answer(GA, (_received, response) => response.end(text))
  const { stringify } = JSON
  t.capture(JSON, 'stringify', (value: { value?: string }) => {
    if (value.value === 'ek_canary_unwritable') throw new RangeError('canary')
    return stringify(value)
  })
  const headers = { authorization: `Bearer ${await app.token()}` }
  const refused = await app.request('/v1/realtime/client_secrets', { method: 'POST', headers })
  t.equal(refused.status, 500)
  t.equal(refused.headers.get('x-realtime-url'), null)
  assertNoCanary(app, refused)
  t.match(app.auditLines(), [{ event: 'mint.refused', code: 'internal_error', secret_sha256: /^[0-9a-f]{64}$/ }])
  t.equal(app.audit.kept.length, 1)
  app.upstream.answer(GA, json(200, { value: 'ek_next', expires_at: inSeconds(60), session: { type: 'realtime' } }))
  t.equal((await app.mint('client_secrets')).headers.get('ratelimit-remaining'), '49', 'it was given back')
})

t.test('a failure after the grant is written down leaves it undelivered and counted, not refused', async (t) => {
  const app = await startApp(t)
  app.server.prependOnceListener('request', (_request: unknown, response: ServerResponse) => {
    const { writeHead } = response
    response.writeHead = () => {
      response.writeHead = writeHead
      throw new Error('a header that cannot be sent')
    }
  })
  const headers = { authorization: `Bearer ${await app.token()}` }
  const { status, body } = await app.request('/v1/realtime/client_secrets', { method: 'POST', headers })
  t.equal(status, 500)
  t.match(body.error, { code: 'internal_error' })
  await app.audit.wrote(2)
  const [granted, undelivered] = app.auditLines()
  t.match(granted, { event: 'mint.granted', code: null })
  t.match(undelivered, { event: 'mint.undelivered', secret_sha256: granted?.secret_sha256 })
  t.match(app.logLines().at(-1), { msg: 'refused', code: 'internal_error' })
  t.equal((await app.mint('client_secrets')).headers.get('ratelimit-remaining'), '48')
  t.equal(app.audit.kept.length, 3)
})

// OPENAI_MINT_API: which upstream route mints.

import t from 'tap'
import { systemClock } from '../../src/clock.ts'
import { CALLERS, startApp } from '../support/app.ts'
import { failure, GA, inSeconds, json, SESSIONS, TRANSCRIPTIONS, TRANSLATIONS } from '../support/upstream.ts'

const ROUTES = ['sessions', 'transcription_sessions', 'client_secrets', 'translations/client_secrets'] as const

const WITH_MCP = `${CALLERS}
policies:
  - name: all
    when: any
    limits: none
    realtime:
      fixed:
        model: gpt-realtime-2.1
        tools:
          - { type: mcp, server_label: crm, server_url: 'https://mcp.test', headers: { X-Key: { $env: MCP_KEY } } }
`

t.test('client_secrets mints every kind at the GA routes, for legacy requests too', async (t) => {
  const app = await startApp(t, { env: { OPENAI_MINT_API: 'client_secrets' } })
  for (const route of ROUTES) t.equal((await app.mint(route)).status, 200, route)
  t.same(app.upstream.requests.map(({ path }) => path), [GA, GA, GA, TRANSLATIONS])
})

t.test('sessions mints at the legacy routes alone, for GA requests too', async (t) => {
  const app = await startApp(t, {
    env: { OPENAI_MINT_API: 'sessions' },
    policy: `${CALLERS}
policies:
  - name: all
    when: any
    limits: none
    realtime: { fixed: { model: gpt-realtime-2.1 } }
    transcription: { fixed: { audio: { input: { transcription: { model: whisper-1 } } } } }`
  })
  const { body } = await app.mint('client_secrets', { session: { type: 'realtime' } })
  t.match(
    body, { value: app.upstream.secrets[0], session: { type: 'realtime', id: 'sess_1', model: 'gpt-realtime-2.1' } }
  )
  t.equal((await app.mint('sessions')).status, 200)
  t.equal((await app.mint('client_secrets', { session: { type: 'transcription' } })).status, 200)
  t.equal((await app.mint('transcription_sessions')).status, 200)
  t.same(app.upstream.requests.map(({ path }) => path), [SESSIONS, SESSIONS, TRANSCRIPTIONS, TRANSCRIPTIONS])
  t.equal(app.upstream.requests[0]?.headers.authorization, 'Bearer sk-canary-1f0b6b0c9a7d4e52')
  t.notOk('type' in (app.upstream.requests[0]?.body ?? {}))
})

t.test('sessions: a legacy route that is gone is the operator\'s to see, not replaced', async (t) => {
  const app = await startApp(t, {
    env: { OPENAI_MINT_API: 'sessions' }, policy: `${CALLERS}
policies: [{ name: all, when: any, limits: none, realtime: { fixed: { model: m } } }]`
  })
  app.upstream.answer(SESSIONS, failure(404))
  t.match((await app.mint('sessions')).body.error, { code: 'upstream_rejected' })
  t.equal(app.upstream.requests.length, 1)
})

for (const [status, code] of [[400, 'beta_api_shape_disabled'], [404, null], [405, null], [501, null]] as const) {
  const title = `auto takes ${status} ${code ?? ''} for a legacy route that is gone, and mints through GA for an hour`
  t.test(title, async (t) => {
    let wallMs = Date.now()
    const app = await startApp(t, { clock: { ...systemClock, wallMs: () => wallMs } })
    app.upstream.answer(SESSIONS, failure(status, code))
    const first = await app.mint('sessions', { voice: 'cedar' })
    t.equal(first.status, 200)
    t.match(first.body, { voice: 'cedar', client_secret: { value: app.upstream.secrets[0] } })
    t.same(app.upstream.requests.splice(0).map(({ path }) => path), [SESSIONS, GA], 'the second call is not a retry')

    wallMs += 3_599_000
    // The minted secret expires by the same clock.
    app.upstream.shiftClock(3599)
    await app.mint('sessions')
    t.same(app.upstream.requests.splice(0).map(({ path }) => path), [GA])
    await app.mint('transcription_sessions')
    t.same(app.upstream.requests.splice(0).map(({ path }) => path), [TRANSCRIPTIONS], 'each route is known for itself')

    wallMs += 1_001
    await app.mint('sessions')
    t.same(app.upstream.requests.map(({ path }) => path), [SESSIONS, GA], 'an hour later it is asked again')
  })
}

t.test('auto does not take for gone what is not', async (t) => {
  const app = await startApp(t)
  for (const [status, code, expected] of [
    [404, 'model_not_found', 'upstream_rejected'],
    [400, 'invalid_value', 'upstream_rejected'],
    [401, 'invalid_api_key', 'upstream_rejected'],
    [403, null, 'upstream_rejected'],
    [429, 'insufficient_quota', 'upstream_rate_limited'],
    [500, null, 'upstream_error']
  ] as const) {
    app.upstream.answer(SESSIONS, failure(status, code))
    app.upstream.requests.length = 0
    t.match((await app.mint('sessions')).body.error, { code: expected }, `${status}`)
    t.same(new Set(app.upstream.requests.map(({ path }) => path)), new Set([SESSIONS]))
  }
})

t.test('auto does not remember a route as gone while GA does not mint either', async (t) => {
  const app = await startApp(t)
  app.upstream.answer(SESSIONS, failure(404))
  app.upstream.answer(GA, failure(404))
  for (const attempt of [1, 2]) {
    t.match((await app.mint('sessions')).body.error, { code: 'upstream_rejected' }, `${attempt}`)
    t.same(app.upstream.requests.splice(0).map(({ path }) => path), [SESSIONS, GA])
  }
})

t.test('auto goes straight to GA with what the legacy API cannot carry', async (t) => {
  const app = await startApp(t, { policy: WITH_MCP })
  const { status, body } = await app.mint('sessions')
  t.equal(status, 200)
  t.same(body.tools, [{ type: 'mcp', server_label: 'crm', server_url: 'https://mcp.test' }])
  t.same(app.upstream.requests.map(({ path }) => path), [GA])
  t.match(
    app.upstream.requests[0]?.body,
    { session: { tools: [{ headers: { 'X-Key': 'canary-mcp-key-7e2d4b6f8a1c3950' } }] } }
  )
})

t.test('auto sends GA requests to GA alone', async (t) => {
  const app = await startApp(t)
  await app.mint('client_secrets')
  await app.mint('translations/client_secrets')
  t.same(app.upstream.requests.map(({ path }) => path), [GA, TRANSLATIONS])
})

t.test('sessions: an answer without a client secret is no mint', async (t) => {
  const app = await startApp(t, {
    env: { OPENAI_MINT_API: 'sessions' }, policy: `${CALLERS}
policies: [{ name: all, when: any, limits: none, realtime: { fixed: { model: m } } }]`
  })
  for (const answer of [
    {}, [], null, { client_secret: 'ek_canary' }, { client_secret: {} },
    { value: 'ek_canary', expires_at: inSeconds(60), session: {} }
  ]) {
    app.upstream.answer(SESSIONS, json(200, answer))
    t.match((await app.mint('sessions')).body.error, { code: 'upstream_error' })
    t.match(app.auditLines().at(-1), { event: 'mint.unknown', reason: 'unusable_answer' })
  }
})

t.test('temperature goes to a legacy upstream alone, and is echoed where the policy let it through', async (t) => {
  const policy = `${CALLERS}
policies:
  - name: all
    when: any
    limits: none
    realtime: { fixed: { model: m }, allow: { temperature: { type: number, maximum: 1 } } }`
  for (const [mintApi, path, carried] of [['sessions', SESSIONS, true], ['client_secrets', GA, false]] as const) {
    const app = await startApp(t, { policy, env: { OPENAI_MINT_API: mintApi } })
    t.match(
      (await app.mint('sessions', { temperature: 1.1 })).body.error, { code: 'policy_violation', param: 'temperature' }
    )
    const { body } = await app.mint('sessions', { temperature: 0.7 })
    t.equal(body.temperature, 0.7)
    const [request] = app.upstream.requests
    t.equal(request?.path, path)
    t.equal('temperature' in (request?.body ?? {}), carried)
    t.notOk('temperature' in (request?.body.session as object ?? {}))
  }
})

t.test('an upstream 400 is the client\'s where it names what the client sent, by the client\'s own name', async (t) => {
  const app = await startApp(t, { env: { OPENAI_MINT_API: 'client_secrets' } })
  for (const [route, body, complaint, param] of [
    [
      'client_secrets', { session: { audio: { output: { voice: 'cedar' } } } }, 'session.audio.output.voice',
      'session.audio.output.voice'
    ],
    [
      'client_secrets', { session: { audio: { output: { voice: 'cedar' } } } }, 'session.audio.output.voice[0].name',
      'session.audio.output.voice'
    ],
    ['client_secrets', { expires_after: { seconds: 30 } }, 'expires_after.seconds', 'expires_after.seconds'],
    ['client_secrets', { expires_after: { seconds: 30 } }, 'expires_after', 'expires_after'],
    ['sessions', { voice: 'cedar' }, 'session.audio.output.voice', 'voice'],
    [
      'sessions', { turn_detection: { threshold: 0.4 } }, 'session.audio.input.turn_detection.threshold',
      'turn_detection.threshold'
    ],
    ['sessions', { turn_detection: { threshold: 0.4 } }, 'session.audio.input', 'turn_detection.threshold'],
    [
      'sessions', { client_secret: { expires_after: { seconds: 30 } } }, 'expires_after.seconds',
      'client_secret.expires_after.seconds'
    ]
  ] as const) {
    app.upstream.answer(GA, failure(400, 'invalid_value', { param: complaint }))
    const { status, body: answer } = await app.mint(route, body)
    t.equal(status, 400, complaint)
    t.match(answer.error, { code: 'invalid_request', type: 'invalid_request_error', param })
    app.upstream.answer(GA, failure(400, 'invalid_value', { param: complaint }))
    t.match(
      (await app.mint(route, {})).body.error,
      { code: 'upstream_rejected', param: null },
      'ours where the client sent nothing there'
    )
  }
  for (const param of ['session', 'session.model', 'session.__proto__', '__proto__', 'model', '', 7]) {
    app.upstream.answer(GA, failure(400, 'invalid_value', { param: param as string }))
    t.match(
      (await app.mint('client_secrets', { session: { audio: { output: { voice: 'cedar' } } } })).body.error,
      { code: 'upstream_rejected' },
      String(param)
    )
  }
})

t.test('an upstream 400 of a legacy route is the client\'s where the client came by one', async (t) => {
  const app = await startApp(t)
  app.upstream.answer(SESSIONS, failure(400, 'invalid_value', { param: 'voice' }))
  t.match((await app.mint('sessions', { voice: 'cedar' })).body.error, { code: 'invalid_request', param: 'voice' })
  t.match((await app.mint('sessions', { speed: 1 })).body.error, { code: 'upstream_rejected', param: null })
  t.match((await app.mint('sessions')).body.error, { code: 'upstream_rejected', param: null })
})

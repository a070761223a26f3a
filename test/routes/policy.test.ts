import t from 'tap'
import { ApiError } from '../../src/errors.ts'
import { CALLERS, POLICY, startApp } from '../support/app.ts'
import { assertAnswerHeaders, assertNoCanary } from '../support/invariants.ts'

const WITH_PROMPTS = `${CALLERS}
prompts:
  support:
    variables: { product: { type: string, maxLength: 40 } }
    session: { instructions: 'canary {{variables.product}}' }
  pmpt_68ab@2: { session: { instructions: canary } }
policies:
  - name: pro
    when: { plan: pro }
    limits: { minute: 10, day: 20, total: { day: 5 } }
    realtime:
      fixed:
        model: gpt-realtime-2.1
        tools: [{ type: mcp, server_label: crm, server_url: 'https://mcp.test', headers: { X-Key: { $env: MCP_KEY } } }]
      defaults: { audio: { output: { voice: cedar } } }
      allow: { audio.output.voice: { enum: [marin, cedar] } }
      aliases: { gpt-4o-realtime-preview: gpt-realtime-2.1 }
      prompts: [support, pmpt_68ab@2]
      expires_after: { default: 30, max: 120 }
      hide: [instructions]
  - { name: rest, when: any, limits: none, translation: { fixed: { model: m } } }
`

t.test('a caller without a policy is refused', async (t) => {
  const app = await startApp(t)
  for (const [claims, status] of [
    [{ plan: 'free' }, 403], [{ status: 'suspended' }, 403], [{ sub: 'blocked' }, 403], [{ aud: 'other' }, 401]
  ] as const) {
    const answer = await app.request(
      '/v1/realtime/policy', { headers: { authorization: `Bearer ${await app.token(claims)}` } }
    )
    t.equal(answer.status, status)
    assertAnswerHeaders(answer)
  }
  t.equal((await app.request('/v1/realtime/policy')).status, 401)
})

t.test('a caller reads what it may choose, and no fixed value', async (t) => {
  const app = await startApp(t, { policy: WITH_PROMPTS })
  await app.mint('client_secrets', { session: { prompt: { id: 'support', variables: { product: 'x' } } } })
  const answer = await app.request('/v1/realtime/policy', { headers: { authorization: `Bearer ${await app.token()}` } })
  t.equal(answer.status, 200)
  const { limits, sessions } = answer.body
  t.same(sessions, {
    realtime: {
      allow: { 'audio.output.voice': { enum: ['marin', 'cedar'] } },
      prompts: [
        { id: 'support', variables: { product: { type: 'string', maxLength: 40 } } },
        { id: 'pmpt_68ab', version: '2', variables: {} }
      ],
      models: ['gpt-4o-realtime-preview'],
      expires_after: { default: 30, max: 120 }
    }
  })
  t.match(limits, { minute: { limit: 10, remaining: 9, reset: Number }, day: { limit: 20, remaining: 19 } })
  t.same(Object.keys(limits as object), ['minute', 'day'], 'nothing of what all callers have taken')
  t.notMatch(answer.text, /crm|mcp|gpt-realtime-2/)
  assertAnswerHeaders(answer)
  assertNoCanary(app, answer)
})

t.test('a caller reads how long its calls may last, and whether secrets are minted', async (t) => {
  const app = await startApp(t, {
    policy: `${CALLERS}
policies:
  - name: pro
    when: { plan: pro }
    limits: { day: 20, call_seconds: { hour: 1200, day: 3600 }, total: { call_seconds: { day: 9000 } } }
    realtime: { secrets: false, calls: { max_seconds: 300, data_channel: false, total: 7 } }
  - name: rest
    when: any
    limits: { call_seconds: { day: 60 } }
    realtime: { calls: {} }
`
  })
  const read = async (claims: Record<string, string>) => (await app.request(
    '/v1/realtime/policy', { headers: { authorization: `Bearer ${await app.token(claims)}` } }
  )).body
  const { sessions, limits } = await read({})
  const others = { allow: {}, prompts: [], models: [], expires_after: { default: 60, max: 60 } }
  t.strictSame(sessions, {
    realtime: { ...others, calls: { max_seconds: 300, idle_seconds: 120, data_channel: false }, secrets: false }
  })
  t.strictSame(limits, {
    day: { limit: 20, remaining: 20, reset: 86_400 },
    call_seconds: {
      hour: { limit: 1200, remaining: 1200, reset: 3600 }, day: { limit: 3600, remaining: 3600, reset: 86_400 }
    }
  })
  t.strictSame(await read({ plan: 'free' }), {
    sessions: { realtime: { ...others, calls: { max_seconds: 600, idle_seconds: 120, data_channel: true } } },
    limits: { call_seconds: { day: { limit: 60, remaining: 60, reset: 86_400 } } }
  })
})

t.test('secrets: false refuses a mint on every route of the kind, and takes nothing', async (t) => {
  const app = await startApp(t, {
    policy: `${CALLERS}
policies:
  - name: pro
    when: { plan: pro }
    limits: { day: 20 }
    realtime: { secrets: false, calls: {} }
    transcription: {}
`
  })
  for (const route of ['client_secrets', 'sessions']) {
    const answer = await app.mint(route, {})
    t.equal(answer.status, 403)
    t.match(answer.body.error, { code: 'policy_violation', param: null })
    t.equal(answer.headers.get('ratelimit-limit'), null)
  }
  t.match(app.auditLines(), [{ code: 'policy_violation', reason: 'no_secrets' }, { reason: 'no_secrets' }])
  t.equal(app.upstream.requests.length, 0)
  t.equal((await app.mint('client_secrets', { session: { type: 'transcription' } })).status, 200, 'another kind')
})

t.test('a caller without limits and choices reads empty ones', async (t) => {
  const app = await startApp(t, { policy: WITH_PROMPTS })
  const { body } = await app.request(
    '/v1/realtime/policy', { headers: { authorization: `Bearer ${await app.token({ plan: 'free' })}` } }
  )
  t.same(body, {
    sessions: { translation: { allow: {}, prompts: [], models: [], expires_after: { default: 60, max: 60 } } },
    limits: {}
  })
})

t.test('reading the policy takes nothing from the limits', async (t) => {
  const app = await startApp(t, { policy: POLICY })
  const headers = { authorization: `Bearer ${await app.token()}` }
  for (let i = 0; i < 3; i++) {
    t.match(
      (await app.request('/v1/realtime/policy', { headers })).body.limits, { minute: { remaining: 50, reset: 60 } }
    )
  }
  t.equal(app.audit.kept.length, 0)
})

t.test('guests read what guests may choose', async (t) => {
  const app = await startApp(t, {
    policy: `
callers: [{ guest: {} }]
policies:
  - name: trial
    when: guest
    limits: { day: 2 }
    transcription: { fixed: { audio: { input: { transcription: { model: m } } } } }
`
  })
  await app.mint('transcription_sessions', {}, { authorization: undefined })
  const { body } = await app.request('/v1/realtime/policy')
  t.match(body, { sessions: { transcription: { allow: {} } }, limits: { day: { limit: 2, remaining: 1 } } })
  t.notOk(Object.hasOwn(body.sessions as object, 'realtime'), 'a kind that is not named is not there')
})

t.test('a caller that has used up a limit reads when it resets', async (t) => {
  const app = await startApp(t, { policy: POLICY.replace('minute: 50', 'minute: 1') })
  await app.mint('client_secrets', {})
  const { body } = await app.request(
    '/v1/realtime/policy', { headers: { authorization: `Bearer ${await app.token()}` } }
  )
  t.match(body.limits, { minute: { limit: 1, remaining: 0 }, day: { remaining: 499 } })
  const { reset } = (body.limits as { minute: { reset: number } }).minute
  t.ok(reset >= 1 && reset <= 60)
})

t.test('if the remaining limits cannot be read, the policy is not shown', async (t) => {
  const down = () => { throw new ApiError('limits_unavailable', { retryAfterSeconds: 1 }) }
  const app = await startApp(t, { limits: { take: down, peek: down, close: () => {} } })
  const answer = await app.request('/v1/realtime/policy', { headers: { authorization: `Bearer ${await app.token()}` } })
  t.match(answer, { status: 503, body: { error: { code: 'limits_unavailable' } } })
  t.equal(answer.headers.get('retry-after'), '1')
})

// The law of this service: what is secret comes out nowhere. Every code of the catalogue is driven here, at log level trace,
// and every answer, log line and audit line is searched for what must not be in it.

import t, { type Test } from 'tap'
import { ApiError, type ErrorCode } from '../src/errors.ts'
import { CALLERS, CANARIES, ORIGIN, startApp, type Answer, type App, type AppOptions } from './fakes/app.ts'
import { LATE, REFUSED, UNUSABLE } from './fakes/hostile.ts'
import { assertAnswerHeaders, assertNoCanary } from './fakes/invariants.ts'
import { exchange, type RawAnswer } from './fakes/raw-http.ts'
import { until } from './fakes/until.ts'
import { failure, GA, hang, json, SESSIONS } from './fakes/upstream.ts'

const POLICY = `
callers:
  - jwt: { issuer: 'https://auth.test/', audience: voice, secret_env: TOKEN_SECRET }
  - forward: { issuer: app, url: 'http://127.0.0.1:9/canary', header: x-session, pass: [x-session], subject: /id }
policies:
  - name: pro
    when: { plan: pro }
    limits: { day: 100 }
    realtime:
      fixed:
        model: gpt-realtime-2.1
        instructions: canary-instructions for {{sub}}
        tools: [{ type: mcp, server_label: crm, server_url: 'https://mcp.test', authorization: { $env: MCP_KEY }, headers: { X-Key: { $env: MCP_KEY } } }]
      allow: { audio.output.voice: { enum: [marin] } }
      hide: [instructions]
blocked: [{ subject: blocked }]
`

const CANARY_BODY = { session: { instructions: 'canary in a body' } }

type Drive = Readonly<{ options?: AppOptions, act: (app: App) => Answer | Promise<Answer> }>
const mint = { act: (app: App) => app.mint('client_secrets') }
const upstream = (...replies: Parameters<App['upstream']['answer']> extends [string, ...infer R] ? R : never): Drive => ({
  options: { env: { UPSTREAM_TIMEOUT_MS: '300' } },
  act: (app) => {
    app.upstream.answer(GA, ...replies)
    return app.mint('client_secrets')
  }
})

/** One for each code: a code that is added to the catalogue does not compile until it is driven here. */
const DRIVES: Record<ErrorCode, Drive> = {
  invalid_json: { act: (app) => app.mint('client_secrets', '{"canary', { 'content-type': 'application/json' }) },
  invalid_request: { act: (app) => app.mint('client_secrets', { session: ['canary'] }) },
  invalid_credentials: { act: (app) => app.mint('client_secrets', CANARY_BODY, { authorization: 'Bearer canary.canary.canary' }) },
  origin_not_allowed: { act: (app) => app.mint('client_secrets', CANARY_BODY, { origin: 'https://canary.test' }) },
  no_policy: { act: async (app) => app.mint('client_secrets', CANARY_BODY, { authorization: `Bearer ${await app.token({ plan: 'canary' })}` }) },
  caller_blocked: { act: async (app) => app.mint('client_secrets', CANARY_BODY, { authorization: `Bearer ${await app.token({ sub: 'blocked' })}` }) },
  policy_violation: { act: (app) => app.mint('client_secrets', CANARY_BODY) },
  not_found: { act: (app) => app.request('/canary?canary=canary') },
  method_not_allowed: { act: (app) => app.request('/v1/realtime/sessions?canary', { headers: { 'x-canary': 'canary' } }) },
  body_too_large: { act: (app) => app.mint('client_secrets', { canary: 'canary'.repeat(10_000) }) },
  unsupported_media_type: { act: (app) => app.mint('client_secrets', 'canary', { 'content-type': 'text/canary' }) },
  rate_limit_exceeded: {
    options: { policy: POLICY.replace('day: 100', 'day: 1') },
    act: async (app) => {
      await app.mint('client_secrets')
      return app.mint('client_secrets')
    }
  },
  upstream_rate_limited: upstream(failure(429, 'insufficient_quota')),
  internal_error: { options: { limits: { take: () => { throw new Error('canary') }, peek: () => [], close: () => {} } }, ...mint },
  upstream_rejected: upstream(failure(401, 'invalid_api_key')),
  upstream_error: upstream(json(200, { canary: 'canary' })),
  upstream_unavailable: { options: { env: { OPENAI_BASE_URL: 'https://canary.invalid/v1' } }, ...mint },
  identity_unavailable: { act: (app) => app.mint('client_secrets', CANARY_BODY, { authorization: undefined, 'x-session': 'canary-session-1234' }) },
  limits_unavailable: { options: { limits: { take: () => { throw new ApiError('limits_unavailable', { cause: new Error('canary') }) }, peek: () => [], close: () => {} } }, ...mint },
  audit_unavailable: {
    act: (app) => {
      app.audit.refuse()
      return app.mint('client_secrets')
    }
  },
  overloaded: {
    options: { env: { UPSTREAM_CONCURRENCY: '1', UPSTREAM_TIMEOUT_MS: '1000' } },
    act: async (app) => {
      app.upstream.answer(GA, hang)
      const held = app.mint('client_secrets')
      await app.upstream.arrived(1)
      const answer = await app.mint('client_secrets')
      await held
      return answer
    }
  },
  draining: { act: askWhileClosing },
  upstream_timeout: upstream(hang)
}

for (const [code, { options, act }] of Object.entries(DRIVES)) {
  t.test(`${code} tells no secret`, async (t) => {
    const app = await startApp(t, { policy: POLICY, ...options, env: { OPENAI_MINT_API: 'client_secrets', ...options?.env } })
    const answer = await act(app)
    t.match(answer.body.error, { code })
    hold(t, app, answer)
  })
}

t.test('no answer of upstream makes us tell a secret', async (t) => {
  for (const [rows, timeoutMs] of [[[...UNUSABLE, ...REFUSED], '900'], [LATE, '150']] as const) {
    const app = await startApp(t, { policy: POLICY.replace('day: 100', 'day: 10000'), env: { OPENAI_MINT_API: 'client_secrets', UPSTREAM_TIMEOUT_MS: timeoutMs, OPENAI_ORG_ID: 'org-canary-1234', OPENAI_PROJECT_ID: 'proj-canary-1234' } })
    for (const { name, reply } of rows) {
      // Between two failures the circuit breaker sees something else.
      app.upstream.answer(GA, failure(400))
      await app.mint('client_secrets')
      app.upstream.answer(GA, reply)
      const answer = await app.mint('client_secrets')
      t.ok(answer.status >= 400, name)
      hold(t, app, answer)
    }
  }
})

t.test('a granted mint tells its client secret to its client, and nothing else', async (t) => {
  const app = await startApp(t, { policy: POLICY })
  for (const route of ['client_secrets', 'sessions']) {
    const answer = await app.mint(route, {}, { origin: ORIGIN, cookie: 'canary=canary' })
    t.equal(answer.status, 200)
    hold(t, app, answer)
  }
  t.match(JSON.stringify(app.upstream.requests), new RegExp(CANARIES.MCP_KEY), 'it was really there')
})

t.test('a server that echoes everything is told nothing that comes back', async (t) => {
  const app = await startApp(t, {
    policy: `${CALLERS}
policies: [{ name: all, when: any, limits: none, realtime: { fixed: { model: m } } }]`
  })
  app.upstream.answer(SESSIONS, (received, response) => json(200, {
    ...received.body, headers: received.headers, client_secret: { value: 'ek_canary_echo', expires_at: Math.floor(Date.now() / 1000) + 60, key: received.headers.authorization }, key: received.headers.authorization
  })(received, response))
  app.upstream.secrets.push('ek_canary_echo')
  const { body } = await app.mint('sessions')
  t.same(Object.keys(body), ['object', 'model', 'client_secret'])
  t.same(Object.keys(body.client_secret as object), ['value', 'expires_at'])
})

/** A second request on a connection whose first one is being minted while the service stops. */
async function askWhileClosing (app: App): Promise<Answer> {
  const minted = Promise.withResolvers<void>()
  app.upstream.answer(GA, async (received, response) => {
    await minted.promise
    failure(400)(received, response)
  })
  const post = `POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nAuthorization: Bearer ${await app.token()}\r\n\r\n`
  const [, answer] = await exchange(app, [
    post,
    async () => {
      await app.upstream.arrived(1)
      app.close().catch(() => {})
      await until('the service stops', () => !app.server.listening)
      return post
    },
    async () => {
      await app.audit.wrote(1)
      minted.resolve()
      return ''
    }
  ], 2) as [RawAnswer, RawAnswer]
  return { ...answer, body: JSON.parse(answer.text) }
}

function hold (t: Test, app: App, answer: Answer): void {
  assertNoCanary(app, answer)
  assertAnswerHeaders(answer)
  t.ok(app.log.kept.every((line) => line.indexOf('\n') === line.length - 1), 'one line each')
}

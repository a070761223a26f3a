// No secret leaves the service. Every code of the catalogue is produced here, at log level trace, and every answer, log
// line and audit line is searched for canaries.

import { hash } from 'node:crypto'
import { once } from 'node:events'
import { globSync, readFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ApiError, type ErrorCode } from '../src/errors.ts'
import { forgeHmac } from './callers/forge.ts'
import { type Answer, type App, type AppOptions, CALLERS, CANARIES, ORIGIN, startApp } from './support/app.ts'
import { startCallsUpstream } from './support/calls-upstream.ts'
import { startCountingUpstream } from './support/counting.ts'
import { LATE, REFUSED, UNUSABLE } from './support/hostile.ts'
import { assertAnswerHeaders, assertNoCanary } from './support/invariants.ts'
import { exchange, type RawAnswer } from './support/raw-http.ts'
import { OFFER } from './support/sdp.ts'
import { startService } from './support/service.ts'
import { until } from './support/until.ts'
import { failure, GA, hang, inSeconds, json, SESSIONS } from './support/upstream.ts'

const ROOT = join(import.meta.dirname, '..')

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
        tools:
          - type: mcp
            server_label: crm
            server_url: https://mcp.test
            authorization: { $env: MCP_KEY }
            headers: { X-Key: { $env: MCP_KEY } }
      allow: { audio.output.voice: { enum: [marin] } }
      hide: [instructions]
blocked: [{ subject: blocked }]
`

const CANARY_BODY = { session: { instructions: 'canary in a body' } }

type Drive = Readonly<{ options?: AppOptions, ofCalls?: true, act: (app: App) => Answer | Promise<Answer> }>
const mint = { act: (app: App) => app.mint('client_secrets') }
const upstream = (...replies: Parameters<App['upstream']['answer']> extends [string, ...infer R] ? R : never): Drive =>
  ({
    options: { env: { UPSTREAM_TIMEOUT_MS: '300' } },
    act: (app) => {
      app.upstream.answer(GA, ...replies)
      return app.mint('client_secrets')
    }
  })

/** One per code: without an entry for a new code this file does not compile. */
const DRIVES: Record<ErrorCode, Drive> = {
  invalid_json: { act: (app) => app.mint('client_secrets', '{"canary', { 'content-type': 'application/json' }) },
  invalid_request: { act: (app) => app.mint('client_secrets', { session: ['canary'] }) },
  invalid_credentials: {
    act: (app) => app.mint('client_secrets', CANARY_BODY, { authorization: 'Bearer canary.canary.canary' })
  },
  origin_not_allowed: { act: (app) => app.mint('client_secrets', CANARY_BODY, { origin: 'https://evil.test' }) },
  no_policy: {
    act: async (app) =>
      app.mint('client_secrets', CANARY_BODY, { authorization: `Bearer ${await app.token({ plan: 'canary' })}` })
  },
  caller_blocked: {
    act: async (app) =>
      app.mint('client_secrets', CANARY_BODY, { authorization: `Bearer ${await app.token({ sub: 'blocked' })}` })
  },
  policy_violation: { act: (app) => app.mint('client_secrets', CANARY_BODY) },
  not_found: { act: (app) => app.request('/canary?canary=canary') },
  method_not_allowed: {
    act: (app) => app.request('/v1/realtime/sessions?canary', { headers: { 'x-canary': 'canary' } })
  },
  body_too_large: { act: (app) => app.mint('client_secrets', { canary: 'canary'.repeat(10_000) }) },
  unsupported_media_type: { act: (app) => app.mint('client_secrets', 'canary', { 'content-type': 'text/canary' }) },
  call_in_progress: {
    ofCalls: true,
    act: async (app) => {
      await call(app)
      return call(app)
    }
  },
  calls_full: {
    ofCalls: true,
    act: async (app) => {
      await call(app)
      return call(app, 'bob')
    }
  },
  rate_limit_exceeded: {
    options: { policy: POLICY.replace('day: 100', 'day: 1') },
    act: async (app) => {
      await app.mint('client_secrets')
      return app.mint('client_secrets')
    }
  },
  upstream_rate_limited: upstream(failure(429, 'insufficient_quota')),
  internal_error: {
    options: { limits: { take: () => { throw new Error('canary') }, peek: () => [], close: () => {} } }, ...mint
  },
  upstream_rejected: upstream(failure(401, 'invalid_api_key')),
  upstream_error: upstream(json(200, { canary: 'canary' })),
  upstream_unavailable: { options: { env: { OPENAI_BASE_URL: 'https://nowhere.invalid/v1' } }, ...mint },
  identity_unavailable: {
    act: (app) =>
      app.mint('client_secrets', CANARY_BODY, { authorization: undefined, 'x-session': 'canary-session-1234' })
  },
  limits_unavailable: {
    options: {
      limits: {
        take: () => { throw new ApiError('limits_unavailable', { cause: new Error('canary') }) },
        peek: () => [],
        close: () => {}
      }
    },
    ...mint
  },
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

for (const [code, { options, ofCalls, act }] of Object.entries(DRIVES)) {
  t.test(`F1: ${code} discloses no secret, at log level trace`, async (t) => {
    // Field F23: this proxy is not used, since all hosts are loopback; its password is in the configuration.
    const proxy = { HTTPS_PROXY: 'http://user:canary-proxy-password@proxy.test:3128' }
    const app = await startApp(
      t, {
        policy: ofCalls ? POLICY.replace('hide:', 'calls: { total: 1 }\n      hide:') : POLICY,
        ...ofCalls ? { upstream: await startCallsUpstream(t) } : {},
        ...options,
        env: { OPENAI_MINT_API: 'client_secrets', ...proxy, ...options?.env }
      }
    )
    const answer = await act(app)
    t.match(answer.body.error, { code })
    hold(t, app, answer)
  })
}

t.test('F2, F3: no answer of upstream makes the service disclose a secret', async (t) => {
  for (const [rows, timeoutMs] of [[[...UNUSABLE, ...REFUSED], '900'], [LATE, '150']] as const) {
    const app = await startApp(t, {
      policy: POLICY.replace('day: 100', 'day: 10000'),
      env: {
        OPENAI_MINT_API: 'client_secrets',
        UPSTREAM_TIMEOUT_MS: timeoutMs,
        OPENAI_ORG_ID: 'org-canary-1234',
        OPENAI_PROJECT_ID: 'proj-canary-1234'
      }
    })
    for (const { name, reply } of rows) {
      // A success between failures keeps the circuit breaker closed.
      app.upstream.answer(GA, failure(400))
      await app.mint('client_secrets')
      app.upstream.answer(GA, reply)
      const answer = await app.mint('client_secrets')
      t.ok(answer.status >= 400, name)
      hold(t, app, answer)
    }
  }
})

t.test('F2, F3: a rejected key is a 502 for the client, and the audit line has the upstream request id', async (t) => {
  const app = await startApp(t, { policy: POLICY })
  const quoted = 'Incorrect API key provided: sk-ab*yz. ' +
    'You can find your API key at https://platform.openai.com/account/api-keys.'
  app.upstream.answer(GA, json(401, {
    error: { message: quoted, type: 'invalid_request_error', code: 'invalid_api_key', param: null }
  }, {
    'openai-organization': 'org-ab',
    'openai-project': 'proj_ab',
    'openai-version': '2020-10-01',
    'x-ratelimit-limit-requests': '7777',
    'www-authenticate': 'Bearer realm="sk-ab"'
  }))
  const answer = await app.mint('client_secrets')
  t.equal(answer.status, 502)
  t.equal(
    answer.text,
    '{"error":{"message":"The realtime API rejected the request of this service.",' +
      '"type":"api_error","code":"upstream_rejected","param":null}}'
  )
  t.match(app.auditLines(), [{ code: 'upstream_rejected', upstream_request_id: 'req_upstream_1' }])
  t.equal(app.auditLines().length, 1)
  t.notMatch(
    [answer.text, JSON.stringify([...answer.headers]), ...app.log.kept, ...app.audit.kept].join(),
    /Incorrect|sk-ab|org-ab|proj_ab|7777|2020-10-01/
  )
})

t.test('F13: a client secret is only in the answer to its client, and as SHA-256 in its audit line', async (t) => {
  const app = await startApp(t, { policy: POLICY })
  for (const route of ['client_secrets', 'sessions']) {
    const answer = await app.mint(route, {}, { origin: ORIGIN, cookie: 'canary=canary' })
    t.equal(answer.status, 200)
    hold(t, app, answer)
    t.match(
      app.auditLines().at(-1),
      { event: 'mint.granted', secret_sha256: hash('sha256', app.upstream.secrets.at(-1) as string) }
    )
  }
  t.match(JSON.stringify(app.upstream.requests), new RegExp(CANARIES.MCP_KEY), 'it was really there')
})

t.test('F3: an upstream that echoes its request makes no secret come back', async (t) => {
  const app = await startApp(t, {
    policy: `${CALLERS}
policies: [{ name: all, when: any, limits: none, realtime: { fixed: { model: m } } }]`
  })
  app.upstream.answer(SESSIONS, (received, response) => json(200, {
    ...received.body,
    headers: received.headers,
    client_secret: {
      value: 'ek_canary_echo', expires_at: Math.floor(Date.now() / 1000) + 60, key: received.headers.authorization
    },
    key: received.headers.authorization
  })(received, response))
  app.upstream.secrets.push('ek_canary_echo')
  const { body } = await app.mint('sessions')
  t.same(Object.keys(body), ['object', 'model', 'client_secret'])
  t.same(Object.keys(body.client_secret as object), ['value', 'expires_at'])
})

t.test('F9, F1: a key from a file is in no argument, variable, probe or debug output of the process', async (t) => {
  const counting = await startCountingUpstream(t, 0)
  // Accepts the password of Redis and never answers.
  const redis = createServer((socket) => socket.on('error', () => {}).resume()).listen(0, '127.0.0.1')
  await once(redis, 'listening')
  t.teardown(() => redis.close())
  const folder = t.testdir({
    key: CANARIES.OPENAI_API_KEY,
    redis: `redis://mint:canary-password@127.0.0.1:${(redis.address() as AddressInfo).port}`
  })
  const service = await startService(t, {
    upstreamUrl: counting.url,
    env: {
      OPENAI_API_KEY: '',
      OPENAI_API_KEY_FILE: `${folder}/key`,
      REDIS_URL_FILE: `${folder}/redis`,
      ON_REDIS_LOSS: 'local',
      LOG_LEVEL: 'trace',
      DEBUG: '*',
      NODE_DEBUG: 'http,undici,net,tls'
    }
  })
  t.equal((await service.mint()).status, 200)
  t.equal((await service.mint({ headers: { authorization: 'Bearer canary.canary.canary' } })).status, 401)
  counting.behave(401)
  t.equal((await service.mint()).status, 502)
  t.match(service.stderr(), 'HTTP', 'it was really switched on')
  const probes = await Promise.all(['/livez', '/readyz', '/nowhere'].map((path) => service.ask(path)))
  const output = [
    service.stderr(),
    JSON.stringify([service.log, service.audit, probes.map(({ body, headers }) => [body, [...headers]])])
  ].join()
  for (const secret of [...Object.values(CANARIES), ...counting.minted, 'canary']) t.notOk(output.includes(secret))
  for (const name of ['cmdline', 'environ']) {
    t.notOk(readFileSync(`/proc/${service.pid}/${name}`, 'latin1').includes(CANARIES.OPENAI_API_KEY), name)
  }
})

t.test('A8, F10: whatever clients and upstream send, each log line is a single line, escaped and short', async (t) => {
  const app = await startApp(t, {
    policy: `${CALLERS}
policies: [{ name: all, when: any, limits: none, realtime: { fixed: {}, allow: { model: { type: string } } } }]`
  })
  const hostile = '\r\n{"audit":1}\u001b[2J\u009b31m\u0085\u2028\u2029"}\\'
  const long = hostile + 'x'.repeat(20_000)
  app.upstream.answer(GA, (received, response) => json(200, {
    value: 'ek_canary_long',
    expires_at: inSeconds(60),
    session: { type: 'realtime', id: hostile + 'x'.repeat(200_000), model: long }
  }, { 'x-request-id': 'x'.repeat(5000) })(received, response))
  app.upstream.secrets.push('ek_canary_long')
  t.equal((await app.mint(
    'client_secrets', { session: { model: long } }, { 'user-agent': 'x'.repeat(8000), referer: 'x'.repeat(2000) }
  )).status, 200)
  t.equal((await app.mint('client_secrets')).status, 200)
  t.same(
    app.auditLines().map(({ model, session_id: id }) => [model, id].map((fact) => (fact as string | null)?.length)),
    [[256, 256], [undefined, 256]]
  )
  await app.mint('client_secrets', { session: { [long]: long } })
  await app.mint('client_secrets', { session: { type: long } })
  await app.mint('client_secrets', {}, { authorization: `Bearer ${await app.token({ sub: hostile })}` })
  await app.mint('client_secrets', {}, {
    authorization: `Bearer ${await app.token({ sub: 'x'.repeat(2000), iss: long.slice(0, 4000) })}`
  })
  for (const kid of [hostile, hostile + 'x'.repeat(4000)]) {
    const claims = { iss: 'https://auth.test/', aud: 'voice', sub: 'ada', exp: inSeconds(60) }
    const authorization = `Bearer ${forgeHmac('x'.repeat(32), claims, { kid })}`
    t.equal((await app.mint('client_secrets', {}, { authorization })).status, 401)
  }
  await app.mint('client_secrets', {}, { origin: 'https://x'.padEnd(5000, '\u0085') })
  await app.request(`/v1/realtime/${encodeURIComponent(hostile)}?${'x'.repeat(5000)}`)
  t.equal(app.audit.kept.length, 9)
  for (const line of [...app.audit.kept, ...app.log.kept]) {
    // eslint-disable-next-line no-control-regex
    t.match(line, /^[^\0-\x1f\x7f-\x9f\u2028\u2029]+\n$/)
    t.ok(line.length < 2000, `${line.length} characters`)
    JSON.parse(line)
  }
})

t.test('F11: secrets are compared as digests of one length, in constant time', async (t) => {
  t.match(readFileSync(join(ROOT, 'src/callers/gateway.ts'), 'utf8'), 'timingSafeEqual(digest(')
  const app = await startApp(t, {
    policy: POLICY.replace(
      'policies:',
      '  - gateway: { issuer: gateway, header: x-user, from: [127.0.0.1], ' +
        'secret_header: x-secret, secret_env: TOKEN_SECRET }\npolicies:'
    )
  })
  const secret = CANARIES.TOKEN_SECRET
  for (const wrong of [
    'x', secret.slice(0, -1), `${secret}x`, secret.toUpperCase(), secret.replace(/.$/, 'x'), 'x'.repeat(8000)
  ]) {
    t.equal(
      (await app.mint('client_secrets', {}, { authorization: undefined, 'x-user': 'ada', 'x-secret': wrong })).status,
      401
    )
    t.match(app.auditLines().at(-1), { reason: 'gateway_secret_wrong' })
  }
  t.match((await app.mint(
    'client_secrets', {}, { authorization: undefined, 'x-user': 'ada', 'x-secret': secret }
  )).body.error, { code: 'no_policy' }, 'the right one is let in')
})

t.test('F12: every invalid credential gets the same answer, byte for byte, headers included', async (t) => {
  const app = await startApp(t, { policy: POLICY })
  const now = Math.floor(Date.now() / 1000)
  const good = await app.token()
  const answers = []
  for (const authorization of [
    undefined, '', 'Bearer', 'Basic YTpi', 'Bearer canary.canary.canary', `${good.slice(0, -4)}AAAA`,
    `Bearer ${good.slice(0, -4)}AAAA`, `Bearer ${good} `.padEnd(9000, 'x'),
    ...await Promise.all([
      { exp: now - 3600 }, { nbf: now + 3600 }, { iss: 'https://other.test/' }, { aud: 'other' }, { sub: '' }
    ].map(async (claims) => `Bearer ${await app.token(claims)}`))
  ]) {
    const { status, headers, text } = await app.mint('client_secrets', {}, { authorization })
    answers.push(
      JSON.stringify([status, text, [...headers].filter(([name]) => !['date', 'x-request-id'].includes(name))])
    )
  }
  t.equal(new Set(answers).size, 1)
  t.match(answers[0], /^\[401,/)
})

t.test('F16: nothing in the repository has the shape of a secret', async (t) => {
  const shapes = new RegExp([
    /\bsk-[\w-]{32,}/, /-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[\w+/]{40}/, /\b(AKIA|ASIA)[0-9A-Z]{16}\b/,
    /\bgh[opsur]_\w{30,}/, /\bgithub_pat_\w{30,}/, /\bxox[abprs]-[\w-]{10,}/, /\bAIza[\w-]{35}/,
    /\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}/, /\bnpm_\w{36}/
  ].map(({ source }) => source).join('|'))
  t.match(`sk-proj-${'aB3_'.repeat(10)}`, shapes)
  const paths = globSync('**/*', {
    cwd: ROOT,
    withFileTypes: true,
    exclude: ({ name }) => ['node_modules', '.git', '.tap', '.screenshots', 'coverage'].includes(name)
  }).filter((entry) => entry.isFile() && entry.name !== '.env')
  t.ok(paths.length > 100)
  t.same(paths.filter(({ parentPath, name }) => shapes.test(readFileSync(join(parentPath, name), 'latin1'))).map(
    ({ name }) => name
  ), [])
})

/** Sends a second request on a connection whose first mint is in flight while the service stops. */
async function askWhileClosing (app: App): Promise<Answer> {
  const minted = Promise.withResolvers<void>()
  app.upstream.answer(GA, async (received, response) => {
    await minted.promise
    failure(400)(received, response)
  })
  const post = 'POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n' +
    `Authorization: Bearer ${await app.token()}\r\n\r\n`
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

/** Asks for a call. The answer to a created call is not JSON. */
async function call (app: App, sub = 'ada'): Promise<Answer> {
  const response = await fetch(`${app.url}/v1/realtime/calls`, {
    method: 'POST',
    headers: { authorization: `Bearer ${await app.token({ sub })}`, 'content-type': 'application/sdp' },
    body: `${OFFER}a=canary:1\r\n`
  })
  const { status, headers } = response
  const text = await response.text()
  return { status, headers, text, body: status === 201 ? {} : JSON.parse(text) }
}

function hold (t: Test, app: App, answer: Answer): void {
  assertNoCanary(app, answer)
  assertAnswerHeaders(answer)
  t.ok(app.log.kept.every((line) => line.indexOf('\n') === line.length - 1), 'one line each')
}

// Which pages may call, and what they may read.

import { fastify, type FastifyInstance } from 'fastify'
import t from 'tap'
import { registerOrigin } from '../../src/http/origin.ts'
import { ORIGIN, POLICY, startApp } from '../support/app.ts'
import { exchange } from '../support/raw-http.ts'
import { failure, GA } from '../support/upstream.ts'

const URL = '/v1/realtime/client_secrets'
const EXPOSED = 'X-Realtime-Url, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, X-Request-Id, Retry-After'
const FOREIGN = [
  'null', 'https://app.test.evil.test', 'https://evilapp.test', 'https://appXtest', 'http://app.test',
  'https://app.test:443', 'https://app.test:8443', 'https://APP.test', 'https://app.test/', 'https://user@app.test',
  'https://app.test/path', 'https://sub.app.test', 'http://localhost', 'http://localhost:3000', 'https://codepen.io',
  'https://someone.github.io', 'https://app.test, https://evil.test', 'https://app.test.', '*', 'app.test', 'https://'
]

t.test('C1, C2, C3, C5: a foreign origin is refused before authentication, and can read nothing', async (t) => {
  const app = await startApp(t)
  for (const origin of FOREIGN) {
    const { status, headers, body } = await app.mint('client_secrets', {}, { origin })
    t.match(
      { status, error: body.error },
      { status: 403, error: { code: 'origin_not_allowed', type: 'permission_error', param: null } },
      origin
    )
    for (const name of [
      'access-control-allow-origin', 'access-control-allow-credentials', 'access-control-expose-headers'
    ]) t.equal(headers.get(name), null)
  }
  t.match(
    app.auditLines()[0],
    { event: 'mint.refused', code: 'origin_not_allowed', subject: null, issuer: null },
    'before it is authenticated'
  )
  const [twice] = await exchange(
    app, `POST ${URL} HTTP/1.1\r\nHost: a\r\nOrigin: ${ORIGIN}\r\nOrigin: ${ORIGIN}\r\nContent-Length: 0\r\n\r\n`, 1
  )
  t.equal(twice?.status, 403)
})

t.test('a foreign origin is refused everywhere, its preflights too', async (t) => {
  const app = await startApp(t)
  for (const path of ['/livez', '/readyz', '/v1/realtime/policy', '/nowhere']) {
    t.equal((await app.request(path, { headers: { origin: 'https://evil.test' } })).status, 403, path)
  }
  const { status, headers } = await app.request(
    URL, { method: 'OPTIONS', headers: { origin: 'https://evil.test', 'access-control-request-method': 'POST' } }
  )
  t.equal(status, 403)
  t.equal(headers.get('access-control-allow-origin'), null)
  t.equal(headers.get('access-control-allow-methods'), null)
})

t.test('C13: a cross-site request that hides its origin is refused', async (t) => {
  const app = await startApp(t)
  t.equal((await app.mint('client_secrets', {}, { 'sec-fetch-site': 'cross-site' })).status, 403)
  t.equal((await app.mint('client_secrets', {}, { 'sec-fetch-site': 'same-origin' })).status, 200)
})

t.test('C7: no origin at all is a server, and its credential decides', async (t) => {
  const app = await startApp(t)
  t.equal((await app.mint('client_secrets', {})).status, 200)
})

t.test('without CORS_ORIGINS no page may call', async (t) => {
  const app = await startApp(t, { env: { CORS_ORIGINS: '' } })
  t.equal((await app.mint('client_secrets', {}, { origin: ORIGIN })).status, 403)
  t.equal((await app.mint('client_secrets', {})).status, 200)
})

t.test('C14: a page of an allowed origin can read answers, refusals too', async (t) => {
  const app = await startApp(t, { policy: POLICY.replace('minute: 50', 'minute: 1') })
  const rows = [
    [200, {}], [429, {}], [
      401, { authorization: 'Bearer canary' }
    ], [403, { authorization: `Bearer ${await app.token({ plan: 'free' })}` }], [415, { 'content-type': 'text/plain' }]
  ] as const
  for (const [status, changes] of rows) {
    const { status: answered, headers } = await app.mint('client_secrets', {}, { origin: ORIGIN, ...changes })
    t.equal(answered, status)
    t.equal(headers.get('access-control-allow-origin'), ORIGIN)
    t.equal(headers.get('access-control-expose-headers'), EXPOSED)
    t.equal(headers.get('retry-after') !== null, status === 429)
  }
  for (const [status, failing] of [
    [502, failure(401)], [503, failure(503, null, { headers: { 'retry-after': '30' } })]
  ] as const) {
    app.upstream.answer(GA, failing)
    const authorization = `Bearer ${await app.token({ sub: `met ${status}` })}`
    const { status: answered, headers } = await app.mint('client_secrets', {}, { origin: ORIGIN, authorization })
    t.equal(answered, status)
    t.equal(headers.get('access-control-allow-origin'), ORIGIN)
    t.equal(headers.get('access-control-expose-headers'), EXPOSED)
    t.equal(headers.get('retry-after'), status === 503 ? '30' : null)
  }
})

t.test('C9: every answer says that it depends on the origin, also one to a request without any', async (t) => {
  const app = await startApp(t)
  const token = { authorization: `Bearer ${await app.token()}` }
  for (const [status, path, method, sent] of [
    [200, URL, 'POST', token], [401, URL, 'POST', {}], [405, URL, 'GET', {}], [404, '/nowhere', 'GET', {}],
    [200, '/livez', 'GET', {}]
  ] as const) {
    for (const origin of [{}, { origin: ORIGIN }, { origin: 'https://evil.test' }] as Record<string, string>[]) {
      const { status: answered, headers } = await app.request(path, { method, headers: { ...sent, ...origin } })
      t.equal(answered, origin.origin === 'https://evil.test' ? 403 : status, `${method} ${path}`)
      t.match(headers.get('vary'), /\bOrigin\b/)
    }
  }
})

t.test('C9, C10, C11: a preflight is answered with the headers it may send, by name', async (t) => {
  const app = await startApp(t, { env: { ADDRESS_LIMIT_PER_MINUTE: '1' } })
  const requested = [
    'authorization, content-type, x-stainless-lang, X-Stainless-Retry-Count, openai-organization, x-openai-client',
    'x-evil, x-stainless-*, x-stainless-, x-stainless-%, cookie'
  ].join(', ')
  for (const attempt of ['first', 'second', 'third']) {
    const { status, headers } = await app.request(URL, {
      method: 'OPTIONS',
      headers: {
        origin: ORIGIN,
        'access-control-request-method': 'POST',
        'access-control-request-headers': requested
      }
    })
    t.equal(status, 204, `the ${attempt} costs nothing`)
    t.equal(headers.get('access-control-allow-origin'), ORIGIN)
    t.equal(headers.get('access-control-allow-methods'), 'GET, POST')
    t.equal(
      headers.get('access-control-allow-headers'),
      'authorization, content-type, x-stainless-lang, x-stainless-retry-count, openai-organization, x-openai-client'
    )
    t.equal(headers.get('access-control-max-age'), '600')
    t.equal(headers.get('access-control-allow-private-network'), null)
    t.equal(headers.get('access-control-allow-credentials'), null)
    t.match(headers.get('vary'), /Origin/)
    t.equal(headers.get('cache-control'), 'no-store')
  }
  t.equal(app.audit.kept.length, 0)
})

t.test('C10: a preflight for an unknown method or with too many headers is granted none of them', async (t) => {
  const app = await startApp(t)
  for (const headers of [
    { origin: ORIGIN, 'access-control-request-method': 'DELETE' },
    { origin: ORIGIN, 'access-control-request-method': 'post' },
    { origin: ORIGIN },
    { 'access-control-request-method': 'POST' },
    {}
  ]) {
    const answer = await app.request(URL, { method: 'OPTIONS', headers: headers as Record<string, string> })
    t.match(
      { status: answer.status, code: (answer.body.error as { code: string }).code },
      { status: 405, code: 'method_not_allowed' },
      JSON.stringify(headers)
    )
    t.equal(answer.headers.get('allow'), 'POST')
    for (const name of ['origin', 'methods', 'headers']) {
      t.equal(answer.headers.get(`access-control-allow-${name}`), null)
    }
    t.match(answer.headers.get('vary'), /Origin/)
  }
  const huge = await app.request(URL, {
    method: 'OPTIONS',
    headers: {
      origin: ORIGIN,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'x-stainless-a,'.repeat(500)
    }
  })
  t.equal(huge.headers.get('access-control-allow-headers'), 'authorization, content-type')
  const local = await app.request(URL, {
    method: 'OPTIONS',
    headers: {
      origin: ORIGIN, 'access-control-request-method': 'POST', 'access-control-request-private-network': 'true'
    }
  })
  t.equal(local.headers.get('access-control-allow-private-network'), null)
})

t.test('credentials are allowed where a cookie is configured, and nowhere else', async (t) => {
  const app = await startApp(
    t, { policy: POLICY.replace('secret_env: TOKEN_SECRET', 'secret_env: TOKEN_SECRET, cookie: session') }
  )
  const preflight = await app.request(
    URL, { method: 'OPTIONS', headers: { origin: ORIGIN, 'access-control-request-method': 'POST' } }
  )
  t.equal(preflight.headers.get('access-control-allow-credentials'), 'true')
  const cookie = `session=${await app.token()}`
  const byCookie = { authorization: undefined, cookie }
  t.match(
    await app.mint('client_secrets', {}, byCookie), { status: 403, body: { error: { code: 'origin_not_allowed' } } }
  )
  t.match(
    await app.mint('client_secrets', 'a=b', { ...byCookie, origin: ORIGIN, 'content-type': 'text/plain' }),
    { status: 415 }
  )
  const { status, headers } = await app.mint('client_secrets', {}, { ...byCookie, origin: ORIGIN })
  t.equal(status, 200)
  t.equal(headers.get('access-control-allow-credentials'), 'true')
})

t.test('C14: a route names the headers that pages may read beside the common ones', async (t) => {
  const app = fastify() as unknown as FastifyInstance
  await registerOrigin(app, { origins: new Set([ORIGIN]), credentials: () => false })
  app.get('/own', { config: { exposedHeaders: ['Location', 'X-Call-Seconds'] } }, async () => ({}))
  app.get('/common', async () => ({}))
  for (const [url, exposed] of [
    ['/own', `${EXPOSED}, Location, X-Call-Seconds`], ['/common', EXPOSED], ['/nowhere', EXPOSED]
  ] as const) {
    const { headers } = await app.inject({ url, headers: { origin: ORIGIN } })
    t.equal(headers['access-control-expose-headers'], exposed, url)
    t.equal((await app.inject({ url })).headers['access-control-expose-headers'], undefined)
  }
})

t.test('field F17: what browsers and tracers ask for is allowed by name, nothing else is', async (t) => {
  const app = await startApp(t, { env: { CORS_HEADERS: 'X-Tenant, b3' } })
  const preflight = async (requested: string) => {
    const { status, headers } = await app.request(URL, {
      method: 'OPTIONS',
      headers: {
        origin: ORIGIN, 'access-control-request-method': 'POST', 'access-control-request-headers': requested
      }
    })
    t.equal(status, 204)
    return headers.get('access-control-allow-headers')?.split(', ').slice(2)
  }
  t.same(await preflight('cookie, x-tenant-id, x-b3, trace, x-forwarded-for, proxy-authorization, *'), [])
  const asked = 'authorization,baggage,content-type,sentry-trace,traceparent,tracestate,user-agent,x-requested-with'
  t.same(
    await preflight(`${asked},x-stainless-lang`),
    [...asked.split(',').filter((name) => !/^(authorization|content-type)$/.test(name)), 'x-stainless-lang']
  )
  t.same(await preflight('b3,x-tenant'), ['b3', 'x-tenant'])
  const without = await startApp(t)
  const { headers } = await without.request(URL, {
    method: 'OPTIONS',
    headers: { origin: ORIGIN, 'access-control-request-method': 'POST', 'access-control-request-headers': 'x-tenant' }
  })
  t.equal(headers.get('access-control-allow-headers'), 'authorization, content-type')
})

t.test('field F18, field F19: origins of any scheme, and of a pattern, may call', async (t) => {
  const app = await startApp(t, { env: { CORS_ORIGINS: 'capacitor://localhost, https://app-*-team.example.app' } })
  for (const origin of [
    'null', 'capacitor://localhost/', 'capacitor://localhosts', 'ionic://localhost', 'https://localhost',
    'https://app--team.example.app', 'https://app-a.b-team.example.app', 'https://app-*-team.example.app', ORIGIN
  ]) t.equal((await app.mint('client_secrets', {}, { origin })).status, 403, origin)
  for (const origin of ['capacitor://localhost', 'https://app-git-fix-team.example.app']) {
    const { status, headers } = await app.mint('client_secrets', {}, { origin })
    t.equal(status, 200)
    t.equal(headers.get('access-control-allow-origin'), origin)
    t.equal(headers.get('access-control-allow-credentials'), null)
    t.match(headers.get('vary'), /Origin/)
  }
})

t.test('field F19: the start warns of a pattern that matches hosts of others', async (t) => {
  const app = await startApp(t, { env: { CORS_ORIGINS: 'https://app-*-team.vercel.app, https://app-*.example.com' } })
  t.match(
    app.logLines().filter(({ msg }) => String(msg).startsWith('CORS_ORIGINS')),
    [{ msg: /people other than you/, origin: 'https://app-*-team.vercel.app' }]
  )
})

t.test('field F28: the log says which origin was refused, bounded and on one line', async (t) => {
  const app = await startApp(t)
  const long = `https://${'x'.repeat(1000)}.test`
  for (const origin of ['https://evil.test', long, 'https://a\u0085.test']) {
    await app.mint('client_secrets', {}, { origin })
    t.match(app.logLines().at(-1), { code: 'origin_not_allowed', origin: origin.slice(0, 256) })
    t.notMatch(app.log.kept.at(-1), /\u0085/)
  }
  await app.mint('client_secrets', {}, { 'sec-fetch-site': 'cross-site' })
  t.match(app.logLines().at(-1), { code: 'origin_not_allowed', origin: undefined })
  await app.mint('client_secrets', {}, { origin: ORIGIN, authorization: 'Bearer nonsense' })
  t.match(app.logLines().at(-1), { code: 'invalid_credentials', origin: undefined })
  await app.mint('client_secrets', {}, { origin: 'https://evil.test' })
  t.equal(app.auditLines().at(-1)?.origin, undefined)
})

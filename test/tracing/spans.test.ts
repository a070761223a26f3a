// Spans as a collector gets them: which there are, how they are linked, and what is never in them.

import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { startCalls } from '../calls/harness.ts'
import { looks } from '../calls/shared.ts'
import { type App, type AppOptions, CALLERS, POLICY, startApp } from '../support/app.ts'
import { type Collector, type Span, startCollector } from '../support/collector.ts'
import { NO_REDIS, startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { failure, GA } from '../support/upstream.ts'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const PARENT = '00f067aa0ba902b7'
const TRACEPARENT = `00-${TRACE}-${PARENT}-01`
const ROUTE = '/v1/realtime/client_secrets'
const MINT = `POST ${ROUTE}`
const CALL = 'POST /v1/realtime/calls'
const [SERVER, CLIENT] = [2, 3]

const SENT_AT_ONCE = { OTEL_BSP_SCHEDULE_DELAY: '1' }

function tracedBy ({ url }: Collector, env: Readonly<Record<string, string>> = {}) {
  return { OTEL_EXPORTER_OTLP_ENDPOINT: url, ...SENT_AT_ONCE, ...env }
}

async function startTraced (
  t: Test, { env = {}, ...options }: AppOptions = {}
): Promise<App & { collector: Collector }> {
  const collector = await startCollector(t)
  return { ...await startApp(t, { ...options, env: tracedBy(collector, env) }), collector }
}

async function listen (t: Test, answer: object, status = 200): Promise<{ url: string, headers: object[] }> {
  const headers: object[] = []
  const server = createServer((request, response) => {
    headers.push(request.headers)
    response.writeHead(status).end(JSON.stringify(answer))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, headers }
}

/** The server span and the client span of a name, which may share it. */
async function pair (collector: Collector, name: string): Promise<[server: Span, client: Span]> {
  await collector.span(name, 2)
  const of = (kind: number) => collector.spans().find((span) => span.name === name && span.kind === kind) as Span
  return [of(SERVER), of(CLIENT)]
}

t.test('operate: a refused request has a span with its status, and a code if it is ours', async (t) => {
  const app = await startTraced(t)
  const { collector } = app
  await app.mint('client_secrets', '[]')
  t.match(await collector.span(MINT), {
    kind: SERVER,
    parentSpanId: '',
    status: 0,
    attributes: {
      'http.request.method': 'POST',
      'http.route': '/v1/realtime/client_secrets',
      'url.scheme': 'http',
      'url.path': '/v1/realtime/client_secrets',
      'http.response.status_code': 400
    }
  })
  await app.mint('sessions', '{}', { authorization: undefined })
  t.equal((await collector.span('POST /v1/realtime/sessions')).attributes['http.response.status_code'], 401)
  await app.request('/canary/of/the/client?canary=1', { method: 'PUT' })
  t.strictSame((await collector.span('PUT')).attributes, {
    'http.request.method': 'PUT', 'url.scheme': 'http', 'http.response.status_code': 404
  }, 'no path that a client made up')
  await app.request('/canary', { method: 'PROPFIND' })
  t.equal((await collector.span('HTTP')).attributes['http.request.method'], '_OTHER')

  app.upstream.answer('/v1/realtime/translations/client_secrets', failure(500))
  await app.mint('translations/client_secrets', { session: { audio: { output: { language: 'de' } } } })
  const failed = 'POST /v1/realtime/translations/client_secrets'
  await collector.span(failed, 3)
  const spans = collector.spans().filter(({ name }) => name === failed)
  t.match(spans.filter(({ kind }) => kind === CLIENT), [
    { status: 2, attributes: { 'http.response.status_code': 500, 'error.type': '500' } },
    { status: 2, attributes: { 'http.response.status_code': 500, 'error.type': '500' } }
  ], 'each attempt')
  t.match(spans.find(({ kind }) => kind === SERVER), {
    status: 2, attributes: { 'http.response.status_code': 502, 'error.type': 'upstream_error' }
  })
})

t.test('operate: a mint is a span with one for upstream within, and the log lines have its trace', async (t) => {
  for (const protocol of ['http/protobuf', 'http/json']) {
    const app = await startTraced(t, {
      env: {
        OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
        OTEL_EXPORTER_OTLP_COMPRESSION: 'gzip',
        OTEL_SERVICE_NAME: 'mint-eu',
        OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test%20one,k8s.pod.name=mint-0'
      }
    })
    await app.mint('client_secrets', '{}')
    const [server, client] = await pair(app.collector, MINT)
    t.equal(server.parentSpanId, '', 'a root')
    t.equal(client.parentSpanId, server.spanId)
    t.equal(client.traceId, server.traceId)
    t.strictSame(client.attributes, {
      'http.request.method': 'POST',
      'url.full': `${app.upstream.url}/realtime/client_secrets`,
      'server.address': '127.0.0.1',
      'server.port': Number(new URL(app.upstream.url).port),
      'http.response.status_code': 200
    })
    t.match(server.resource, {
      'service.name': 'mint-eu',
      'service.version': /^\d/,
      'deployment.environment.name': 'test one',
      'k8s.pod.name': 'mint-0',
      'telemetry.sdk.name': 'opentelemetry'
    })
    t.match(app.auditLines().at(-1), { event: 'mint.granted', trace_id: server.traceId, parent_id: undefined })
    t.match(app.collector.posts[0], { path: '/v1/traces' })
  }
})

t.test('operate: the trace of a peer that is no trusted proxy is not continued', async (t) => {
  const app = await startTraced(t, { env: { TRUST_PROXY: '10.0.0.0/8' } })
  await app.mint('client_secrets', '{}', { traceparent: TRACEPARENT, tracestate: 'canary=1' })
  const [server, client] = await pair(app.collector, MINT)
  t.not(server.traceId, TRACE)
  t.equal(server.parentSpanId, '')
  t.notMatch(app.collector.posts.map(({ bytes }) => bytes.toString('latin1')).join(''), /canary=1/)
  t.equal(client.traceId, server.traceId)
})

t.test('operate: the trace of a trusted proxy is continued in spans and lines, and sent nowhere else', async (t) => {
  const app = await startTraced(t, { env: { TRUST_PROXY: '127.0.0.1' } })
  await app.mint('client_secrets', '{}', { traceparent: TRACEPARENT, tracestate: 'vendor=1', baggage: 'user=canary' })
  const [server, client] = await pair(app.collector, MINT)
  t.match(server, { traceId: TRACE, parentSpanId: PARENT, traceState: 'vendor=1' })
  t.match(client, { traceId: TRACE, parentSpanId: server.spanId })
  t.match(app.auditLines().at(-1), { event: 'mint.granted', trace_id: TRACE, parent_id: PARENT })
  for (const { headers } of app.upstream.requests) {
    t.strictSame(Object.keys(headers).filter((name) => /trace|baggage|b3|otel/.test(name)), [])
  }
})

t.test('operate: no credential, claim, address, query or body is in what a collector gets', async (t) => {
  const headers = { OTEL_EXPORTER_OTLP_HEADERS: 'x-canary-key=canary%20of%20the%20collector, x-team=voice' }
  const app = await startTraced(t, { env: { ...headers, TRUST_PROXY: '127.0.0.1' } })
  const sent = {
    'x-forwarded-for': '203.0.113.7',
    'user-agent': 'canary-agent',
    origin: 'https://app.test',
    host: 'canary.test',
    'x-request-id': 'id-of-the-gateway'
  }
  const token = await app.token({ sub: 'canary-subject' })
  const bearer = `Bearer ${token}`
  await app.mint('client_secrets?canary-query=1', { session: { audio: { output: { voice: 'cedar' } } } }, {
    ...sent, authorization: bearer
  })
  const headersOfIt = { ...sent, authorization: bearer }
  await app.request(`/v1/realtime/calls/${token}?canary-query=1`, { headers: headersOfIt })
  await pair(app.collector, MINT)
  t.equal((await app.collector.span('GET /v1/realtime/calls/:id')).attributes['url.path'], undefined)
  const [post] = app.collector.posts
  t.match(post?.headers, { 'x-canary-key': 'canary of the collector', 'x-team': 'voice' })
  const all = app.collector.posts.map(({ bytes }) => bytes.toString('latin1')).join('')
  for (const secret of [...app.canaries, ...app.upstream.secrets, token, '203.0.113.7']) t.notMatch(all, secret)
  t.notMatch(all, /canary|id-of-the-gateway|cedar|ada|user_agent|client\.|network\.|Bearer/)
  t.notMatch([...app.log.kept, ...app.audit.kept].join(''), /of the collector|of%20the/)
})

t.test('operate: requests for keys, introspection and the identity of a session have spans', async (t) => {
  const [asked, introspected] = [await listen(t, { id: 'canary-user' }), await listen(t, {}, 500)]
  const policy = POLICY.replace(CALLERS, `
callers:
  - jwt: { issuer: 'https://auth.test/', audience: voice, jwks: 'JWKS_URL' }
  - forward: { issuer: app, url: '${asked.url}/me?tenant=canary', header: x-session, pass: [x-session], subject: /id }
  - introspection:
      { issuer: opaque, url: '${introspected.url}/introspect', client_id: mint, client_secret_env: TOKEN_SECRET }
`).replace('when: { plan: pro }', 'when: any')
  const app = await startTraced(t, { policy, env: { TRUST_PROXY: '127.0.0.1' } })
  t.match(await app.collector.span('GET /jwks'), {
    kind: CLIENT, parentSpanId: '', attributes: { 'http.response.status_code': 200 }
  })
  const session = { authorization: undefined, 'x-session': 'canary-session' }
  await app.mint('client_secrets', '{}', { ...session, traceparent: TRACEPARENT })
  const [server] = await pair(app.collector, MINT)
  t.match(await app.collector.span('GET /me'), {
    traceId: TRACE, parentSpanId: server.spanId, attributes: { 'url.full': `${asked.url}/me` }
  })
  await app.mint('sessions', '{}', { authorization: 'Bearer canary-opaque', traceparent: TRACEPARENT })
  t.match(await app.collector.span('POST /introspect'), {
    traceId: TRACE, status: 2, attributes: { 'http.request.method': 'POST', 'error.type': '500' }
  })
  t.match((await app.collector.span('POST /v1/realtime/sessions')).attributes, { 'error.type': 'identity_unavailable' })
  t.notMatch(JSON.stringify([asked.headers, introspected.headers]), TRACE, 'and the trace is not passed on')
  t.notMatch(app.collector.posts.map(({ bytes }) => bytes.toString('latin1')).join(''), 'canary')
})

t.test('operate: a request that gets no answer is a span with the reason', async (t) => {
  const policy = POLICY.replace(CALLERS, `
callers:
  - jwt: { issuer: 'https://auth.test/', audience: voice, secret_env: TOKEN_SECRET }
  - forward: { issuer: app, url: 'http://127.0.0.1:1/api/me', header: x-session, pass: [x-session], subject: /id }
`)
  const app = await startTraced(t, { policy })
  await app.mint('client_secrets', '{}', { authorization: undefined, 'x-session': 'x' })
  t.match(await app.collector.span('GET /api/me'), { status: 2, attributes: { 'error.type': 'unreachable' } })
  app.upstream.answer(GA, (_request, response) => { response.socket?.destroy() })
  await app.mint('client_secrets', '{}')
  await app.collector.span(MINT, 3)
  t.match(app.collector.spans().find(({ kind, name }) => kind === CLIENT && name === MINT), {
    status: 2, attributes: { 'error.type': 'connection_reset' }
  })
})

t.test('operate: a client that is gone before its answer is named as the reason', async (t) => {
  const app = await startTraced(t, { env: { TRUST_PROXY: '127.0.0.1' } })
  app.upstream.answer(GA, () => {})
  const leave = new AbortController()
  const headers = { authorization: `Bearer ${await app.token()}`, 'x-forwarded-proto': 'https' }
  const asked = fetch(`${app.url}${ROUTE}`, { method: 'POST', headers, signal: leave.signal })
  await app.upstream.arrived(1)
  leave.abort()
  await t.rejects(asked)
  t.match(await app.collector.span(MINT), {
    kind: SERVER, status: 2, attributes: { 'error.type': 'client_gone', 'url.scheme': 'https' }
  })
})

t.test('operate: Redis has a span for each command of a request, with no key in it', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const app = await startTraced(t, { env: { REDIS_URL: redis.url } })
  await until('Redis to be up', async () => (await app.request('/readyz')).status === 200)
  await looks(redis, 2)
  await app.mint('client_secrets', '{}')
  const [server] = await pair(app.collector, MINT)
  const asked = await app.collector.span('EVALSHA')
  t.equal(asked.parentSpanId, server.spanId)
  t.strictSame(asked.attributes, {
    'db.system.name': 'redis',
    'db.operation.name': 'EVALSHA',
    'db.namespace': '0',
    'server.address': '127.0.0.1',
    'server.port': redis.port
  })
  redis.pause()
  await app.mint('client_secrets', '{}')
  redis.resume()
  await app.collector.span('EVALSHA', 2)
  t.match(app.collector.spans().filter(({ name }) => name === 'EVALSHA'), [
    { status: 0 }, { status: 2, attributes: { 'error.type': 'redis_timeout' } }
  ])
  t.same(app.collector.spans().filter(({ parentSpanId, kind }) => kind === CLIENT && parentSpanId === ''), [],
    'what no request waits for has none')
  t.same(app.collector.spans().filter(({ name }) => name === 'GET /readyz'), [], 'health checks have none')
})

t.test('operate: a call has spans for its creation, its sideband and its end', async (t) => {
  const collector = await startCollector(t)
  const app = await startCalls(t, { env: tracedBy(collector), calls: '{ on_change: end }' })
  const answer = await app.begin()
  t.equal(answer.status, 201)
  const [server, created] = await pair(collector, CALL)
  const opened = await collector.span('GET /v1/realtime')
  for (const { parentSpanId } of [created, opened]) t.equal(parentSpanId, server.spanId)
  t.match(opened.attributes, {
    'http.request.method': 'GET', 'http.response.status_code': 101, 'url.full': `${app.upstream.url}/realtime`
  })
  const [call] = app.upstream.calls
  await app.hangUp(answer.headers.get('location') as string)
  const ended = await collector.span('POST /v1/realtime/calls/{id}/hangup')
  t.match(ended, { kind: CLIENT, attributes: { 'http.response.status_code': 200 } })
  t.match(await collector.span('POST /v1/realtime/calls/:id/hangup'), { kind: SERVER })

  const another = await app.begin()
  t.equal(another.status, 201)
  const creation = (await collector.span(CALL, 4), collector.spans().filter(({ name }) => name === CALL)
    .find(({ kind, traceId }) => kind === SERVER && traceId !== server.traceId)) as Span
  app.upstream.calls[1]?.change({ instructions: 'You are Bob.' })
  await app.wrote('call.ended', 2)
  await collector.span('POST /v1/realtime/calls/{id}/hangup', 2)
  const late = collector.spans().filter(({ name, spanId }) =>
    name === 'POST /v1/realtime/calls/{id}/hangup' && spanId !== ended.spanId)
  for (const span of late) {
    t.match(span, { parentSpanId: '', links: [creation.spanId] }, 'a trace of its own, linked to the creation')
  }
  t.notMatch(JSON.stringify(collector.spans().map(({ name }) => name)), String(call?.id))
})

t.test('operate: a sideband that upstream refuses is a span with the status', async (t) => {
  const collector = await startCollector(t)
  const app = await startCalls(t, { env: tracedBy(collector) })
  app.upstream.onAttach(({ refuse }) => refuse(403, 'canary'))
  const begun = app.begin()
  t.match(await collector.span('GET /v1/realtime'), { status: 2, attributes: { 'http.response.status_code': 403 } })
  await app.pass(30_000)
  t.not((await begun).status, 201)
})

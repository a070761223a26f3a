// At most one retry, only where it is safe, and only within the deadline.

import dns from 'node:dns'
import { once } from 'node:events'
import { createServer } from 'node:net'
import t from 'tap'
import { startApp } from '../support/app.ts'
import { until } from '../support/until.ts'
import { failure, GA, hang, inSeconds, json, reset } from '../support/upstream.ts'

const minted = (value: string) => json(200, { value, expires_at: inSeconds(60), session: { type: 'realtime' } })

t.test('G19: an outcome that is safe to retry is retried once, and the second answer counts', async (t) => {
  const app = await startApp(t)
  const again = { headers: { 'retry-after-ms': '1' } }
  for (const [name, first] of [
    ['408', failure(408)], ['409', failure(409)], ['500', failure(500)], ['502', failure(502)], ['503', failure(503)], [
      '504', failure(504)
    ],
    ['429', failure(429, 'rate_limit_exceeded', again)], [
      '429 slow_down', failure(429, 'slow_down', again)
    ], ['429 without a code', failure(429, null, again)], ['429 that says no time', failure(429)],
    ['a reset', reset()]
  ] as const) {
    app.upstream.requests.length = 0
    app.upstream.answer(GA, first, minted('ek_canary_second'))
    app.upstream.secrets[0] = 'ek_canary_second'
    const { status, body } = await app.mint('client_secrets')
    t.match({ status, value: body.value }, { status: 200, value: 'ek_canary_second' }, name)
    t.equal(app.upstream.requests.length, 2)
    t.same(app.upstream.requests[0]?.body, app.upstream.requests[1]?.body)
    t.equal(
      app.upstream.requests[0]?.headers['x-client-request-id'], app.upstream.requests[1]?.headers['x-client-request-id']
    )
  }
})

t.test('G18, G19, fault 10: a pause that does not fit the deadline is not waited for', async (t) => {
  for (const status of [429, 503]) {
    const app = await startApp(t)
    app.upstream.answer(GA, failure(status, null, { headers: { 'retry-after': '30' } }))
    const begun = performance.now()
    const { headers } = await app.mint('client_secrets')
    t.ok(performance.now() - begun < 2500, 'answered at once')
    t.equal(headers.get('retry-after'), '30')
    t.equal(app.upstream.requests.length, 1)
  }
})

t.test('fault 10: while upstream limits us no request is sent, and then all are', async (t) => {
  const app = await startApp(t, { env: { UPSTREAM_TIMEOUT_MS: '500' } })
  app.upstream.answer(GA, failure(429, null, { headers: { 'retry-after-ms': '700' } }), minted('ek_later'))
  t.equal((await app.mint('client_secrets')).status, 429)
  const { status, body, headers } = await app.mint('client_secrets')
  t.equal(status, 429)
  t.match(body.error, { code: 'upstream_rate_limited' })
  t.equal(headers.get('retry-after'), '1')
  t.equal(app.upstream.requests.length, 1)
  await until('upstream is asked again', async () => (await app.mint('client_secrets')).status === 200)
  t.equal(app.upstream.requests.length, 2)
})

t.test('G14, G19: a retry does not outlive the deadline of the first attempt', async (t) => {
  const app = await startApp(t, { env: { UPSTREAM_TIMEOUT_MS: '1000' } })
  app.upstream.answer(GA, failure(500), hang)
  const { status } = await app.mint('client_secrets')
  t.equal(status, 504)
  t.equal(app.upstream.requests.length, 2)
})

t.test('G19: what the first attempt may have minted stays unknown, unless the second one minted', async (t) => {
  const app = await startApp(t)
  for (const second of [failure(400), failure(429, 'insufficient_quota'), failure(503), reset()]) {
    app.upstream.answer(GA, reset(), second)
    const { body } = await app.mint('client_secrets')
    t.match(body.error, { code: 'upstream_error' })
    t.match(app.auditLines().at(-1), { event: 'mint.unknown', reason: 'connection_reset' })
  }
})

t.test('edge L5: an attempt whose answer was reset is audited before what the second one did', async (t) => {
  const app = await startApp(t)
  const facts = { model: 'gpt-realtime-2.1', session_id: null, secret_sha256: null }
  const first = { event: 'mint.unknown', code: 'upstream_error', reason: 'connection_reset', ...facts }
  for (const [name, second, line] of [
    ['a mint', minted('ek_canary_second'), { event: 'mint.granted', code: null, secret_sha256: String }],
    ['a reset', reset(), first],
    ['a success that is no mint', json(200, {}), { event: 'mint.unknown', reason: 'unusable_answer' }],
    ['another success', json(202, {}), { event: 'mint.unknown', reason: 'upstream_202' }]
  ] as const) {
    const before = app.audit.kept.length
    app.upstream.answer(GA, reset(), second)
    app.upstream.secrets[0] = 'ek_canary_second'
    await app.mint('client_secrets')
    const lines = app.auditLines().slice(before)
    t.match(lines, [first, line], name)
    t.equal(lines.length, 2)
    t.equal(lines[0]?.request_id, lines[1]?.request_id)
  }
})

t.test('edge L5: a first attempt that cannot have minted leaves one line', async (t) => {
  const app = await startApp(t)
  app.upstream.secrets[0] = 'ek_canary_second'
  app.upstream.answer(GA, failure(503), minted('ek_canary_second'))
  await app.mint('client_secrets')
  t.match(app.auditLines(), [{ event: 'mint.granted' }])
  t.equal(app.audit.kept.length, 1)
})

t.test('fault 1: a name of which every address refuses is 503, and nothing can have been minted', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  // Such a name fails with an error for each of its addresses.
  const { lookup } = dns
  const both = ['127.0.0.1', '127.0.0.2'].map((address) => ({ address, family: 4 }))
  const twice = (name: string, options: object, done: (...answer: unknown[]) => void) =>
    name === 'two.test' ? done(null, both) : lookup(name, options, done as never)
  t.intercept(dns, 'lookup', { value: twice })
  const app = await startApp(t, { env: { OPENAI_BASE_URL: `http://two.test:${port}/v1`, OPENAI_ALLOW_HTTP: 'true' } })
  const { status, body } = await app.mint('client_secrets')
  t.equal(status, 503)
  t.match(body.error, { code: 'upstream_unavailable' })
  t.match(app.auditLines(), [{ event: 'mint.refused', reason: 'econnrefused' }])
})

t.test('fault 4: a server that speaks no TLS is 502, and is not asked again', async (t) => {
  let connections = 0
  const server = createServer((socket) => {
    connections++
    socket.on('error', () => {})
    socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const app = await startApp(
    t, { env: { OPENAI_BASE_URL: `https://127.0.0.1:${(server.address() as { port: number }).port}/v1` } }
  )
  t.match((await app.mint('client_secrets')).body.error, { code: 'upstream_error' })
  t.match(app.auditLines(), [{ event: 'mint.refused', reason: 'tls' }])
  t.equal(connections, 1)
})

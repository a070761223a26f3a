import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import t, { type Test } from 'tap'
import { buildOps } from '../src/ops.ts'
import { createLogger } from '../src/records/log.ts'
import { createMetrics } from '../src/records/metrics.ts'
import { startApp } from './support/app.ts'
import { keepLines } from './support/lines.ts'
import { exchange } from './support/raw-http.ts'
import { type Service, spawnService, startService, tokenOf } from './support/service.ts'
import { until } from './support/until.ts'
import { currentAnswer, GA, json, startUpstream } from './support/upstream.ts'

let common: ReturnType<typeof startWithOps> | undefined

t.test('F14: of the ops listener only the probes are on the public port', async (t) => {
  const { service } = await shared()
  for (const path of ['/metrics', '/openapi.json', '/docs', '/v1/metrics']) {
    t.equal((await service.ask(path)).status, 404, path)
  }
  for (const path of ['/livez', '/readyz']) t.equal((await service.ask(path)).status, 200, path)
})

t.test('F14: unknown addresses and files are 404, other methods 405 with the body unread, garbage 400', async (t) => {
  const { opsUrl } = await shared()
  for (const path of [
    '/.env', '/package.json', '/..%2f', '/docs/..%2f..%2fpackage.json', '/docs/..%2fpage.ts', '/docs.map',
    '/openapi.json.map', '/debug/pprof', '/heapdump'
  ]) t.equal((await fetch(opsUrl + path)).status, 404, path)
  t.equal((await fetch(`${opsUrl}/v1/realtime/client_secrets`)).status, 404)
  t.equal((await fetch(`${opsUrl}/metrics`, { method: 'DELETE' })).status, 405)
  t.equal((await fetch(
    `${opsUrl}/metrics`, { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } }
  )).status, 405)
  const socket = connect(Number(new URL(opsUrl).port), '127.0.0.1')
  socket.end('garbage\r\n\r\n')
  const [answer] = await once(socket, 'data')
  t.match(String(answer), /^HTTP\/1\.1 400 /)
})

t.test('operate: the time of refused and failed mints is measured too', async (t) => {
  const { service, upstream, opsUrl } = await startWithOps(t)
  upstream.answer(GA, json(500, {}))
  t.equal((await service.mint({ headers: {} })).status, 401)
  t.equal((await service.mint()).status, 502)
  const counts = [...(await (await fetch(`${opsUrl}/metrics`)).text())
    .matchAll(/^ephemint_mint_duration_seconds_count\{(.*)\} (\d+)$/gm)].map(([, labels, count]) => [labels, count])
  t.match(Object.fromEntries(counts), {
    'part="own",outcome="granted"': '0',
    'part="own",outcome="refused"': '1',
    'part="own",outcome="failed"': '1',
    'part="upstream",outcome="refused"': '0',
    'part="upstream",outcome="failed"': '1'
  })
})

t.test('edge L6: malformed requests are answered as on the public port', async (t) => {
  const app = await startApp(t)
  const ops = await buildOps(
    { log: createLogger('silent', keepLines()), metrics: createMetrics(), waitingFor: () => [] }
  )
  await ops.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(() => ops.close())
  const operations = { port: (ops.server.address() as AddressInfo).port }
  for (const name of [
    'headersTimeout', 'requestTimeout', 'connectionsCheckingInterval', 'requireHostHeader'
  ] as const) {
    t.equal(Reflect.get(ops.server, name), Reflect.get(app.server, name), name)
  }
  const host = 'Host: a\r\n\r\n'
  for (const [name, bytes, status, isLast = true] of [
    ['a URL that cannot be decoded', `GET /docs%ff HTTP/1.1\r\n${host}`, 400, false],
    ['no Host', 'GET /metrics HTTP/1.1\r\n\r\n', 400],
    ['two of them', `GET /livez HTTP/1.1\r\nHost: b\r\n${host}`, 400],
    ['CONNECT', `CONNECT a:80 HTTP/1.1\r\n${host}`, 400],
    ['RTSP', `GET /livez RTSP/1.0\r\n${host}`, 400],
    ['a URL of another host', `GET http://b/livez HTTP/1.1\r\n${host}`, 400],
    ['an expectation', `GET /livez HTTP/1.1\r\nExpect: coffee\r\n${host}`, 417],
    ['long headers', `GET /livez HTTP/1.1\r\nX: ${'x'.repeat(20_000)}\r\n${host}`, 431],
    ['no HTTP', 'no HTTP\r\n\r\n', 400]
  ] as const) {
    const [ours, theirs] = await Promise.all([operations, app].map((at) => exchange(at, bytes, isLast ? Infinity : 1)))
    t.same(ours?.map((answer) => answer.status), [status], name)
    t.same(ours?.map(({ text, headers }) =>
      [text, headers.get('connection')]), theirs?.map(({ text, headers }) => [text, headers.get('connection')]), name)
    t.match(ours?.[0]?.text, '"code":"invalid_request"', name)
  }
})

t.test('readiness names the part that is not ready, and no address', async (t) => {
  for (const [waitingFor, status] of [[['limits'], 503], [[], 200]] as const) {
    const ops = await buildOps(
      { log: createLogger('silent', keepLines()), metrics: createMetrics(), waitingFor: () => waitingFor }
    )
    const answer = await ops.inject('/readyz')
    t.equal(answer.statusCode, status)
    t.same(answer.json().waiting_for, waitingFor)
    t.equal((await ops.inject('/livez')).statusCode, 200)
    await ops.close()
  }
})

t.test('fault 26: without Redis the replica reports `limits` as not ready, without address or password', async (t) => {
  const upstream = await startUpstream(t)
  const env = { REDIS_URL: 'redis://mint:canary-password@127.0.0.1:1', OPS_HOST: '127.0.0.1', OPS_PORT: '0' }
  const [denying, alone] = await Promise.all([
    spawnService(t, { upstreamUrl: upstream.url, env }),
    startService(t, { upstreamUrl: upstream.url, env: { ...env, ON_REDIS_LOSS: 'local' } })
  ])
  const opsUrl = await opsUrlOf(denying)
  t.same(await unreadyParts(opsUrl), ['limits'])
  t.equal((await denying.ask('/readyz')).status, 503)
  t.match(await denying.mint(), { status: 503, code: 'limits_unavailable' })
  t.match(denying.log.find(({ msg }) => msg === 'Redis is lost: mints are refused'), { reason: /^redis_/ })
  t.notMatch(
    JSON.stringify([denying.log, denying.audit]) + denying.stderr() + await metricsOf(opsUrl), /canary|127\.0\.0\.1:1\b/
  )

  t.equal((await alone.mint()).status, 200)
  t.match(await metricsOf(await opsUrlOf(alone)), /ephemint_limits_degraded 1\n[^]*ephemint_limits_local_total 1\n/)
})

t.test('metrics that fail are a 500 of the catalogue, and the log has the class of the error', async (t) => {
  const log = keepLines()
  const metrics = { ...createMetrics(), text: async () => { throw new TypeError('canary') } }
  const ops = await buildOps({ log: createLogger('info', log), metrics, waitingFor: () => [] })
  const answer = await ops.inject('/metrics')
  t.equal(answer.statusCode, 500)
  t.equal(answer.json().error.code, 'internal_error')
  t.match(log.kept.join(''), '"type":"TypeError"')
  t.notMatch(answer.body + log.kept.join(''), 'canary')
  await ops.close()
})

t.test('F6: no label has a value that a caller chose', async (t) => {
  const { service, opsUrl } = await shared()
  const seriesOf = (text: string) => text.split('\n').filter((line) => line.startsWith('ephemint_')).length
  const ask = async (i: number) => {
    const plan = i % 2 === 0 ? 'pro' : `canary-${i}`
    const authorization = `Bearer ${await tokenOf({ sub: `canary-${i}`, email: `canary-${i}@example.com`, plan })}`
    await service.mint({
      headers: { authorization, 'content-type': 'application/json', 'user-agent': 'canary' },
      body: JSON.stringify({ session: { model: `canary-${i}` } })
    })
    await service.ask(`/v1/realtime/canary-${i}`)
  }
  for (let i = 0; i < 4; i++) await ask(i)
  const before = await until('the metrics', () => metricsOf(opsUrl))
  for (let i = 4; i < 60; i++) await ask(i)
  const after = await until('newer metrics', async () => {
    const text = await metricsOf(opsUrl)
    return /code="policy_violation"[^}]*} 30/.test(text) ? text : null
  })
  t.equal(seriesOf(after), seriesOf(before))
  t.notMatch(after, 'canary')
  t.notMatch(after, 'sk-')
})

t.test('the ops listener answers until the end of a stop, after the public port has closed', async (t) => {
  const { service, opsUrl, upstream } = await startWithOps(t, { DRAIN_SECONDS: '1' })
  let answer = () => {}
  upstream.answer(
    GA,
    (received, response) => { answer = () => json(200, currentAnswer(received, 'ek_canary_late'))(received, response) }
  )
  const minted = service.mint()
  await upstream.arrived(1)
  service.kill('SIGTERM')
  t.same(await until('the drain', () => unreadyParts(opsUrl)), ['drain'])
  await until('the public port to close', () => service.ask('/livez').then(() => false, () => true))
  t.same(await unreadyParts(opsUrl), ['drain'])
  t.match(await metricsOf(opsUrl), 'ephemint_in_flight 1')
  answer()
  t.equal((await minted).status, 200)
  t.match(await service.exited, { code: 0 })
  await t.rejects(fetch(`${opsUrl}/livez`))
})

async function startWithOps (t: Test, env: Record<string, string> = {}) {
  const upstream = await startUpstream(t)
  const service = await startService(
    t, { upstreamUrl: upstream.url, env: { OPS_HOST: '127.0.0.1', OPS_PORT: '0', ...env } }
  )
  return { service, upstream, opsUrl: await opsUrlOf(service) }
}

/** One service for all tests that neither break nor stop it. */
function shared () {
  common ??= startWithOps(t)
  return common
}

async function opsUrlOf ({ log }: Service): Promise<string> {
  return String((await until('it to say where it listens', () => log.find(({ msg }) => msg === 'listening'))).ops_url)
}

async function metricsOf (opsUrl: string): Promise<string> {
  return (await fetch(`${opsUrl}/metrics`)).text()
}

async function unreadyParts (opsUrl: string): Promise<string[] | null> {
  const response = await fetch(`${opsUrl}/readyz`)
  const { waiting_for: parts } = await response.json() as { waiting_for: string[] }
  return response.status === 503 ? parts : null
}

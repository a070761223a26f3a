import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { buildOps } from '../../src/ops.ts'
import { createLogger } from '../../src/records/log.ts'
import { createMetrics } from '../../src/records/metrics.ts'
import { BLOCKS } from '../docs/pages.ts'
import { type App, startApp } from '../support/app.ts'
import { assertAnswerHeaders } from '../support/invariants.ts'
import { keepLines } from '../support/lines.ts'
import { exchange, openSocket } from '../support/raw-http.ts'

t.test('readiness says which part is missing, and liveness does not care', async (t) => {
  let missing = ['identity']
  let draining = false
  const app = await startApp(t, { waitingFor: () => missing, isDraining: () => draining })
  const look = async (path: string) => {
    const answer = await app.request(path)
    assertAnswerHeaders(answer)
    return { status: answer.status, body: answer.body, connection: answer.headers.get('connection') }
  }
  t.same(
    await look('/readyz'),
    { status: 503, body: { status: 'unavailable', waiting_for: ['identity'] }, connection: 'keep-alive' }
  )
  t.same(await look('/livez'), { status: 200, body: { status: 'ok' }, connection: 'keep-alive' })
  missing = []
  t.same(await look('/readyz'), { status: 200, body: { status: 'ok', waiting_for: [] }, connection: 'keep-alive' })
  draining = true
  t.same(
    await look('/readyz'), { status: 503, body: { status: 'unavailable', waiting_for: ['drain'] }, connection: 'close' }
  )
  t.same(await look('/livez'), { status: 200, body: { status: 'ok' }, connection: 'close' })
})

t.test('while it drains it still mints, and gives up each connection', async (t) => {
  const app = await startApp(t, { isDraining: () => true })
  const { status, headers } = await app.mint('client_secrets')
  t.equal(status, 200)
  t.equal(headers.get('connection'), 'close')
})

/** Starts both listeners, which wait for `missing`. */
async function startBoth (t: Test, missing: () => string[]) {
  const app = await startApp(t, { waitingFor: missing })
  const ops = await buildOps(
    { log: createLogger('silent', keepLines()), metrics: createMetrics(), waitingFor: missing }
  )
  await ops.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(() => ops.close())
  return [app, { port: (ops.server.address() as AddressInfo).port }]
}

t.test('B6, field F22: without a Host every other route is 400, and health routes are strict otherwise', async (t) => {
  for (const at of await startBoth(t, () => [])) {
    for (const bytes of [
      'GET /v1/realtime/policy HTTP/1.0\r\n\r\n', 'POST /v1/realtime/client_secrets HTTP/1.0\r\n\r\n',
      'GET /metrics HTTP/1.0\r\n\r\n', 'GET /docs HTTP/1.1\r\n\r\n', 'GET / HTTP/1.0\r\n\r\n',
      'GET /readyz/ HTTP/1.0\r\n\r\n', 'POST /readyz HTTP/1.0\r\n\r\n', 'GET /nowhere HTTP/1.1\r\n\r\n',
      'GET /readyz HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n', 'GET http://a/readyz HTTP/1.0\r\n\r\n',
      'GET /readyz\r\n\r\n',
      'GET /readyz HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'
    ]) {
      const [answer] = await exchange(at, bytes)
      t.equal(answer?.status, 400, bytes)
      t.match(answer?.text, 'invalid_request')
    }
  }
})

t.test('field F22: health routes answer whatever a load balancer sends, on both listeners', async (t) => {
  let missing: string[] = []
  for (const at of await startBoth(t, () => missing)) {
    for (const [path, isReady] of [['/livez', true], ['/readyz', true], ['/readyz', false]] as const) {
      missing = isReady ? [] : ['limits']
      for (const [head, hasBody] of [
        [`GET ${path} HTTP/1.0\r\n\r\n`, true],
        [`HEAD ${path} HTTP/1.0\r\n\r\n`, false],
        [`OPTIONS ${path} HTTP/1.0\r\n\r\n`, true],
        [`GET ${path} HTTP/1.0\r\nHost:\r\n\r\n`, true],
        [`GET ${path} HTTP/1.0\r\nUser-Agent: kube-probe\r\nConnection: close\r\n\r\n`, true],
        [`GET ${path}?from=lb HTTP/1.1\r\nConnection: close\r\n\r\n`, true],
        [`HEAD ${path} HTTP/1.1\r\nHost: 10.0.0.7:8080\r\nConnection: close\r\n\r\n`, false],
        [`GET ${path} HTTP/1.1\r\nHost: a b#@\r\nConnection: close\r\n\r\n`, true]
      ] as const) {
        const answer = await exchangeText(at, head)
        t.match(answer, isReady ? /^HTTP\/1\.1 200 OK\r\n/ : /^HTTP\/1\.1 503 /, `${head} ${isReady}`)
        t.equal(/\r\n\r\n\{"status":/.test(answer), hasBody, head)
        t.match(answer, /cache-control: no-store/i)
      }
    }
  }
})

/** Reads until the connection closes, because the answer to a HEAD has a length and no body. */
async function exchangeText (at: Pick<App, 'port'>, bytes: string): Promise<string> {
  const socket = await openSocket(at)
  const answer = text(socket)
  socket.write(bytes)
  return answer
}

t.test('field F29: no page answers at /, and ingresses that ask there are shown where to ask', async (t) => {
  const app = await startApp(t)
  t.equal((await app.request('/')).status, 404)
  const shown = BLOCKS.filter(({ text }) => /ingress|HealthCheckPolicy/i.test(text) && text.includes('/readyz'))
  const names = ['alb.ingress.kubernetes.io/healthcheck-path: /readyz', 'kind: BackendConfig', 'requestPath: /readyz']
  for (const name of names) t.ok(shown.some(({ text }) => text.includes(name)), name)
})

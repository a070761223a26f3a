// Fault 33: SIGTERM under load. Readiness fails first, mints in flight finish, idle connections are not awaited.

import { once } from 'node:events'
import { type IncomingMessage, request as httpRequest } from 'node:http'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { createClients, startCountingUpstream } from '../support/counting.ts'
import { startFaultProxy } from '../support/fault-proxy.ts'
import { type Service, startService, tokenOf } from '../support/service.ts'
import { until } from '../support/until.ts'

t.jobs = 3

async function startDraining (t: Test, env: Record<string, string> = {}, isCounted = false) {
  const upstream = await startCountingUpstream(t, 0)
  const proxy = await startFaultProxy(t, { host: '127.0.0.1', port: upstream.port })
  const service = await startService(t, { upstreamUrl: `http://${proxy.host}/v1`, env, isCounted })
  return { upstream, proxy, service }
}

async function open (t: Test, { port }: Service, text = ''): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write(text)
  return socket
}

const answered = async (socket: Socket) => String((await once(socket, 'data'))[0])

t.test('fault 33: readiness fails at once, while mints are answered for DRAIN_SECONDS with Connection: close', {
  buffered: true
}, async (t) => {
  const { service } = await startDraining(t, { DRAIN_SECONDS: '2' })
  const clients = createClients(service.url, 1)
  t.teardown(clients.close)
  const before = await clients.mint(await tokenOf())
  t.equal(before?.closes, false)
  service.kill('SIGTERM')
  const readiness = await until('readiness to fail', async () => {
    const answer = await service.ask('/readyz')
    return answer.status === 503 ? answer : null
  })
  t.same(readiness.body, { status: 'unavailable', waiting_for: ['drain'] })
  t.equal((await service.ask('/livez')).status, 200)
  const during = await clients.mint(await tokenOf())
  t.equal(during?.status, 200)
  t.equal(during?.closes, true)
  const { code, afterMs } = await service.exited
  t.equal(code, 0)
  t.ok(afterMs >= 2000 && afterMs < 4000, `${afterMs} ms`)
})

t.test('fault 33: a mint in flight gets its answer, and new ones on open connections are refused', {
  buffered: true
}, async (t) => {
  const { proxy, service } = await startDraining(t)
  const idle = await open(t, service, 'GET /livez HTTP/1.1\r\nHost: a\r\n\r\n')
  t.match(await answered(idle), /^HTTP\/1.1 200/)
  // Half of a request: its connection is not idle, and its end may arrive within a second.
  const late = await open(t, service, 'POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: a\r\n')
  await proxy.inject({ slow: 1500 })
  const clients = createClients(service.url, 1)
  t.teardown(clients.close)
  const exchanges = proxy.exchanges()
  const minting = clients.mint(await tokenOf())
  await until('the mint to be in flight', () => proxy.exchanges() > exchanges)
  service.kill('SIGTERM')
  await until('the listener to be closed', () => open(t, service).then(() => false, () => true))
  late.write(`Authorization: Bearer ${await tokenOf()}\r\nContent-Length: 0\r\n\r\n`)
  const refusal = await answered(late)
  t.match(refusal, /^HTTP\/1.1 503/)
  t.match(refusal, /"code":"draining"/)
  t.match(refusal, /connection: close/i)
  const answer = await minting
  t.equal(answer?.status, 200)
  t.equal(answer?.closes, true)
  t.equal((await service.exited).code, 0)
})

t.test('fault 33: idle, silent, half-sent and unread connections do not delay the exit', {
  buffered: true
}, async (t) => {
  const { service } = await startDraining(t, { KEEP_ALIVE_SECONDS: '75' })
  const idle = await open(t, service, 'GET /livez HTTP/1.1\r\nHost: a\r\n\r\n')
  await answered(idle)
  await Promise.all([
    open(t, service),
    open(t, service, 'POST /v1/realtime/sess'),
    open(
      t,
      service,
      'POST /v1/realtime/sessions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{'
    ),
    open(
      t,
      service,
      [
        'POST /v1/realtime/sessions HTTP/1.1', 'Host: a', `Authorization: Bearer ${await tokenOf()}`,
        'Content-Type: application/json', 'Content-Length: 20', '', '{'
      ].join('\r\n')
    )
  ])
  const unread = await open(t, service)
  unread.pause()
  unread.write('GET /livez HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(5000))
  service.kill('SIGTERM')
  const { code, afterMs } = await service.exited
  t.equal(code, 0)
  t.ok(afterMs < 3000, `${afterMs} ms`)
})

t.test('fault 33: a mint in flight whose client has gone is audited before the exit', {
  buffered: true
}, async (t) => {
  const { upstream, proxy, service } = await startDraining(t, {}, true)
  await proxy.inject({ slow: 700 })
  const exchanges = proxy.exchanges()
  const request = httpRequest(
    `${service.url}/v1/realtime/client_secrets`,
    { method: 'POST', headers: { authorization: `Bearer ${await tokenOf()}` }, agent: false }
  )
  request.on('error', () => {}).end()
  await until('the mint to be in flight', () => proxy.exchanges() > exchanges)
  request.destroy()
  service.kill('SIGTERM')
  t.equal((await service.exited).code, 0)
  t.equal(upstream.minted.length, 1)
  t.same(service.audit.map(({ event }) => event), ['mint.granted', 'mint.undelivered'])
  t.equal(service.audit[0]?.request_id, service.audit[1]?.request_id)
})

t.test('fault 33: a mint that upstream never answers ends at its deadline, and so does the drain', {
  buffered: true
}, async (t) => {
  const { proxy, service } = await startDraining(t, { UPSTREAM_TIMEOUT_MS: '1500' })
  await proxy.inject('hang')
  const clients = createClients(service.url, 1)
  t.teardown(clients.close)
  const exchanges = proxy.exchanges()
  const minting = clients.mint(await tokenOf())
  await until('the mint to be in flight', () => proxy.exchanges() > exchanges)
  service.kill('SIGTERM')
  const answer = await minting
  t.equal(answer?.status, 504)
  const { code, afterMs } = await service.exited
  t.equal(code, 0)
  t.ok(afterMs < 4000, `${afterMs} ms`)
})

t.test('fault 33: a DRAIN_SECONDS that leaves no time to finish is shortened with a warning', {
  buffered: true
}, async (t) => {
  const { service } = await startDraining(t, { DRAIN_SECONDS: '20', UPSTREAM_TIMEOUT_MS: '21000' }, true)
  const warning = service.log.find(({ msg }) => String(msg).startsWith('DRAIN_SECONDS is shortened'))
  t.equal(warning?.drain_ms, 1000)
  service.kill('SIGTERM')
  const { code, afterMs } = await service.exited
  t.equal(code, 0)
  t.ok(afterMs < 4000, `${afterMs} ms`)
})

t.test('fault 33: KEEP_ALIVE_SECONDS is sent to clients', { buffered: true }, async (t) => {
  const { service } = await startDraining(t, { KEEP_ALIVE_SECONDS: '77' })
  const [response] = await once(httpRequest(`${service.url}/livez`).end(), 'response') as [IncomingMessage]
  response.resume()
  t.equal(response.headers['keep-alive'], 'timeout=77')
})

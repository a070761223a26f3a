// Load is shed at once: too many requests, a lagging event loop, a nearly full heap.

import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { syncBuiltinESMExports } from 'node:module'
import { connect, type Socket } from 'node:net'
import v8 from 'node:v8'
import { fastify, type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { type Clock, systemClock } from '../../src/clock.ts'
import { registerOverload } from '../../src/http/overload.ts'
import { registerRefusals } from '../../src/http/refusals.ts'
import { createTestClock } from '../support/clock.ts'
import { startCountingUpstream } from '../support/counting.ts'
import { startService } from '../support/service.ts'
import { until } from '../support/until.ts'

/** An answer larger than the kernel's buffers, for a client that does not read. */
const BIG_BYTES = 16 * 1024 * 1024

async function startBounded (t: Test, maxInFlight: number, clock: Clock = systemClock) {
  const app = fastify({ forceCloseConnections: true }) as unknown as FastifyInstance
  const reasons: unknown[] = []
  const waiting: (() => void)[] = []
  registerRefusals(app, ({ reason }) => { reasons.push(reason) })
  app.get('/livez', async () => ({}))
  await app.register(async (bounded) => {
    registerOverload(bounded, clock, maxInFlight)
    bounded.get('/held', () => new Promise((resolve) => waiting.push(() => resolve({}))))
    bounded.get('/', async () => ({}))
    bounded.get('/big', async () => 'x'.repeat(BIG_BYTES))
    bounded.post('/', async () => ({}))
  })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(() => app.close())
  const get = async (path: string, init: RequestInit = {}) => fetch(url + path, init)
  const open = async (text: string): Promise<Socket> => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    t.teardown(() => socket.destroy())
    socket.on('error', () => {})
    await once(socket, 'connect')
    socket.pause().write(text)
    return socket
  }
  return { get, open, server: app.server, reasons, waiting }
}

t.test('edge H1a: unread answers take no place from other requests', async (t) => {
  // Answers of that size keep the event loop of this process busy: with a clock that stands still it is never late.
  const { get, open, server, reasons } = await startBounded(t, 2, createTestClock())
  const answered: ServerResponse[] = []
  server.on('request', (_request, response) => answered.push(response))
  for (let i = 0; i < 4; i++) {
    await open('GET /big HTTP/1.1\r\nHost: a\r\n\r\n')
    await until('the answer to be handed over', () => answered[i]?.writableEnded)
  }
  await until('an answer', async () => (await get('/')).status === 200)
  for (let i = 0; i < 20; i++) await get('/')
  t.notOk(reasons.includes('in_flight'))
  t.same(
    answered.slice(0, 4).map(({ writableFinished }) => writableFinished),
    [false, false, false, false],
    'none of them was read'
  )
})

t.test('edge M3a: unfinished bodies take no place from other requests', async (t) => {
  const { get, open, server, reasons } = await startBounded(t, 2)
  let asked = 0
  server.on('request', () => { asked++ })
  for (let i = 0; i < 10; i++) {
    await open('POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{')
  }
  await until('the slow ones', () => asked === 10)
  await until('an answer', async () => (await get('/')).status === 200)
  for (let i = 0; i < 20; i++) await get('/')
  t.notOk(reasons.includes('in_flight'))
})

t.test('fault 15, fault 38: requests beyond the bound are 503 at once, health checks excepted', async (t) => {
  const { get, reasons, waiting } = await startBounded(t, 2)
  const held = [get('/held'), get('/held')]
  await until('the bound', () => waiting.length === 2)
  const refused = await get('/')
  t.equal(refused.status, 503)
  t.equal(refused.headers.get('retry-after'), '1')
  t.match(await refused.json(), { error: { code: 'overloaded' } })
  t.same(reasons, ['in_flight'])
  t.equal((await get('/livez')).status, 200)
  for (const resolve of waiting) resolve()
  t.same((await Promise.all(held)).map(({ status }) => status), [200, 200])
  t.equal((await get('/')).status, 200)
})

t.test('fault 31, fault 48: a client that hangs up no longer counts', async (t) => {
  const { get, waiting } = await startBounded(t, 2)
  const leaving = new AbortController()
  const held = [get('/held', leaving), get('/held', leaving)]
  await until('the bound', () => waiting.length === 2)
  leaving.abort()
  await Promise.allSettled(held)
  await until('room', async () => (await get('/')).status === 200)
})

t.test('fault 37: load is shed while the event loop lags, and served afterwards', async (t) => {
  const { get, reasons } = await startBounded(t, 100)
  t.equal((await get('/')).status, 200)
  await until('load to be shed', async () => {
    block(1700)
    return (await get('/')).status === 503
  }, 20_000)
  t.equal(reasons.at(-1), 'event_loop')
  await until('service', async () => (await get('/')).status === 200)
})

function block (ms: number): void {
  const endsAt = performance.now() + ms
  while (performance.now() < endsAt);
}

t.test('fault 38: load is shed while the heap is nearly full, and served afterwards', async (t) => {
  const { getHeapStatistics } = v8
  let share = 0.9
  t.intercept(v8, 'getHeapStatistics', {
    value: () => ({ ...getHeapStatistics(), used_heap_size: share * getHeapStatistics().heap_size_limit })
  })
  syncBuiltinESMExports()
  t.teardown(syncBuiltinESMExports)
  const { get, reasons } = await startBounded(t, 100)
  await until('load to be shed', async () => (await get('/')).status === 503)
  t.equal(reasons.at(-1), 'heap')
  t.equal((await get('/livez')).status, 200)
  share = 0.5
  await until('service', async () => (await get('/')).status === 200)
})

t.test('fault 38: with a heap of 64 MB a flood is answered and the process lives', async (t) => {
  const upstream = await startCountingUpstream(t, 20)
  const service = await startService(
    t, { upstreamUrl: upstream.url, args: ['--max-old-space-size=64'], env: { LOG_LEVEL: 'warn' } }
  )
  const body = JSON.stringify({ session: { instructions: 'x'.repeat(30_000) } })
  const statuses = new Map<number, number>()
  for (let i = 0; i < 10; i++) {
    const flood = Array.from({ length: 100 }, async (_, j) =>
      service.mint(j % 2 === 0 ? {} : { body, headers: { 'content-type': 'application/json' } }))
    for (const { status } of await Promise.all(flood)) statuses.set(status, (statuses.get(status) ?? 0) + 1)
  }
  t.equal([...statuses.values()].reduce((sum, count) => sum + count, 0), 1000)
  t.same([...statuses.keys()].filter((status) => ![200, 401, 429, 503].includes(status)), [])
  t.equal(service.child.exitCode, null)
  await until('service', async () => (await service.ask('/readyz')).status === 200)
})

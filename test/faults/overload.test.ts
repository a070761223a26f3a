// What cannot be served in time is told so at once: too many at a time, a loop that lags, a heap that is nearly full.
// Runs alone: it measures the lag of the event loop.

import { fastify, type FastifyInstance } from 'fastify'
import { syncBuiltinESMExports } from 'node:module'
import v8 from 'node:v8'
import t, { type Test } from 'tap'
import { registerAnswers } from '../../src/http/refusals.ts'
import { registerOverload } from '../../src/http/overload.ts'
import { startCountingUpstream } from '../support/counting.ts'
import { startService } from '../support/service.ts'
import { until } from '../support/until.ts'

t.setTimeout(60_000)

async function startBounded (t: Test, maxInFlight: number) {
  const app = fastify({ forceCloseConnections: true }) as unknown as FastifyInstance
  const reasons: unknown[] = []
  const waiting: (() => void)[] = []
  registerAnswers(app, ({ reason }) => { reasons.push(reason) })
  app.get('/livez', async () => ({}))
  await app.register(async (bounded) => {
    registerOverload(bounded, maxInFlight)
    bounded.get('/held', () => new Promise((resolve) => waiting.push(() => resolve({}))))
    bounded.get('/', async () => ({}))
  })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(() => app.close())
  const get = async (path: string, init: RequestInit = {}) => fetch(url + path, init)
  return { get, reasons, waiting }
}

t.test('fault 15, fault 38: more requests at a time than the bound are 503 at once, and health is not among them', async (t) => {
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

t.test('fault 31, fault 48: whoever hangs up is counted no more', async (t) => {
  const { get, waiting } = await startBounded(t, 2)
  const leaving = new AbortController()
  const held = [get('/held', leaving), get('/held', leaving)]
  await until('the bound', () => waiting.length === 2)
  leaving.abort()
  await Promise.allSettled(held)
  await until('room', async () => (await get('/')).status === 200)
})

t.test('fault 37: a loop that lags sheds load, and serves again when it no longer does', async (t) => {
  const { get, reasons } = await startBounded(t, 100)
  t.equal((await get('/')).status, 200)
  await until('load to be shed', async () => {
    block(2000)
    return (await get('/')).status === 503
  }, 20_000)
  t.equal(reasons.at(-1), 'event_loop')
  await until('service', async () => (await get('/')).status === 200)
})

function block (ms: number): void {
  const endsAt = performance.now() + ms
  while (performance.now() < endsAt);
}

t.test('fault 38: a heap that is nearly full sheds load, and serves again when it is not', async (t) => {
  const { getHeapStatistics } = v8
  let share = 0.9
  t.intercept(v8, 'getHeapStatistics', { value: () => ({ ...getHeapStatistics(), used_heap_size: share * getHeapStatistics().heap_size_limit }) })
  syncBuiltinESMExports()
  t.teardown(syncBuiltinESMExports)
  const { get, reasons } = await startBounded(t, 100)
  await until('load to be shed', async () => (await get('/')).status === 503)
  t.equal(reasons.at(-1), 'heap')
  t.equal((await get('/livez')).status, 200)
  share = 0.5
  await until('service', async () => (await get('/')).status === 200)
})

t.test('fault 38: with a heap of 64 MB, a flood is answered, and the process lives', async (t) => {
  const upstream = await startCountingUpstream(t, 20)
  const service = await startService(t, { upstreamUrl: upstream.url, args: ['--max-old-space-size=64'], env: { LOG_LEVEL: 'warn' } })
  const body = JSON.stringify({ session: { instructions: 'x'.repeat(30_000) } })
  const statuses = new Map<number, number>()
  for (let i = 0; i < 10; i++) {
    const flood = Array.from({ length: 100 }, async (_, j) => service.mint(j % 2 === 0 ? {} : { body, headers: { 'content-type': 'application/json' } }))
    for (const { status } of await Promise.all(flood)) statuses.set(status, (statuses.get(status) ?? 0) + 1)
  }
  t.equal([...statuses.values()].reduce((sum, count) => sum + count, 0), 1000)
  t.same([...statuses.keys()].filter((status) => ![200, 401, 429, 503].includes(status)), [])
  t.equal(service.child.exitCode, null)
  await until('service', async () => (await service.ask('/readyz')).status === 200)
})

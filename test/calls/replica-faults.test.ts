// Starts first: leases follow the clock of Redis, and each test takes half a minute. All run at once.
// Shared calls when a replica is stopped or cut off from Redis, and when Redis loses its data.

import t, { type Test } from 'tap'
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts'
import { NO_REDIS } from '../support/redis.ts'
import type { Service } from '../support/service.ts'
import { until } from '../support/until.ts'
import { hang } from '../support/upstream.ts'
import type { Call } from '../support/upstream-call.ts'
import {
  type CallReplicas, type CallReplicasOptions, startCallReplicas
} from './call-replicas.ts'
import { policyOf } from './harness.ts'

t.jobs = 8

let starting: Promise<unknown> = Promise.resolve()

/** Starts one world after the other: a dozen services that start at once are all late. */
function start (t: Test, options: CallReplicasOptions = {}): Promise<CallReplicas> {
  const world = starting.then(() => startCallReplicas(t, options))
  starting = world.catch(() => {})
  return world
}

const endsOf = (service: Service) => service.audit.filter(({ event }) => event === 'call.ended')
const idsOf = (lines: readonly object[]) => new Set(lines.map((line) => (line as { call_id: string }).call_id))

/** Asserts that every call of upstream has ended with a line, and every call that was started too. */
async function assertBooks (t: Test, world: CallReplicas): Promise<void> {
  const ended = await world.wrote('call.ended', world.upstream.calls.length)
  t.same(new Set(ended.map((line) => line.upstream_call_id)), new Set(world.upstream.calls.map(({ id }) => id)))
  for (const id of idsOf(world.lines('call.started'))) t.ok(idsOf(ended).has(id), 'what began has ended')
  t.equal(world.upstream.live(), 0)
}

t.test('H14, fault 50: a replica that was stopped for 40 s does nothing to calls that another has now', {
  skip: NO_REDIS
}, async (t) => {
  const world = await start(t)
  const [one, two] = world.replicas as [Service, Service]
  const path = await world.call(one)
  const call = world.upstream.calls[0] as Call
  const stoppedAt = performance.now()
  one.kill('SIGSTOP')
  await until('another sideband', () => world.upstream.attaches.length === 2, 40_000)
  await until('40 s', () => performance.now() - stoppedAt > 40_000, 40_000)
  one.kill('SIGCONT')
  await until('it to know', () => one.log.some(({ msg }) => /lease on calls has run out/.test(String(msg))))
  t.equal(world.upstream.hangUps.length, 0)
  t.equal(call.isLive(), true)
  await until('it to find the call at the other one', async () => (await world.get(one, path)).body.status === 'live')
  t.match((await world.hangUp(one, path)).body, { status: 'ended', end_reason: 'client' })
  t.same(endsOf(one), [])
  t.match(endsOf(two), [{ reason: 'client', started: true, complete: false }])
  t.equal(world.upstream.hangUps.length, 1)
  await assertBooks(t, world)
})

async function startCutOff (t: Test, onLoss: string) {
  const proxies: FaultProxy[] = []
  const world = await start(t, {
    env: { ON_REDIS_LOSS: onLoss },
    redisUrl: async ({ url, port }, i) => {
      if (i > 0) return url
      const proxy = await startFaultProxy(t, { host: '127.0.0.1', port })
      proxies.push(proxy)
      return `redis://${proxy.host}`
    }
  })
  const [cut, other] = world.replicas as [Service, Service]
  return { world, proxy: proxies[0] as FaultProxy, cut, other }
}

t.test('fault 51: cut off from Redis for 20 s, a replica ends its calls while its lease stands', {
  skip: NO_REDIS
}, async (t) => {
  const { world, proxy, cut, other } = await startCutOff(t, 'deny')
  const path = await world.call(cut)
  const call = world.upstream.calls[0] as Call
  const cutAt = performance.now()
  await proxy.inject('refuse')
  await until('new calls to be refused', async () => (await world.begin(cut, 'bob')).code === 'limits_unavailable')
  t.match((await world.get(cut, path)).body, { status: 'live' })
  await until('it to be hung up', () => !call.isLive(), 30_000)
  const tookMs = performance.now() - cutAt
  t.ok(tookMs > 18_000 && tookMs < 27_000, `${tookMs} ms`)
  await until('its line', () => endsOf(cut).length > 0)
  t.match(endsOf(cut), [{ reason: 'supervision_lost', unfenced: true, hangup_confirmed: true }])
  await until('the other one to find it ended', () => endsOf(other).length === 1, 30_000)
  t.match(endsOf(other), [{ reason: 'ended' }])
  t.equal(world.upstream.hangUps.length, 1)
  await assertBooks(t, world)
  await proxy.inject('pass')
  await until('it to be back', async () => (await world.begin(cut)).status === 201)
  await world.operate(cut, '/calls/hangup', { all: true })
  await world.wrote('call.ended', 3)
  await assertBooks(t, world)
})

t.test('fault 51: where calls go on without Redis, a replica that comes back lets go of those that another has', {
  skip: NO_REDIS
}, async (t) => {
  const { world, proxy, cut, other } = await startCutOff(t, 'local')
  const path = await world.call(cut)
  const call = world.upstream.calls[0] as Call
  await proxy.inject('refuse')
  await until('Redis to be lost', () => cut.log.some(({ msg }) => /Redis is lost/.test(String(msg))))
  const alone = await world.call(cut, 'bob')
  t.match(await world.begin(cut, 'bob'), { status: 409 }, 'counted alone')
  await until('another sideband', () => world.upstream.attaches.length === 3, 45_000)
  t.equal(call.isLive(), true, 'two watch it')
  t.same(world.lines('call.ended'), [])
  await proxy.inject('pass')
  await until('it to let go', () => cut.log.some(({ msg }) => /another replica has taken a call/.test(String(msg))))
  await until('the other one to know the new call', async () =>
    (await world.get(other, alone, 'bob')).body.status === 'live')
  t.match((await world.hangUp(other, path)).body, { status: 'ended', end_reason: 'client' })
  t.match((await world.hangUp(other, alone, 'bob')).body, { status: 'ended', end_reason: 'client' })
  t.equal(world.upstream.hangUps.length, 2)
  t.same(idsOf(await world.wrote('call.ended', 2)).size, 2)
  t.same(world.lines('call.ended').length, 2)
  await assertBooks(t, world)
})

t.test('fault 52: a Redis that is restarted empty gets its calls back before others take their places', {
  skip: NO_REDIS
}, async (t) => {
  const world = await start(t)
  const [one, two] = world.replicas as [Service, Service]
  const path = await world.call(one)
  await world.redis.kill()
  await until('it to be lost', async () => (await world.begin(two)).code === 'limits_unavailable')
  await world.redis.start()
  const codes = new Set<string | null>()
  await until('places to be known', async () => {
    const { status, code } = await world.begin(two)
    codes.add(code)
    return status === 409
  }, 30_000)
  t.same(codes, new Set(['limits_unavailable', 'call_in_progress']), 'and no second call meanwhile')
  t.equal(world.upstream.creations.length, 1)
  t.match((await world.get(two, path)).body, { status: 'live' })
  await world.hangUp(two, path)
  t.match(await world.wrote('call.ended', 1), [{ reason: 'client', complete: true }])
  await assertBooks(t, world)
})

t.test('fault 49: a replica that is killed while a call is created leaves its place taken for a minute', {
  skip: NO_REDIS
}, async (t) => {
  const world = await start(t, { policy: policyOf({ limits: '{ day: 9, call_seconds: { hour: 600 } }' }) })
  const [one, two] = world.replicas as [Service, Service]
  world.upstream.onCreate(hang)
  world.begin(one).catch(() => {})
  await world.upstream.asked(1)
  one.kill('SIGKILL')
  t.match(await world.begin(two), { status: 409 })
  t.match(await world.wrote('call.unknown', 1, 40_000), [
    { reason: 'replica_lost', policy: 'pro', issuer: 'https://auth.test/' }
  ])
  t.match(await world.begin(two), { status: 409 })
})

t.test('H14: a damaged record is refused, and its call hung up where its id is known', {
  skip: NO_REDIS
}, async (t) => {
  const world = await start(t)
  const [one, two] = world.replicas as [Service, Service]
  const path = await world.call(one)
  const key = `{ephemint}:calls:call:${path.split('/').at(-1)}`
  one.kill('SIGKILL')
  await one.exited
  const data = await world.redis.control.hget(key, 'data') as string
  await world.redis.control.hset(key, 'data', data.replace('"claims":{', '"claims":7,"x":{'))
  await world.redis.control.zadd('{ephemint}:calls:leases', '1', 'nobody')
  await until('it to be hung up', () => world.upstream.hangUps.length === 1, 40_000)
  t.match(await world.wrote('call.ended', 1), [{ reason: 'supervision_lost', complete: false }])
  t.ok(two.log.some(({ msg }) => /record of a call is damaged/.test(String(msg))))
  t.equal((await world.begin(two)).status, 201, 'its place is free')
})

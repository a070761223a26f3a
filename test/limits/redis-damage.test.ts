// Runs alone: Redis is lost after a quarter of a second without an answer.

import t from 'tap'
import { createMemoryStore } from '../../src/limits/memory.ts'
import { NO_REDIS, startRedis, type RedisServer } from '../fakes/redis.ts'
import { until } from '../fakes/until.ts'
import { ADA, connectStore, openStore } from './store.ts'

const KEY = '{ephemint}:caller:ada:minute'

t.test('E14: what is no window of ours is an error and not zero, also where a replica may count alone', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  for (const local of [null, createMemoryStore()]) {
    const store = await connectStore(t, redis, { local })
    const spoilt: Record<string, () => Promise<unknown>> = {
      'a list': () => redis.control.rpush(KEY, '1 a'),
      'no number': () => redis.control.set(KEY, 'one a', 'PX', 60_000),
      'a number without an id': () => redis.control.set(KEY, '1', 'PX', 60_000),
      'a negative number': () => redis.control.set(KEY, '-1 a', 'PX', 60_000),
      'no end': () => redis.control.set(KEY, '1 a')
    }
    for (const [name, spoil] of Object.entries(spoilt)) {
      await redis.control.del(KEY)
      await spoil()
      await t.rejects(async () => store.take([ADA]), { code: 'limits_unavailable', reason: 'redis_damaged' }, name)
      await t.rejects(async () => store.peek([ADA]), { code: 'limits_unavailable', reason: 'redis_damaged' })
      t.equal(await redis.control.exists('{ephemint}:caller:ada:day'), 0, 'and nothing is taken from the others')
    }
    t.equal((await store.take([{ key: 'caller:bob', windows: { minute: 1 } }])).taken, true, 'others are served')
    t.ok(store.isUp())
    await redis.control.flushall()
  }
})

t.test('E14: a window that was spoilt meanwhile gets nothing back', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const store = await connectStore(t, redis)
  const take = await store.take([ADA])
  await redis.control.del(KEY)
  await redis.control.rpush(KEY, 'x')
  await take.giveBack()
  t.equal(await redis.control.type(KEY), 'list')
  t.equal(await redis.control.exists('{ephemint}:caller:ada:day'), 0, 'the other window did')
})

t.test('E14: windows that are gone before their time are an error once, told and counted, and then begin anew', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const [one, two] = [await connectStore(t, redis), await connectStore(t, redis)]
  await one.take([ADA])
  await two.take([ADA])
  await redis.control.flushall()
  for (const store of [one, two]) {
    const asked = await Promise.allSettled([store.take([ADA]), store.peek([ADA])])
    t.same(asked.map(({ status }) => status), ['rejected', 'rejected'])
    t.match(asked[0], { reason: { code: 'limits_unavailable', reason: 'redis_lost' } })
    t.equal(store.counts().dataLosses, 1)
    t.equal((await store.take([ADA])).taken, true)
  }
  t.match(await one.peek([ADA]), [{ remaining: 0 }, { remaining: 8 }])
  t.match(one.messages().at(-1), 'Redis has lost its windows')
})

t.test('E14: a restart that kept nothing is told too', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const store = await connectStore(t, redis)
  await store.take([ADA])
  await restart(redis)
  await until('the loss to be seen', () => store.counts().dataLosses === 1)
  await until('Redis to be up', store.isUp)
  t.equal((await store.take([ADA])).taken, true)
})

t.test('windows of which none can be open any more are no loss', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  let now = 0
  const store = await connectStore(t, redis, { now: () => now })
  await store.take([ADA])
  await redis.control.flushall()
  now += 86_400_000
  t.equal((await store.take([ADA])).taken, true)
  t.equal(store.counts().dataLosses, 0)
})

t.test('E14: a Redis that may evict windows is not relied on, and is once it may not', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t, '--maxmemory', '64mb', '--maxmemory-policy', 'volatile-lru')
  const store = openStore(t, redis)
  await until('the refusal to be told', () => store.log.kept.some((line) => line.includes('redis_evicts_keys')))
  await t.rejects(async () => store.take([ADA]), { code: 'limits_unavailable' })
  t.notOk(store.isReady())
  await redis.control.config('SET', 'maxmemory-policy', 'noeviction')
  await until('Redis to be up', store.isUp)
})

t.test('the rights that the README names are enough; without INFO there is a warning', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  for (const right of ['+info', '-info']) {
    await redis.control.call('ACL', 'SETUSER', 'mint', 'on', '>secret', '~{ephemint}:*', '+eval', '+evalsha', '+get', '+set', '+del', '+pttl', '+select', right)
    const store = await connectStore(t, { address: { ...redis.address, username: 'mint', password: 'secret', database: 1 } })
    const take = await store.take([ADA])
    t.equal(take.taken, true)
    await take.giveBack()
    t.equal(store.counts().notGivenBack, 0)
    t.equal(store.messages().join().includes('Redis does not say its maxmemory-policy'), right === '-info')
  }
})

async function restart (redis: RedisServer): Promise<void> {
  await redis.kill()
  await redis.start()
}

import t from 'tap'
import { createMemoryStore } from '../../src/limits/memory.ts'
import { NO_REDIS, type RedisServer, startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { ADA, connectStore, openStore } from './store.ts'

t.jobs = 4

const KEY = '{ephemint}:caller:ada:minute'

t.test('E14, edge L7: what is no window of ours is an error and not zero, also where a replica may count alone', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t)
  for (const local of [null, createMemoryStore()]) {
    const store = await connectStore(t, redis, { local })
    const spoilt: Record<string, () => Promise<unknown>> = {
      'a list': () => redis.control.rpush(KEY, '1 a'),
      'no number': () => redis.control.set(KEY, 'one a', 'PX', 60_000),
      'a number without an id': () => redis.control.set(KEY, '1', 'PX', 60_000),
      'a negative number': () => redis.control.set(KEY, '-1 a', 'PX', 60_000),
      'a number of 20 digits': () => redis.control.set(KEY, '99999999999999999999 a', 'PX', 60_000),
      'a number of 400 digits': () => redis.control.set(KEY, `${'9'.repeat(400)} a`, 'PX', 60_000),
      'a number of 16 digits': () => redis.control.set(KEY, '1000000000000000 a', 'PX', 60_000),
      'a number that begins with zero': () => redis.control.set(KEY, '01 a', 'PX', 60_000),
      'refunds of 20 digits': () => redis.control.set(KEY, '1 a 99999999999999999999', 'PX', 60_000),
      'refunds that are no number': () => redis.control.set(KEY, '1 a b', 'PX', 60_000),
      nothing: () => redis.control.set(KEY, '', 'PX', 60_000),
      'no end': () => redis.control.set(KEY, '1 a')
    }
    for (const [name, spoil] of Object.entries(spoilt)) {
      await redis.control.del(KEY)
      await spoil()
      await t.rejects(async () => store.take([ADA]), { code: 'limits_unavailable', reason: 'redis_damaged' }, name)
      await t.rejects(async () => store.peek([ADA]), { code: 'limits_unavailable', reason: 'redis_damaged' })
      t.equal(await redis.control.exists('{ephemint}:caller:ada:day'), 0, 'and nothing is taken from the others')
      const spoilt = await redis.control.dump(KEY)
      await t.rejects(async () => store.take([ADA]), { code: 'limits_unavailable' })
      t.same(await redis.control.dump(KEY), spoilt, 'nor is anything written into it')
    }
    await redis.control.set(KEY, '999999999999999 a', 'PX', 60_000)
    t.match(await store.take([ADA]), { taken: false, windows: [{ remaining: 0 }, {}] }, 'a large count is one')
    t.equal((await store.take([{ key: 'caller:bob', windows: { minute: 1 } }])).taken, true, 'others are served')
    t.ok(store.isUp())
    await redis.control.flushall()
  }
})

t.test('E14: a window that was spoilt meanwhile gets nothing back', { skip: NO_REDIS, buffered: true }, async (t) => {
  const redis = await startRedis(t)
  const store = await connectStore(t, redis)
  const take = await store.take([ADA])
  await redis.control.del(KEY)
  await redis.control.rpush(KEY, 'x')
  await take.giveBack()
  t.equal(await redis.control.type(KEY), 'list')
  t.equal(await redis.control.exists('{ephemint}:caller:ada:day'), 0, 'the other window did')
})

t.test('E14: windows that are gone before their time are an error once, logged and counted, and then start again', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
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

t.test('E14: a restart that kept nothing is logged too', { skip: NO_REDIS, buffered: true }, async (t) => {
  const redis = await startRedis(t)
  const store = await connectStore(t, redis)
  await store.take([ADA])
  await restart(redis)
  await until('the loss to be seen', () => store.counts().dataLosses === 1)
  await until('Redis to be up', store.isUp)
  t.equal((await store.take([ADA])).taken, true)
})

t.test('windows of which none can be open any more are no loss', { skip: NO_REDIS, buffered: true }, async (t) => {
  const redis = await startRedis(t)
  let now = 0
  const store = await connectStore(t, redis, { now: () => now })
  await store.take([ADA])
  await redis.control.flushall()
  now += 86_400_000
  t.equal((await store.take([ADA])).taken, true)
  t.equal(store.counts().dataLosses, 0)
})

t.test('E14: a Redis that may evict windows is not relied on, and is once it may not', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t, '--maxmemory', '64mb', '--maxmemory-policy', 'volatile-lru')
  const store = openStore(t, redis)
  await until('the refusal to be logged', () => store.log.kept.some((line) => line.includes('redis_evicts_keys')))
  await t.rejects(async () => store.take([ADA]), { code: 'limits_unavailable' })
  t.notOk(store.isReady())
  await redis.control.config('SET', 'maxmemory-policy', 'noeviction')
  await until('Redis to be up', store.isUp)
})

t.test('edge L7: a window that was spoilt by a number too large gets nothing back, and no refund', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t)
  const store = await connectStore(t, redis)
  for (const how of ['giveBack', 'refund'] as const) {
    const take = await store.take([ADA])
    const id = String(await redis.control.get(KEY)).split(' ')[1]
    const spoilt = `99999999999999999999 ${id}`
    await redis.control.set(KEY, spoilt, 'PX', 60_000)
    await take[how]()
    t.equal(await redis.control.get(KEY), spoilt)
    t.equal(store.counts().notGivenBack, 0)
    await redis.control.del(KEY)
  }
  t.match(await store.peek([ADA]), [{ remaining: 2 }, { remaining: 10 }], 'the other window did')
})

t.test('edge L7: a Redis that may evict windows from now on is noticed within 5 s', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t, '--maxmemory', '64mb')
  const store = await connectStore(t, redis)
  t.equal((await store.take([ADA])).taken, true)
  await redis.control.config('SET', 'maxmemory-policy', 'allkeys-lru')
  await until('the change to be noticed', () => !store.isUp(), 5000)
  const line = { reason: 'redis_evicts_keys', msg: 'Redis is lost: mints are refused' }
  t.match(JSON.parse(store.log.kept.at(-1) ?? ''), line)
  await t.rejects(async () => store.take([ADA]), { code: 'limits_unavailable' })
  await redis.control.config('SET', 'maxmemory-policy', 'noeviction')
  await until('Redis to be up', store.isUp)
  t.match(await store.peek([ADA]), [{ remaining: 1 }, {}], 'and it counts on')
})

t.test('the rights that docs/deploying.md names are enough; without INFO there is a warning', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t)
  for (const right of ['+info', '-info']) {
    await redis.control.call(
      'ACL',
      'SETUSER',
      'mint',
      'on',
      '>secret',
      '~{ephemint}:*',
      '+eval',
      '+evalsha',
      '+get',
      '+set',
      '+del',
      '+pttl',
      '+select',
      right
    )
    const store = await connectStore(
      t, { address: { ...redis.address, username: 'mint', password: 'secret', database: 1 } }
    )
    const take = await store.take([ADA])
    t.equal(take.taken, true)
    await take.giveBack()
    t.equal(store.counts().notGivenBack, 0)
    t.equal(store.messages().join().includes('Redis does not report its maxmemory-policy'), right === '-info')
  }
})

async function restart (redis: RedisServer): Promise<void> {
  await redis.kill()
  await redis.start()
}

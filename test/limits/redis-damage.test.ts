import t, { type Test } from 'tap'
import { createSharedCalls } from '../../src/calls/shared.ts'
import type { Placed } from '../../src/limits/limits.ts'
import { createMemoryStore } from '../../src/limits/memory.ts'
import type { RedisStore } from '../../src/limits/redis.ts'
import { MARKER } from '../../src/redis/scripts.ts'
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

t.test('H14: a script that meets what it cannot read is no loss of Redis', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t)
  const store = await connectStore(t, redis)
  await redis.control.hset('{ephemint}:calls:call:rtc_1', 'state', 'live', 'fence', '1')
  await t.rejects(
    store.connection.ask((scripts) => scripts.releaseCall(1, MARKER, 'rtc_1', 'no number', 0)),
    { code: 'limits_unavailable', reason: 'redis_damaged' }
  )
  t.ok(store.isUp())
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

const RIGHTS = [
  '~{ephemint}:*', '+eval', '+evalsha', '+get', '+set', '+del', '+exists', '+pttl', '+pexpire', '+time', '+hget',
  '+hgetall', '+hmget', '+hset', '+hsetnx', '+hdel', '+zadd', '+zrem', '+zcard', '+zcount', '+zrange',
  '+sadd', '+srem', '+sismember', '+zrangebyscore', '+rpush', '+lrange', '+ltrim', '+select'
]

t.test('the rights that docs/deploying.md names are enough; without INFO there is a warning', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t)
  for (const right of ['+info', '-info']) {
    await redis.control.call('ACL', 'SETUSER', 'mint', 'on', '>secret', ...RIGHTS, right)
    const store = await connectStore(
      t, { address: { ...redis.address, username: 'mint', password: 'secret', database: 1 } }
    )
    const take = await store.take([ADA])
    t.equal(take.taken, true)
    await take.giveBack()
    t.equal(store.counts().notGivenBack, 0)
    t.equal(store.messages().join().includes('Redis does not report its maxmemory-policy'), right === '-info')
    await assertCall(t, store)
  }
})

t.test('call: an end that is claimed after Redis was emptied is no key that stays for ever', {
  skip: NO_REDIS
}, async (t) => {
  const redis = await startRedis(t)
  const store = await connectStore(t, redis)
  const shared = createSharedCalls(store.connection)
  t.equal(await shared.claim('lost', 1, { line: '{}', view: '{}' }), true)
  t.ok(await redis.control.pttl('{ephemint}:calls:call:lost') > 0)
})

/** Takes a call from its beginning to its end, over two replicas. */
async function assertCall (t: Test, store: RedisStore): Promise<void> {
  const shared = createSharedCalls(store.connection)
  const { marker } = await shared.look('one', 0, { marker: '', isLeaving: true, handled: 0 })
  const before = { marker, isLeaving: false, handled: 0 }
  await shared.look('two', 30_000, before)
  t.equal((await shared.look('three', 0, before)).others, 1, 'one that leaves takes no calls')
  const call = async (id: string, whenFull: 'refuse' | 'replace') => store.reserve({
    buckets: [{ key: 'policy:pro', windows: { day: 9 } }],
    seconds: [{ key: 'caller:ada:seconds', windows: { hour: 600 } }],
    most: 60,
    least: 5,
    credit: null,
    place: { call: id, replica: 'one', caller: 'ada', policy: 'pro', concurrent: 1, whenFull, total: 9, data: '{}' }
  })
  const old = (await call('old', 'refuse')).placed as Placed
  const facts = { caller: 'ada', policy: 'pro', seconds: 60, data: '{}', view: '{}' }
  t.same(await shared.write('one', [{ ...facts, id: 'old', fence: old.fence, state: 'live', ageMs: 1 }]), [old.fence])
  await t.rejects(call('new', 'refuse'), { code: 'call_in_progress' })
  const { fence, replaces } = (await call('new', 'replace')).placed as Placed
  t.equal(replaces, 'old')
  await shared.look('one', 30_000, { ...before, isLeaving: true })
  const offered = { ...facts, id: 'old', fence: old.fence, state: 'offered', ageMs: 1 } as const
  t.same(await shared.write('one', [offered]), [old.fence])
  t.equal(await shared.claim('old', old.fence, { line: '{}', view: '{}' }), true)
  t.same(await shared.adopt('two', { most: 9 }), [], 'its own replica ends it')
  await shared.release('old', old.fence, null)
  t.match(await shared.read(['old']), [{ state: 'claimed' }], 'nor does one that took it for lost give all back')
  await shared.look('one', 0, { ...before, isLeaving: true })
  await shared.release('old', old.fence, 59)
  t.match(await shared.read(['old', 'new']), [{ state: 'done' }, { state: 'creating', isWaiting: false }])
  t.same(await shared.list({ caller: 'ada' }), ['new'])
  for (const state of ['offered', 'ending', 'offered', 'live', 'offered'] as const) {
    t.same(await shared.write('one', [{ ...facts, id: 'new', fence, state, ageMs: 1 }]), [fence])
    t.match(await shared.look('two', 30_000, before), { offered: state === 'offered' ? 1 : 0 })
  }
  const [adopted] = await shared.adopt('two', { most: 9 })
  t.match(adopted, { id: 'new', from: 'one', isOffered: true })
  await shared.handOver([{ id: 'new', data: '{}' }])
  await shared.post('operator', ['new'])
  const again = await shared.adopt('two', { most: 9, again: ['new'] })
  t.match(again, [{ id: 'new', from: 'two', isOffered: false, fields: { rest: '{}' } }])
  const message = { call: 'new', text: 'operator' }
  t.match(await shared.look('two', 30_000, before), { own: 1, messages: [message] })
  t.match(await shared.look('two', 30_000, before), { messages: [message] }, 'what was not handled comes again')
  t.match(await shared.look('two', 0, { ...before, handled: 1 }), { messages: [] })
  t.same(await shared.adopt('three', { most: 9, isOnlyOffered: true }), [])
  t.match(await shared.adopt('three', { most: 9 }), [{ id: 'new', from: 'two', isOffered: false }])
  await shared.release('new', Number.MAX_SAFE_INTEGER, null)
  await shared.write('forgotten', [{ ...facts, id: 'late', fence: 1, state: 'live', ageMs: 1 }])
  const late = await shared.adopt('three', { most: 9 })
  t.match(late, [{ id: 'late', from: 'forgotten' }], 'what is written late is found')
  await shared.release('late', Number.MAX_SAFE_INTEGER, null)
  t.same(await shared.list(null), [])
}

async function restart (redis: RedisServer): Promise<void> {
  await redis.kill()
  await redis.start()
}

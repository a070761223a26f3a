// Runs alone: answers are held to a deadline in milliseconds.

import t from 'tap'
import type { Bucket } from '../../src/limits/limits.ts'
import { createMemoryStore } from '../../src/limits/memory.ts'
import { startApp } from '../support/app.ts'
import { startFaultProxy } from '../support/fault-proxy.ts'
import { addressOf, NO_REDIS, startRedis } from '../support/redis.ts'
import { startFakeRedis } from '../support/resp.ts'
import { until } from '../support/until.ts'
import { ADA, connectStore, type OpenedStore, openStore } from './store.ts'

t.jobs = 4

const ANSWER_WITHIN_MS = 250
/** The same bound, with time for a busy machine. */
const IN_TIME_MS = 1000
const BACK_WITHIN_MS = 5000
const UNAVAILABLE = { code: 'limits_unavailable', statusCode: 503, retryAfterSeconds: 1 }

t.test('fault 26: where Redis is down at the start nothing is minted, and the replica is ready once Redis is up', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t)
  await redis.kill()
  const store = openStore(t, redis)
  await t.rejects(async () => store.take([ADA]), UNAVAILABLE)
  await t.rejects(async () => store.peek([ADA]), UNAVAILABLE)
  t.notOk(store.isReady())
  await redis.start()
  await until('the store to be ready', store.isReady, BACK_WITHIN_MS)
  t.equal((await store.take([ADA])).taken, true)
})

t.test('fault 26: where replicas may count alone they are ready without Redis, and report that they do', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t)
  await redis.kill()
  const store = openStore(t, redis, { local: createMemoryStore() })
  t.ok(store.isReady())
  t.same(await takeUntilRefused(store), 2)
  t.match(await store.peek([ADA]), [{ remaining: 0 }, { remaining: 8 }])
  t.notOk(store.isUp())
  t.equal(store.counts().local, 3)
  await until('the loss to be logged', () => store.messages().includes('Redis is lost: each replica counts alone'))
})

t.test('fault 27: where Redis dies under load every mint is answered in time, and the loss is logged once', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t)
  const store = await connectStore(t, redis)
  const began = performance.now()
  const takeOf = (bucket: Bucket) =>
    Promise.allSettled(Array.from({ length: 200 }, async () => store.take([bucket])))
  const asked = takeOf({ key: 'caller:many', windows: { minute: 1000 } })
  await redis.kill()
  const settled = [...await asked, ...await takeOf(ADA)]
  t.ok(performance.now() - began < IN_TIME_MS)
  for (const { reason } of settled.filter((one) => one.status === 'rejected')) t.match(reason, UNAVAILABLE)
  t.ok(settled.slice(200).every(({ status }) => status === 'rejected'))
  t.equal(store.messages().filter((message) => message === 'Redis is lost: mints are refused').length, 1)
})

t.test('fault 28: a Redis that hangs is waited for once, and then no longer', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t)
  const store = await connectStore(t, redis)
  redis.pause()
  t.teardown(() => redis.resume())
  const first = await timed(async () => store.take([ADA]))
  t.match(first.error, { ...UNAVAILABLE, reason: 'redis_timeout' })
  t.ok(first.tookMs < IN_TIME_MS)
  const next = await timed(async () => store.take([ADA]))
  t.match(next.error, UNAVAILABLE)
  t.ok(next.tookMs < ANSWER_WITHIN_MS, `${next.tookMs} ms`)
})

t.test('fault 28: a Redis that answers a second late is as good as none', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t)
  const proxy = await startFaultProxy(t, redis.address)
  const store = await connectStore(t, { address: addressOf(proxy.port) }, { local: createMemoryStore() })
  await proxy.inject({ slow: 1000 })
  t.equal(await takeUntilRefused(store), 2)
  t.ok(store.counts().local > 0)
  await proxy.inject('pass')
  await until('Redis to be up', store.isUp, BACK_WITHIN_MS)
})

t.test('fault 28: what was taken by an answer that came too late is given back', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t)
  const store = await connectStore(t, redis)
  await store.take([ADA])
  const place = {
    replica: 'one', caller: 'ada', policy: 'pro', concurrent: 1, total: null, data: '{}'
  }
  redis.pause()
  await Promise.all([
    t.rejects(async () => store.take([ADA]), UNAVAILABLE),
    ...['rtc_late', 'rtc_later'].map((call) => t.rejects(async () => store.reserve({
      buckets: [], seconds: [], most: 60, least: 5, credit: null, place: { ...place, call, whenFull: 'refuse' }
    }), UNAVAILABLE))
  ])
  redis.resume()
  await until('Redis to be up', store.isUp, BACK_WITHIN_MS)
  await until('it to be given back', async () => (await store.peek([ADA]))[0]?.remaining === 1)
  await until('its place, too', async () => await redis.control.exists('{ephemint}:calls:call:rtc_late') === 0)
})

t.test('fault 28: a connection on which nothing comes back is replaced', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t)
  await Promise.all([{}, { password: 'unasked', database: 3 }].map(async (more) => {
    const proxy = await startFaultProxy(t, redis.address)
    await proxy.inject('hang')
    const store = openStore(t, { address: { ...addressOf(proxy.port), ...more } })
    await until('another connection', () => proxy.connections() >= 2)
    await proxy.inject('pass')
    await until('Redis to be up', store.isUp, BACK_WITHIN_MS)
  }))
})

t.test('fault 28: errors of the whole server are its loss', { buffered: true }, async (t) => {
  const errors = [
    'LOADING Redis is loading the dataset in memory', 'MOVED 4242 127.0.0.1:7001',
    'READONLY You can\'t write against a read only replica.', 'OOM command not allowed', 'BUSY Redis is busy',
    'CLUSTERDOWN The cluster is down', 'MASTERDOWN Link with MASTER is down', 'MISCONF Errors writing to the AOF file',
    'NOAUTH Authentication required.', 'ERR unknown command'
  ]
  await Promise.all(errors.map(async (error) => {
    let isWell = false
    const redis = await startFakeRedis(
      t, (name) => isWell ? (name === 'INFO' ? '$0\r\n\r\n' : '*2\r\n:1\r\n$1\r\na\r\n') : `-${error}\r\n`
    )
    const store = openStore(t, redis)
    await until('the loss to be logged', () => store.messages().includes('Redis is lost: mints are refused'))
    await t.rejects(async () => store.take([ADA]), UNAVAILABLE, error)
    t.notOk(store.isReady())
    isWell = true
    await until('Redis to be up', store.isUp, BACK_WITHIN_MS)
    isWell = false
    await t.rejects(async () => store.take([ADA]), UNAVAILABLE, error)
    t.notOk(store.isUp(), error)
  }))
})

t.test('fault 28: a connection that breaks during a check is no server that hides its policy', {
  buffered: true
}, async (t) => {
  const taken = '*2\r\n:1\r\n$1\r\na\r\n'
  const store = openStore(t, await startFakeRedis(t, (name) => name === 'INFO' ? null : taken))
  await until('the loss to be logged', () => store.messages().includes('Redis is lost: mints are refused'))
  t.notMatch(store.messages().join(), 'maxmemory-policy')
})

t.test('fault 28: a Redis that takes no writes is lost until it does', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t)
  const store = await connectStore(t, redis)
  const rows: [string, () => Promise<unknown>, () => Promise<unknown>][] = [
    ['redis_oom', () =>
      redis.control.config('SET', 'maxmemory', '1'), () => redis.control.config('SET', 'maxmemory', '0')],
    ['redis_readonly', () => redis.control.replicaof('127.0.0.1', 1), () => redis.control.replicaof('NO', 'ONE')]
  ]
  for (const [reason, spoil, mend] of rows) {
    await spoil()
    await t.rejects(async () => store.take([ADA]), { ...UNAVAILABLE, reason })
    t.notOk(store.isUp())
    await mend()
    await until('Redis to be up', store.isUp, BACK_WITHIN_MS)
  }
  t.equal((await store.take([ADA])).taken, true)
})

t.test('fault 28: a Redis that a foreign script blocks is lost until that ends', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t, '--lua-time-limit', '10')
  const store = await connectStore(t, redis)
  const killer = redis.control.duplicate()
  t.teardown(() => killer.disconnect())
  await killer.ping()
  const blocking = redis.control.eval('while true do end', 0).catch(() => {})
  await until('Redis to be lost', () => Promise.resolve(store.take([ADA])).then(() => false, () => !store.isUp()))
  await killer.script('KILL')
  await blocking
  await until('Redis to be up', store.isUp, BACK_WITHIN_MS)
})

t.test('fault 28: a database that cannot be selected is not quietly another one', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t)
  const store = openStore(t, { address: { ...redis.address, database: 4242 } })
  await until('the loss to be logged', () => store.messages().includes('Redis is lost: mints are refused'))
  await t.rejects(async () => store.take([ADA]), UNAVAILABLE)
  t.equal(await redis.control.dbsize(), 0)
})

t.test('fault 29: Redis returns, counts go on where they were, and within five seconds', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t, '--appendonly', 'yes', '--appendfsync', 'always')
  const store = await connectStore(t, redis)
  await store.take([ADA])
  await redis.kill()
  await until('the loss to be seen', () => !store.isUp())
  await t.rejects(async () => store.take([ADA]), UNAVAILABLE)
  await redis.start()
  await until('Redis to be up', store.isUp, BACK_WITHIN_MS)
  t.equal(await takeUntilRefused(store), 1)
  t.equal(store.counts().dataLosses, 0)
  t.ok(store.messages().includes('Redis is back'))
})

t.test('fault 29: a mint that fails while Redis is lost keeps its own error, stays counted, and that is counted', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t)
  const proxy = await startFaultProxy(t, redis.address)
  const store = await connectStore(t, { address: addressOf(proxy.port) })
  const [one, two] = [await store.take([ADA]), await store.take([ADA])]
  await proxy.inject('hang')
  await one.giveBack()
  t.notOk(store.isUp(), 'lost in the very moment of giving back')
  await two.giveBack()
  t.equal(store.counts().notGivenBack, 2)
})

t.test('fault 30: replicas that count alone mint up to the limit each, also after losing Redis twice', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t)
  const replicas = await Promise.all([1, 2, 3].map(() => connectStore(t, redis, { local: createMemoryStore() })))
  for (let loss = 0; loss < 2; loss++) {
    await redis.kill()
    const minted = await Promise.all(replicas.map(takeUntilRefused))
    t.same(minted, loss === 0 ? [2, 2, 2] : [0, 0, 0])
    await redis.start()
    for (const replica of replicas) await until('Redis to be up', replica.isUp, BACK_WITHIN_MS)
  }
})

t.test('E13: without Redis a mint is 503 with Retry-After and reaches no upstream, unless replicas may count alone', {
  skip: NO_REDIS, buffered: true
}, async (t) => {
  const redis = await startRedis(t)
  await redis.kill()
  const refusing = await startApp(t, { limits: openStore(t, redis) })
  const { status, headers, body } = await refusing.mint('client_secrets')
  t.equal(status, 503)
  t.equal(headers.get('retry-after'), '1')
  t.match(body, { error: { code: 'limits_unavailable' } })
  const alone = await startApp(t, { limits: openStore(t, redis, { local: createMemoryStore() }) })
  t.equal((await alone.mint('client_secrets')).status, 200)
})

async function takeUntilRefused (store: OpenedStore): Promise<number> {
  for (let taken = 0; ; taken++) if (!(await store.take([ADA])).taken) return taken
}

async function timed (ask: () => Promise<unknown>): Promise<{ error: unknown, tookMs: number }> {
  const began = performance.now()
  const error = await ask().catch((cause) => cause)
  return { error, tookMs: performance.now() - began }
}

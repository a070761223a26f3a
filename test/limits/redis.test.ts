import t from 'tap'
import { startFaultProxy } from '../support/fault-proxy.ts'
import { addressOf, NO_REDIS, startRedis } from '../support/redis.ts'
import { ADA, connectStore, openStore } from './store.ts'

t.test('a window with nothing left refuses, and then nothing is taken from any', { skip: NO_REDIS }, async (t) => {
  const store = await connectStore(t, await startRedis(t))
  const total = { key: 'policy:pro', windows: { hour: 1 } }
  t.equal((await store.take([ADA, total])).taken, true)
  const refused = await store.take([ADA, total])
  t.match(refused, {
    taken: false,
    windows: [{ window: 'minute', remaining: 1 }, { window: 'day', remaining: 9 }, { key: 'policy:pro', remaining: 0 }]
  })
  await refused.giveBack()
  t.match(await store.peek([ADA, total]), [{ remaining: 1 }, { remaining: 9 }, { remaining: 0 }])
})

t.test('a window that has ended gets nothing back that was taken in it, nor does the one that followed', {
  skip: NO_REDIS
}, async (t) => {
  const redis = await startRedis(t)
  const store = await connectStore(t, redis)
  const old = await store.take([ADA])
  await redis.control.del('{ephemint}:caller:ada:minute')
  await old.giveBack()
  t.equal(await redis.control.exists('{ephemint}:caller:ada:minute'), 0, 'and none is opened by it')
  await store.take([ADA])
  await old.giveBack()
  t.match(await store.peek([ADA]), [{ window: 'minute', remaining: 1 }, { window: 'day', remaining: 9 }])
})

t.test('a mint that is given back can be taken again', { skip: NO_REDIS }, async (t) => {
  const store = await connectStore(t, await startRedis(t))
  await store.take([ADA])
  const second = await store.take([ADA])
  t.equal((await store.take([ADA])).taken, false)
  await second.giveBack()
  t.equal((await store.take([ADA])).taken, true)
})

t.test('edge M4: a window says how many refunds it gave, once it gave one', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const store = await connectStore(t, redis)
  const total = { key: 'policy:pro', windows: { hour: 9 } }
  const keys = ['caller:ada:minute', 'caller:ada:day', 'policy:pro:hour'].map((name) => `{ephemint}:${name}`)
  const stored = () => redis.control.mget(keys)
  const first = await store.take([ADA, total])
  t.match(await stored(), [/^1 \w+$/, /^1 \w+$/, /^1 \w+$/])
  await first.refund()
  t.match(await stored(), [/^0 \w+ 1$/, /^0 \w+ 1$/, null])
  for (let i = 0; i < 3; i++) await (await store.take([ADA, total])).refund()
  t.match(await stored(), [/^2 \w+ 2$/, /^0 \w+ 4$/, null], 'and beyond its limit none')
  const { taken, windows } = await store.take([ADA, total])
  t.notOk(taken)
  t.same(windows.map(({ remaining }) => remaining), [0, 10, 9])
})

t.test('who has no limits needs no Redis', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  await redis.kill()
  const store = openStore(t, redis)
  const take = await store.take([])
  await take.giveBack()
  await take.refund()
  t.match(take, { taken: true, windows: [] })
  t.same(await store.peek([]), [])
})

t.test('fault 35: keys begin with one hash tag, carry nothing but what the bucket is called, and end by themselves', {
  skip: NO_REDIS
}, async (t) => {
  const redis = await startRedis(t)
  const store = await connectStore(t, redis)
  await store.take([ADA, { key: 'policy:a {b}:c', windows: { hour: 5 } }])
  const keys = (await redis.control.keys('*')).sort()
  t.same(
    keys,
    ['{ephemint}:caller:ada:day', '{ephemint}:caller:ada:minute', '{ephemint}:marker', '{ephemint}:policy:a {b}:c:hour']
  )
  for (const key of keys) t.ok(await redis.control.pttl(key) > 50_000, key)
  const slots = await Promise.all(keys.map((key) => redis.control.cluster('KEYSLOT', key).catch(() => 0)))
  t.equal(new Set(slots).size, 1)
})

t.test('a mint is one round trip, and so is a look', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const proxy = await startFaultProxy(t, redis.address)
  const store = await connectStore(t, { address: addressOf(proxy.port) })
  await store.take([ADA])
  const before = proxy.exchanges()
  await store.take([ADA, { key: 'policy:pro', windows: { minute: 9, hour: 9, day: 9 } }])
  t.equal(proxy.exchanges() - before, 1)
  await store.peek([ADA])
  t.equal(proxy.exchanges() - before, 2)
  // The first command may have to load its script.
  for (const exchanges of [null, 2]) {
    const before = proxy.exchanges()
    const failed = await store.take([{ key: 'caller:bob', windows: { minute: 9, day: 9 } }])
    await failed.refund()
    if (exchanges !== null) t.equal(proxy.exchanges() - before, exchanges, 'and a refund')
  }
})

t.test('scripts that Redis has forgotten are sent again', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const store = await connectStore(t, redis)
  await store.take([ADA])
  await redis.control.script('FLUSH')
  t.equal((await store.take([ADA])).taken, true)
})

// Runs alone: a fail-over is held to a deadline.
// Starts first: it takes ten seconds.

import t from 'tap'
import { checkRedis } from '../../src/commands/doctor/redis-and-audit.ts'
import type { RedisAddress, RedisEndpoint } from '../../src/config/environment.ts'
import { createAuthority } from '../support/certificate.ts'
import { NO_REDIS } from '../support/redis.ts'
import { type RedisSentinels, startSentinels } from '../support/redis-sentinel.ts'
import { times } from '../support/times.ts'
import { until } from '../support/until.ts'
import { assertFollowed, assertUnusable, reasonOfLoss } from './fail-over.ts'
import { countsAsMemory } from './model.ts'
import { ADA, connectStore, openStore } from './store.ts'

let common: Promise<RedisSentinels> | undefined
/** The first sentinel asks for no password, the second for that of the servers, the third for another. */
function shared (): Promise<RedisSentinels> {
  common ??= startSentinels(t, { passwords: ['', 'secret', 'other'] })
  return common
}

t.test('sentinels or servers that cannot be used are Redis lost, with the reason', { skip: NO_REDIS }, async (t) => {
  const { address } = await shared()
  const [open, asking, other] = address.sentinels as [RedisEndpoint, RedisEndpoint, RedisEndpoint]
  const rows: [reason: string, address: RedisAddress][] = [
    ['redis_unknown_primary', { ...address, sentinels: [open], primary: 'unnamed' }],
    ['redis_noauth', { ...address, sentinels: [asking], password: '' }],
    ['redis_wrongpass', { ...address, sentinels: [other] }],
    ['redis_wrongpass', { ...address, sentinels: [open], password: 'canary' }],
    ['redis_noauth', { ...address, sentinels: [open], password: '' }],
    ['redis_sentinels_unreachable', { ...address, sentinels: [{ host: '127.0.0.1', port: 1 }] }],
    ['redis_sentinels_unreachable', { ...address, sentinels: [{ host: 'nowhere.invalid', port: 1 }] }]
  ]
  for (const [reason, address] of rows) await assertUnusable(t, reason, address)
})

t.test('the primary of sentinels counts as the memory store does; a sentinel gets the password if it asks for one', {
  skip: NO_REDIS
}, async (t) => {
  const { address, servers: [primary] } = await shared()
  const [open, asking, other] = address.sentinels as [RedisEndpoint, RedisEndpoint, RedisEndpoint]
  for (const sentinels of [[open], [asking], [{ host: '127.0.0.1', port: 1 }, other, asking]]) {
    const store = await connectStore(t, { address: { ...address, sentinels } })
    await countsAsMemory(store, primary.control, times(2))
    t.same(store.messages(), [])
  }
  const message = /^mymaster, by the sentinels at 127.0.0.1:\d+, .* answers/
  t.match(await checkRedis(address), { state: 'ok', message })
  const store = await connectStore(t, { address: { ...address, database: 3 } })
  await store.take([ADA])
  t.match(await primary.control.info('keyspace'), /^db3:keys=3,/m)
})

t.test('fault 27: where a primary dies, hangs or is replaced the new one is followed, and no mint counts twice', {
  skip: NO_REDIS
}, async (t) => {
  for (const how of ['replace', 'kill', 'pause'] as const) {
    const set = await startSentinels(t, { passwords: [''] })
    const [primary, replica] = set.servers
    const store = await connectStore(t, set)
    const bucket = { key: `caller:${how}`, windows: { hour: 1_000_000 } }
    const counted = await assertFollowed(t, {
      store,
      bucket,
      replica,
      begin: async () => {
        await (how === 'replace'
          ? set.sentinels[0]?.control.call('SENTINEL', 'FAILOVER', set.address.primary)
          : primary[how]())
        await until('the loss to be seen', () => !store.isUp())
      }
    })
    const [window] = await replica.control.mget(`{ephemint}:${bucket.key}:hour`)
    t.match(window, new RegExp(`^${counted} `), 'and counted by the new primary')
    await store.close()
  }
})

t.test('E14: where the new primary never had the windows that were confirmed, their loss is logged and counted', {
  skip: NO_REDIS
}, async (t) => {
  const set = await startSentinels(t, { passwords: [''] })
  const [primary, replica] = set.servers
  await replica.control.config('SET', 'masterauth', 'wrong')
  await primary.control.client('KILL', 'TYPE', 'REPLICA')
  const store = await connectStore(t, set)
  t.ok((await store.take([ADA])).taken)
  await primary.kill()
  await until('the loss of the windows to be seen', () => store.counts().dataLosses === 1)
  await until('Redis to be up', store.isUp)
  t.ok(store.messages().includes('Redis has lost its windows: every limit starts again'))
  t.match(await store.peek([ADA]), [{ remaining: 2 }, { remaining: 10 }])
})

t.test('fault 28: a sentinel that hangs is passed over', { skip: NO_REDIS }, async (t) => {
  const { address, sentinels: [first] } = await shared()
  first?.pause()
  t.teardown(() => first?.resume())
  const store = await connectStore(t, { address: { ...address } })
  t.ok((await store.take([ADA])).taken)
})

t.test('rediss+sentinel:// asks sentinels and servers over TLS, and only those that can prove who they are', {
  skip: NO_REDIS
}, async (t) => {
  const { address } = await startSentinels(t, { passwords: ['secret'], isTls: true })
  for (const wrong of [
    { ...address, ca: createAuthority('Somebody Else').cert },
    { ...address, sentinels: address.sentinels.map(({ port }) => ({ host: '127.0.0.1', port })) }
  ]) {
    const store = openStore(t, { address: wrong })
    t.equal(await reasonOfLoss(store), 'redis_sentinels_unreachable')
  }
  const store = await connectStore(t, { address })
  t.ok((await store.take([ADA])).taken)
})

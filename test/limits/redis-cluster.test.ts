// Runs alone: a fail-over is held to a deadline.
// Starts first: it takes ten seconds.

import t from 'tap'
import { checkRedis } from '../../src/commands/doctor/redis-and-audit.ts'
import type { RedisAddress } from '../../src/config/environment.ts'
import type { Bucket } from '../../src/limits/limits.ts'
import { createAuthority } from '../support/certificate.ts'
import { NO_REDIS, type RedisServer, startRedis } from '../support/redis.ts'
import { moveSlot, type RedisCluster, rolesIn, startCluster } from '../support/redis-cluster.ts'
import { times } from '../support/times.ts'
import { until } from '../support/until.ts'
import { assertFollowed, assertUnusable, LOST, reasonOfLoss, UNAVAILABLE } from './fail-over.ts'
import { startLimitsLoad } from './load.ts'
import { countsAsMemory } from './model.ts'
import { connectStore, openStore } from './store.ts'

/** The bucket of one caller. */
const bucketOf = (caller: number): Bucket => ({ key: `caller:${caller}`, windows: { hour: 1_000_000 } })
const LAST_SLOT = 16_383

let common: Promise<RedisCluster> | undefined
function shared (): Promise<RedisCluster> {
  common ??= startCluster(t)
  return common
}

t.test('a cluster that cannot be used is Redis lost, with the reason', { skip: NO_REDIS }, async (t) => {
  const cluster = await shared()
  const [single, stranger] = [await startRedis(t), createAuthority('Somebody Else')]
  const rows: [reason: string, address: RedisAddress][] = [
    ['redis_noauth', { ...cluster.address, password: '' }],
    ['redis_wrongpass', { ...cluster.address, password: 'canary' }],
    ['redis_econnrefused', { ...cluster.address, cluster: [{ host: '127.0.0.1', port: 1 }] }],
    ['redis_enotfound', { ...cluster.address, cluster: [{ host: 'nowhere.invalid', port: 1 }] }],
    ['redis_no_cluster', { ...cluster.address, password: '', cluster: [{ host: '127.0.0.1', port: single.port }] }],
    ['redis_self_signed_cert_in_chain', { ...cluster.tlsAddress, ca: stranger.cert }]
  ]
  for (const [reason, address] of rows) await assertUnusable(t, reason, address)
})

t.test('a cluster counts as the memory store does, over TCP and TLS', { skip: NO_REDIS }, async (t) => {
  const cluster = await shared()
  const [owner] = await rolesIn(cluster)
  for (const address of [cluster.address, cluster.tlsAddress]) {
    const store = await connectStore(t, { address })
    await countsAsMemory(store, owner.control, times(4))
    t.same(store.messages(), [])
    t.match(await checkRedis(address), { state: 'ok', message: /^the cluster at (127.0.0.1|localhost):\d+, / })
  }
})

t.test('only the node that has our slot must keep its keys', { skip: NO_REDIS }, async (t) => {
  const cluster = await shared()
  const [owner] = await rolesIn(cluster)
  const evict = async (node: RedisServer, policy: string) => {
    await node.control.config('SET', 'maxmemory', policy === 'noeviction' ? '0' : '64mb')
    await node.control.config('SET', 'maxmemory-policy', policy)
  }
  await evict(owner, 'allkeys-lru')
  const store = openStore(t, { address: cluster.address })
  t.equal(await reasonOfLoss(store), 'redis_evicts_keys')
  await evict(owner, 'noeviction')
  await until('Redis to be up', store.isUp)
  await evict(cluster.nodes[1], 'allkeys-lru')
  const other = await connectStore(t, { address: cluster.address })
  t.same(other.messages(), [])
  await evict(cluster.nodes[1], 'noeviction')
})

t.test('while the slot moves a mint whose windows are on both sides is refused, and none is lost or counted twice', {
  skip: NO_REDIS
}, async (t) => {
  const cluster = await shared()
  const [[owner], other] = [await rolesIn(cluster), cluster.nodes[1]]
  const store = await connectStore(t, { address: cluster.address })
  const total = { key: 'policy:moved', windows: { day: 1_000_000 } }
  const load = startLimitsLoad(store, (i) => [bucketOf(i % 40), total])
  await until('all callers to be known', () => load.granted() >= 40)
  for (const [from, to] of [[owner, other], [other, owner]] as const) {
    let before = load.reasons().length
    await moveSlot(cluster, from, to, () => until('a refusal', () => load.reasons().length > before))
    before = load.granted()
    await until('mints to go on', () => load.granted() > before + 40)
  }
  await load.stop()
  // Mints that a slow machine answered too late are given back.
  await until('each mint to be counted once', async () => {
    const windows = await store.peek([total, ...Array.from({ length: 40 }, (_, i) => bucketOf(i))])
    const [ofAll, ...ofCallers] = windows.map(({ limit, remaining }) => limit - remaining)
    return ofAll === load.granted() && ofCallers.reduce((sum, one) => sum + one) === load.granted()
  })
  t.ok(load.reasons().includes('redis_tryagain'))
  t.notMatch(store.log.kept.join(), /redis_(tryagain|moved|ask)/, 'which is no loss of Redis')
})

t.test('a replica that takes the slot over while its primary is well is followed, and every mint counts once', {
  skip: NO_REDIS
}, async (t) => {
  const cluster = await shared()
  const [, replica] = await rolesIn(cluster)
  const store = await connectStore(t, { address: cluster.address })
  await assertFollowed(t, {
    store, bucket: bucketOf(100), replica, begin: () => replica.control.cluster('FAILOVER')
  })
})

t.test('fault 27: where a primary of a cluster dies or hangs its replica is followed, and no mint counts twice', {
  skip: NO_REDIS
}, async (t) => {
  const cluster = await shared()
  for (const how of ['kill', 'pause'] as const) {
    const [owner, replica] = await rolesIn(cluster)
    const store = await connectStore(t, { address: how === 'kill' ? cluster.address : cluster.tlsAddress })
    const bucket = bucketOf(how === 'kill' ? 200 : 201)
    await assertFollowed(t, {
      store,
      bucket,
      replica,
      begin: async () => {
        await owner[how]()
        await until('the loss to be seen', () => !store.isUp())
        await t.rejects(async () => store.take([bucket]), UNAVAILABLE)
      }
    })
    await (how === 'kill' ? owner.start() : owner.resume())
    await store.close()
  }
})

t.test('fault 28: a cluster that is down is Redis lost, and back once it is whole', { skip: NO_REDIS }, async (t) => {
  const cluster = await shared()
  await rolesIn(cluster)
  const store = await connectStore(t, { address: cluster.address })
  for (const node of cluster.nodes) await node.control.cluster('DELSLOTS', LAST_SLOT)
  await until('the loss to be logged', async () => {
    await Promise.allSettled([store.take([bucketOf(300)])])
    return store.messages().includes(LOST)
  })
  t.equal(await reasonOfLoss(store), 'redis_clusterdown')
  await cluster.nodes[2].control.cluster('ADDSLOTS', LAST_SLOT)
  await until('Redis to be up', store.isUp)
  t.ok((await store.take([bucketOf(300)])).taken)
})

t.test('fault 28: where all nodes are gone the cluster is lost until they are back', { skip: NO_REDIS }, async (t) => {
  const cluster = await shared()
  await rolesIn(cluster)
  const store = await connectStore(t, { address: cluster.address })
  await Promise.all(cluster.nodes.map((node) => node.kill()))
  await until('the loss to be seen', () => !store.isUp())
  await Promise.all(cluster.nodes.map((node) => node.start()))
  await until('Redis to be up', store.isUp)
  t.ok((await store.take([bucketOf(300)])).taken)
})

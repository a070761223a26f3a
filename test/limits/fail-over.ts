// Assertions for sentinels and clusters: a loss has its reason, and a promoted replica is followed.

import type { Test } from 'tap'
import { checkRedis } from '../../src/commands/doctor/redis-and-audit.ts'
import type { RedisAddress } from '../../src/config/environment.ts'
import type { Bucket } from '../../src/limits/limits.ts'
import type { RedisServer } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { startLimitsLoad, takeUpTo } from './load.ts'
import { ADA, type OpenedStore, openStore } from './store.ts'

export const UNAVAILABLE = { code: 'limits_unavailable', statusCode: 503 }
export const LOST = 'Redis is lost: mints are refused'
/** The store is up again this long after the promotion of a replica. */
const UP_WITHIN_MS = 5000

export async function reasonOfLoss (store: OpenedStore): Promise<unknown> {
  await until('the loss to be logged', () => store.messages().includes(LOST))
  return JSON.parse(store.log.kept[0] ?? '').reason
}

/** Asserts that mints are refused, and that log and doctor give `reason`, without a password. */
export async function assertUnusable (t: Test, reason: string, address: RedisAddress): Promise<void> {
  const store = openStore(t, { address })
  await t.rejects(async () => store.take([ADA]), UNAVAILABLE)
  t.equal(await reasonOfLoss(store), reason)
  t.notOk(store.isReady())
  t.notMatch(store.log.kept.join(''), /canary|"[^"]*password/)
  await store.close()
  const { state, message, advice } = await checkRedis(address)
  t.same([state, message.replace(/^.* cannot be used: /, 'redis_')], ['wrong', reason])
  t.notMatch(`${message}${advice}`, 'canary')
}

export type FailOver = Readonly<{
  store: OpenedStore
  bucket: Bucket
  replica: Pick<RedisServer, 'control'>
  /** Begins the fail-over, under load. */
  begin: () => Promise<unknown>
}>

/** Resolves to the number of mints that were counted, including the 20 at the end. */
export async function assertFollowed (t: Test, { store, bucket, replica, begin }: FailOver): Promise<number> {
  const load = startLimitsLoad(store, () => [bucket])
  await until('mints', () => load.granted() > 100)
  await begin()
  await until('the promotion', async () => (await replica.control.role())[0] === 'master')
  const promotedAt = performance.now()
  await until('Redis to be up', store.isUp, UP_WITHIN_MS)
  t.comment(`up ${Math.round(performance.now() - promotedAt)} ms after the promotion`)
  const before = load.granted()
  await until('mints to go on', () => load.granted() > before + 40)
  await load.stop()
  const { counted, taken } = await takeUpTo(store, bucket)
  t.ok(counted > 0 && counted <= load.granted() + load.reasons().length)
  t.equal(taken, 20, 'what is granted from then on is exact')
  t.equal(store.counts().dataLosses, 0)
  return counted + taken
}

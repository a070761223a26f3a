// The Redis store for tests: connected at the start, closed at the end of the test.

import type { Test } from 'tap'
import type { RedisAddress } from '../../src/config/environment.ts'
import type { Bucket, LimitStore } from '../../src/limits/limits.ts'
import { createRedisStore, type RedisStore, type RedisStoreDeps } from '../../src/limits/redis.ts'
import { createLogger } from '../../src/records/log.ts'
import { keepLines, type KeptLines } from '../support/lines.ts'
import { until } from '../support/until.ts'

export type StoreOptions = Partial<RedisStoreDeps> & Readonly<{ local?: LimitStore | null }>
type Addressed = Readonly<{ address: RedisAddress }>
export type OpenedStore = RedisStore & Readonly<{ log: KeptLines, messages: () => string[] }>

export const ADA: Bucket = { key: 'caller:ada', windows: { minute: 2, day: 10 } }

/** Opens a store without waiting for Redis. */
export function openStore (t: Test, redis: Addressed, options: StoreOptions = {}): OpenedStore {
  const log = keepLines()
  const store = createRedisStore({ address: redis.address, log: createLogger('trace', log), local: null, ...options })
  t.teardown(() => store.close())
  return { ...store, log, messages: () => log.kept.map((line) => JSON.parse(line).msg) }
}

export async function connectStore (
  t: Test, redis: Addressed, options: StoreOptions = {}
): Promise<OpenedStore> {
  const store = openStore(t, redis, options)
  await until('Redis to be up', store.isUp)
  return store
}

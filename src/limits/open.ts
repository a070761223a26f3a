// The store that counts limits: in memory or in Redis, by the environment.

import type { Config } from '../config/environment.ts'
import type { Log } from '../records/log.ts'
import type { Around } from '../redis/connection.ts'
import type { LimitStore } from './limits.ts'
import { createMemoryStore } from './memory.ts'
import type { RedisConnection, RedisCounts } from './redis.ts'

export type OpenLimits = Readonly<{
  store: LimitStore
  /** Null where limits are in memory. */
  connection: RedisConnection | null
  isReady: () => boolean
  state: () => RedisCounts & Readonly<{ isUp: boolean, isAlone: boolean }>
}>

export async function openLimits (
  { redis, onRedisLoss }: Pick<Config, 'redis' | 'onRedisLoss'>, log: Pick<Log, 'info' | 'warn' | 'error'>,
  { around, withinMs }: Readonly<{ around?: Around | undefined, withinMs?: number | undefined }> = {}
): Promise<OpenLimits> {
  const memory = createMemoryStore()
  if (redis === null) {
    return {
      store: memory,
      connection: null,
      isReady: () => true,
      state: () =>
        ({ isUp: true, isAlone: false, local: 0, notGivenBack: 0, dataLosses: 0 })
    }
  }
  // The client library takes 20 MB: only where there is something to connect to.
  const { createRedisStore } = await import('./redis.ts')
  const isLocal = onRedisLoss === 'local'
  const store = createRedisStore({ address: redis, log, local: isLocal ? memory : null, around, withinMs })
  return {
    store,
    connection: store.connection,
    isReady: store.isReady,
    state: () => ({ ...store.counts(), isUp: store.isUp(), isAlone: isLocal && !store.isUp() })
  }
}

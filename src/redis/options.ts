// Options that all three kinds of clients share: nothing is queued, and a command that may have run is not sent again.

import { checkServerIdentity, type ConnectionOptions } from 'node:tls'
import type { Cluster, Redis, RedisOptions } from 'ioredis'
import type { RedisAddress, RedisEndpoint } from '../config/environment.ts'

export const CONNECT_WITHIN_MS = 1000
/** A closing connection that the other side does not close is destroyed after this. */
const CLOSE_WITHIN_MS = 250
const RECONNECT_MS = { first: 100, last: 1000 }

/** Each script takes the number of keys, the keys, and the arguments. */
type Script = (keys: number, ...keysAndArguments: (string | number)[]) => Promise<unknown>
export type Scripts<Name extends string> = Readonly<Record<Name, Script>>

export type RedisClient<Name extends string> = Readonly<{
  scripts: Scripts<Name>
  /** The connection to the server that has our keys; while that node of a cluster is unknown, the cluster's. */
  server: () => Redis | Cluster
  reconnect: () => void
  close: () => void
}>

export type RedisClientDeps<Name extends string> = Readonly<{
  /** Lua by the name that it is called by. */
  scripts: Readonly<Record<Name, string>>
  onReady: () => void
  onFault: (cause: unknown) => void
}>

export function optionsFor ({ username, password, database }: RedisAddress, sources: Readonly<Record<string, string>>) {
  return {
    username,
    password,
    db: database,
    // Version 3 of the protocol is of no use here, and some proxies do not know it.
    protocol: 2,
    disableClientInfo: true,
    connectTimeout: CONNECT_WITHIN_MS,
    disconnectTimeout: CLOSE_WITHIN_MS,
    // A command that was sent when the connection broke may have been counted: a second time would count twice.
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    enableReadyCheck: false,
    retryStrategy: retryAfterMs,
    // After a failover the name may lead to another server.
    reconnectOnError: ({ message }) => message.startsWith('READONLY'),
    scripts: Object.fromEntries(Object.entries(sources).map(([name, lua]) => [name, { lua }]))
  } satisfies RedisOptions
}

export function retryAfterMs (times: number): number {
  return Math.min(RECONNECT_MS.last, RECONNECT_MS.first * 2 ** (times - 1))
}

/** Servers are often announced by address, while certificates have names: any name in REDIS_URL will do. */
export function secure ({ tls, ca }: RedisAddress, endpoints: readonly RedisEndpoint[]): ConnectionOptions | null {
  if (!tls) return null
  return {
    ca,
    checkServerIdentity: (announced, certificate) => {
      const problem = checkServerIdentity(announced, certificate)
      return endpoints.some(({ host }) => checkServerIdentity(host, certificate) === undefined) ? undefined : problem
    }
  }
}

export function clientOf<Name extends string> (
  redis: Redis, onReady: () => void, onFault: (cause: unknown) => void
): RedisClient<Name> {
  redis.on('ready', onReady)
  redis.on('close', () => onFault({ code: 'CLOSED' }))
  return {
    scripts: redis as unknown as Scripts<Name>,
    server: () => redis,
    reconnect: () => {
      // A client that is disturbed while it asks a sentinel would never connect again.
      if (redis.status === 'ready' || redis.status === 'connect') redis.disconnect(true)
    },
    close: () => redis.disconnect()
  }
}

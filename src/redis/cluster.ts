// A cluster, of which one node has all our keys. Redirections are followed: the other node did not run the command.

import { Cluster, type Redis, type RedisOptions } from 'ioredis'
import type { RedisAddress, RedisEndpoint } from '../config/environment.ts'
import { optionsFor, type RedisClient, type RedisClientDeps, retryAfterMs, type Scripts, secure } from './options.ts'

/** The slot of the hash tag. */
const SLOT = 6702
/** While the slot moves, several redirections may follow each other. */
const MAX_REDIRECTIONS = 4
const TRY_AGAIN_MS = 20

export function followCluster<Name extends string> (
  address: RedisAddress, nodes: readonly RedisEndpoint[], { scripts, onReady, onFault }: RedisClientDeps<Name>
): RedisClient<Name> {
  const tls = secure(address, nodes)
  const { scripts: sources, ...redisOptions } = optionsFor(address, scripts)
  const cluster = new Cluster([...nodes], {
    redisOptions: { ...redisOptions, ...(tls === null ? {} : { tls }) },
    scripts: sources as NonNullable<typeof sources>,
    // Certificates are checked against the name, not the address.
    dnsLookup: (name, done) => done(null, name),
    enableOfflineQueue: false,
    enableReadyCheck: false,
    clusterRetryStrategy: retryAfterMs,
    maxRedirections: MAX_REDIRECTIONS,
    retryDelayOnTryAgain: TRY_AGAIN_MS,
    // Zero: never again.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0
  })
  let lastFault: Error | null = null
  const owner = () => cluster.slots[SLOT]?.[0]
  // All nodes are connected, so that one that takes the slot over can be used at once.
  cluster.on('+node', (node: Redis) => {
    node.on('ready', onReady)
    node.connect().catch(() => {})
  })
  cluster.on('-node', ({ options }: Redis) => {
    if (keyOf(options) === owner()) onFault({ code: 'CLOSED' })
  })
  cluster.on('node error', (cause: Error, key: string) => {
    if (cause.message !== 'Connection is closed.') lastFault = cause
    if (key === owner()) onFault(cause)
  })
  // An error without a cause was reported before, or will be with the next attempt.
  const report = () => {
    if (lastFault === null) return
    onFault(lastFault.message.includes('cluster support disabled') ? { code: 'NO_CLUSTER' } : lastFault)
    lastFault = null
  }
  cluster.on('error', report)
  cluster.on('close', report)
  cluster.on('ready', onReady)
  return {
    scripts: cluster as unknown as Scripts<Name>,
    server: () => cluster.status === 'ready'
      ? cluster.nodes().find(({ options }) => keyOf(options) === owner()) ?? cluster
      : cluster,
    reconnect: () => {
      if (cluster.status === 'ready') cluster.disconnect(true)
    },
    close: () => cluster.disconnect()
  }
}

function keyOf ({ host, port }: RedisOptions): string {
  return `${host}:${port}`
}

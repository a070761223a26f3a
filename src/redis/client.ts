// The client library, connected to one server, to the primary that sentinels name, or to a cluster.

// Imported before the client library, which reads DEBUG from the environment: this module deletes it.
import '../config/environment.ts'
import { isIP } from 'node:net'
import { Redis } from 'ioredis'
import type { RedisAddress, RedisEndpoint } from '../config/environment.ts'
import { followCluster } from './cluster.ts'
import { clientOf, optionsFor, type RedisClient, type RedisClientDeps } from './options.ts'
import { followSentinels } from './sentinels.ts'

export function createRedisClient<Name extends string> (
  address: RedisAddress, deps: RedisClientDeps<Name>
): RedisClient<Name> {
  if ('cluster' in address) return followCluster(address, address.cluster, deps)
  return 'sentinels' in address ? followSentinels(address, deps) : connectServer(address, deps)
}

function connectServer<Name extends string> (
  address: RedisAddress & RedisEndpoint, { scripts, onReady, onFault }: RedisClientDeps<Name>
): RedisClient<Name> {
  const { host, port, tls, ca } = address
  const redis = new Redis({
    ...optionsFor(address, scripts),
    host,
    port,
    ...(tls ? { tls: { servername: isIP(host) === 0 ? host : '', ...(ca === undefined ? {} : { ca }) } } : {})
  })
  redis.on('error', onFault)
  return clientOf(redis, onReady, onFault)
}

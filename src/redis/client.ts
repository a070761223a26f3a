// The client library, connected to one server, to the primary that sentinels name, or to a cluster, of which one node
// has all our keys. The same for each: nothing is queued, and a command that may have run is not sent again.

import { isIP } from 'node:net'
import { checkServerIdentity, type ConnectionOptions } from 'node:tls'
import { Cluster, Redis, type RedisOptions } from 'ioredis'
import type { RedisAddress, RedisEndpoint } from '../config/environment.ts'

// Before the next one looks at the environment.
import '../config/environment.ts'

const CONNECT_WITHIN_MS = 1000
/** A connection that is given up, and whose other side does not close it, is destroyed. */
const CLOSE_WITHIN_MS = 250
const RECONNECT_MS = { first: 100, last: 1000 }
/** A node that redirects did not run the command. More than one follow each other while the slot moves. */
const MAX_REDIRECTIONS = 5
const TRY_AGAIN_MS = 50

/**
 * One hash tag for everything: a mint takes from windows of its caller and from totals that callers share, and a script
 * reaches only keys of one slot. What a caller or a policy is called comes behind it and cannot be another tag.
 */
export const KEY_PREFIX = '{ephemint}:'
/** Of a sentinel. */
const REFUSAL = /NOAUTH|WRONGPASS|NOPERM/
/** The slot of that tag. */
const SLOT = 6702

/** Each takes how many keys there are, the keys, and the arguments. */
type Script = (keys: number, ...keysAndArguments: (string | number)[]) => Promise<unknown>
export type Scripts<Name extends string> = Readonly<Record<Name, Script>>

export type Client<Name extends string> = Readonly<{
  scripts: Scripts<Name>
  /** The connection to the one that has our keys. Of a cluster, while that node is not known, the cluster's. */
  server: () => Redis | Cluster
  reconnect: () => void
  close: () => void
}>

export type ClientDeps<Name extends string> = Readonly<{
  /** Lua by the name that it is called by. */
  scripts: Readonly<Record<Name, string>>
  onReady: () => void
  onFault: (cause: unknown) => void
}>

export function createClient<Name extends string> (address: RedisAddress, deps: ClientDeps<Name>): Client<Name> {
  if ('cluster' in address) return followCluster(address, address.cluster, deps)
  return 'sentinels' in address ? followSentinels(address, deps) : connectServer(address, deps)
}

function connectServer<Name extends string> (
  address: RedisAddress & RedisEndpoint, { scripts, onReady, onFault }: ClientDeps<Name>
): Client<Name> {
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

function followSentinels<Name extends string> (
  address: Extract<RedisAddress, { sentinels: unknown }>, { scripts, onReady, onFault }: ClientDeps<Name>
): Client<Name> {
  const { sentinels, primary, username, password } = address
  const tls = secure(address, sentinels)
  const redis = new Redis({
    ...optionsFor(address, scripts),
    sentinels: [...sentinels],
    name: primary,
    updateSentinels: false,
    sentinelCommandTimeout: CONNECT_WITHIN_MS,
    sentinelRetryStrategy: retryAfterMs,
    ...(tls === null ? {} : { tls, sentinelTLS: tls, enableTLSForSentinelMode: true })
  })
  let [isUnknown, isRetrying] = [false, false]
  redis.on('sentinelError', ({ message }: Error) => {
    if (message.endsWith('invalid reply: null')) isUnknown = true
    // Most sentinels have no password, and refuse a user that they do not know: only one that asks gets it.
    if (!message.includes('NOAUTH') || password === '' || redis.options.sentinelPassword) return
    Object.assign(redis.options, { sentinelUsername: username, sentinelPassword: password })
    isRetrying = true
  })
  const report = (cause: Error) => {
    if (!cause.message.startsWith('All sentinels are unreachable') || REFUSAL.test(cause.message)) onFault(cause)
    else onFault({ code: isUnknown ? 'UNKNOWN_PRIMARY' : 'SENTINELS_UNREACHABLE' })
  }
  redis.on('error', (cause: Error) => {
    if (!isRetrying) report(cause)
    isUnknown = isRetrying = false
  })
  return clientOf(redis, onReady, onFault)
}

function followCluster<Name extends string> (
  address: RedisAddress, nodes: readonly RedisEndpoint[], { scripts, onReady, onFault }: ClientDeps<Name>
): Client<Name> {
  const tls = secure(address, nodes)
  const { scripts: sources, ...redisOptions } = optionsFor(address, scripts)
  const cluster = new Cluster([...nodes], {
    redisOptions: { ...redisOptions, ...(tls === null ? {} : { tls }) },
    scripts: sources as NonNullable<typeof sources>,
    // A certificate is checked against the name, not against its address.
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
  // All are connected, so that one that takes the slot over can be used at once.
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
  cluster.on('error', (cause: Error & { lastNodeError?: Error }) => {
    const fault = lastFault ?? cause.lastNodeError ?? cause
    onFault(fault.message.includes('cluster support disabled') ? { code: 'NO_CLUSTER' } : fault)
    lastFault = null
  })
  cluster.on('close', () => onFault({ code: 'CLOSED' }))
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

function clientOf<Name extends string> (
  redis: Redis, onReady: () => void, onFault: (cause: unknown) => void
): Client<Name> {
  redis.on('ready', onReady)
  redis.on('close', () => onFault({ code: 'CLOSED' }))
  return {
    scripts: redis as unknown as Scripts<Name>,
    server: () => redis,
    reconnect: () => {
      // One that is connecting, and is disturbed while it asks a sentinel, would never connect again.
      if (redis.status === 'ready' || redis.status === 'connect') redis.disconnect(true)
    },
    close: () => redis.disconnect()
  }
}

function optionsFor ({ username, password, database }: RedisAddress, sources: Readonly<Record<string, string>>) {
  return {
    username,
    password,
    db: database,
    // Version 3 of the protocol brings nothing here, and some proxies do not know it.
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

function retryAfterMs (times: number): number {
  return Math.min(RECONNECT_MS.last, RECONNECT_MS.first * 2 ** (times - 1))
}

/** Servers are often announced by address, while their certificate has a name: one that REDIS_URL has will do. */
function secure ({ tls, ca }: RedisAddress, endpoints: readonly RedisEndpoint[]): ConnectionOptions | null {
  if (!tls) return null
  return {
    ...(ca === undefined ? {} : { ca }),
    checkServerIdentity: (announced, certificate) => {
      const problem = checkServerIdentity(announced, certificate)
      return endpoints.some(({ host }) => checkServerIdentity(host, certificate) === undefined) ? undefined : problem
    }
  }
}

function keyOf ({ host, port }: RedisOptions): string {
  return `${host}:${port}`
}

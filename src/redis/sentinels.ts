// Follows the primary that the sentinels name.

import type { ConnectionOptions } from 'node:tls'
import { Redis } from 'ioredis'
import type { RedisAddress, RedisEndpoint } from '../config/environment.ts'
import {
  clientOf, CONNECT_WITHIN_MS, optionsFor, type RedisClient, type RedisClientDeps, retryAfterMs, secure
} from './options.ts'

/** Errors of a sentinel that is reachable and refuses the password. */
const REFUSAL = /NOAUTH|WRONGPASS|NOPERM/

export function followSentinels<Name extends string> (
  address: Extract<RedisAddress, { sentinels: unknown }>, { scripts, onReady, onFault }: RedisClientDeps<Name>
): RedisClient<Name> {
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
  const client = clientOf(redis, onReady, onFault)
  const watchers: Redis[] = []
  redis.once('ready', () => {
    const { sentinelPassword } = redis.options
    const credentials = sentinelPassword ? { username, password } : { username: '', password: '' }
    const options = { ...optionsFor({ ...address, ...credentials, database: 0 }, {}), ...(tls === null ? {} : { tls }) }
    for (const sentinel of sentinels) {
      watchers.push(watchSentinel({ ...options, ...sentinel }, (name, host, port) => {
        const { remoteAddress, remotePort } = redis.stream
        if (name === primary && (host !== remoteAddress || port !== remotePort)) client.reconnect()
      }))
    }
  })
  return {
    ...client,
    close: () => {
      client.close()
      for (const watcher of watchers) watcher.disconnect()
    }
  }
}

type SentinelOptions = ReturnType<typeof optionsFor> & RedisEndpoint & Readonly<{ tls?: ConnectionOptions }>

/** A primary that is replaced while it still answers takes writes for seconds, all of which are lost. */
function watchSentinel (
  options: SentinelOptions, onSwitch: (name: string, host: string, port: number) => void
): Redis {
  const sentinel = new Redis({ ...options, enableOfflineQueue: true, maxRetriesPerRequest: null })
  sentinel.on('error', () => {})
  sentinel.on('message', (_channel, message) => {
    const [name = '', , , host = '', port] = message.split(' ')
    onSwitch(name, host, Number(port))
  })
  sentinel.subscribe('+switch-master').catch(() => {})
  return sentinel
}

// The connection to Redis, and whether it can be relied on. An answer comes in time, or Redis counts as lost until it
// has passed a check: until then no request waits for it, and nothing is queued.

import { isIP } from 'node:net'
import { Redis } from 'ioredis'
import type { RedisAddress } from '../config/environment.ts'
import { ApiError } from '../errors.ts'
import type { Log } from '../records/log.ts'

// Before the next one looks at the environment.
import '../config/environment.ts'

const ANSWER_WITHIN_MS = 250
const CONNECT_WITHIN_MS = 1000
const CHECK_EVERY_MS = 250
/** While it is up: what an operator changes at run time breaks no connection. */
const LOOK_EVERY_MS = 3000
/** A connection that was silent at so many checks is given up: after a partition TCP would wait for minutes. */
const SILENT_CHECKS = 4
const RECONNECT_MS = { first: 100, last: 1000 }

/** Each takes how many keys there are, the keys, and the arguments. */
type Script = (keys: number, ...keysAndArguments: (string | number)[]) => Promise<unknown>
export type Scripts<Name extends string> = Readonly<Record<Name, Script>>

/** Rejects with ApiError `limits_unavailable` in time; `onLate` gets an answer that came after that. */
export type Ask<Name extends string> =
  <T>(question: (scripts: Scripts<Name>) => Promise<T>, onLate?: (answer: T) => void) => Promise<T>
/** Around each question of a request, not around the checks. */
export type Around = <Name extends string>(ask: Ask<Name>) => Ask<Name>

export type Connection<Name extends string> = Readonly<{
  ask: Ask<Name>
  /** A fault of the server makes it false at once, a fault of one key does not. */
  isUp: () => boolean
  wasUp: () => boolean
  close: () => void
}>

export type ConnectionDeps<Name extends string> = Readonly<{
  /** Lua by the name that it is called by. */
  scripts: Readonly<Record<Name, string>>
  log: Pick<Log, 'info' | 'warn' | 'error'>
  /** The consequence of a loss, for the log. */
  consequence: string
  /** The last part of the check; rejects where Redis is not to be relied on. */
  check: (ask: Connection<Name>['ask']) => Promise<void>
  around?: Around | undefined
}>

export function connectRedis<Name extends string> (
  { host, port, tls, ca, username, password, database }: RedisAddress,
  { scripts: sources, log, consequence, check, around = (ask) => ask }: ConnectionDeps<Name>
): Connection<Name> {
  let state: 'new' | 'up' | 'lost' | 'closed' = 'new'
  let wasUp = false
  let isChecking = false
  let silentChecks = 0
  let mayEvictUnseen = false
  let timer: NodeJS.Timeout | undefined
  lookEvery(CHECK_EVERY_MS, checkNow)
  const redis = new Redis({
    host,
    port,
    username,
    password,
    db: database,
    ...(tls ? { tls: { servername: isIP(host) === 0 ? host : '', ...(ca === undefined ? {} : { ca }) } } : {}),
    // Version 3 of the protocol brings nothing here, and some proxies do not know it.
    protocol: 2,
    disableClientInfo: true,
    connectTimeout: CONNECT_WITHIN_MS,
    // A command that was sent when the connection broke may have been counted: a second time would count twice.
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    enableReadyCheck: false,
    retryStrategy: (times) => Math.min(RECONNECT_MS.last, RECONNECT_MS.first * 2 ** (times - 1)),
    // After a failover the name may lead to another server.
    reconnectOnError: ({ message }) => message.startsWith('READONLY'),
    scripts: Object.fromEntries(Object.entries<string>(sources).map(([name, lua]) => [name, { lua }]))
  })
  const scripts = redis as unknown as Scripts<Name>
  redis.on('ready', checkNow)
  redis.on('error', (cause) => lose(reasonOf(cause)))
  redis.on('close', () => lose('redis_closed'))

  async function ask<T> (
    question: (scripts: Scripts<Name>) => Promise<T>, onLate: (answer: T) => void = () => {}
  ): Promise<T> {
    try {
      return await inTime(question(scripts), onLate)
    } catch (cause) {
      const reason = reasonOf(cause)
      if (!isAboutKeys(reason)) lose(reason)
      throw new ApiError('limits_unavailable', { reason, retryAfterSeconds: 1, cause })
    }
  }

  function lose (reason: string): void {
    if (state === 'closed' || state === 'lost') return
    log.error({ reason }, `Redis is lost: ${consequence}`)
    state = 'lost'
    lookEvery(CHECK_EVERY_MS, checkNow)
  }

  function lookEvery (ms: number, look: () => void): void {
    clearInterval(timer)
    timer = setInterval(look, ms).unref()
  }

  function rise (): void {
    if (state === 'lost') log.warn({}, 'Redis is back')
    state = 'up'
    wasUp = true
    silentChecks = 0
    lookEvery(LOOK_EVERY_MS, () => assertKeepsKeys().catch(({ reason }: ApiError) => lose(String(reason))))
  }

  async function checkNow (): Promise<void> {
    // Connected, but the library's first command gets no answer.
    if (redis.status === 'connect') noteSilence()
    if (isChecking || redis.status !== 'ready') return
    isChecking = true
    try {
      // Where it could not select another database, the library goes on in 0.
      if (database !== 0) await ask(() => redis.select(database))
      await check(ask)
      await assertKeepsKeys()
      rise()
    } catch (cause) {
      const { reason = '' } = cause as ApiError
      lose(reason)
      if (reason === 'redis_timeout') noteSilence()
    }
    isChecking = false
  }

  function noteSilence (): void {
    if (++silentChecks < SILENT_CHECKS) return
    silentChecks = 0
    redis.disconnect(true)
  }

  /** A window that is evicted would count as one that was never opened. */
  async function assertKeepsKeys (): Promise<void> {
    const memory = await ask(() => redis.info('memory').catch(emptyIfRefused))
    const [, limit] = /^maxmemory:(\d+)/m.exec(memory) ?? []
    const [, policy] = /^maxmemory_policy:(\S+)/m.exec(memory) ?? []
    if (policy !== undefined && policy !== 'noeviction' && limit !== '0') {
      throw new ApiError('limits_unavailable', { reason: 'redis_evicts_keys' })
    }
    if (policy === undefined && !mayEvictUnseen) {
      log.warn({}, 'Redis does not report its maxmemory-policy: it must be noeviction')
    }
    mayEvictUnseen = policy === undefined
  }

  return {
    ask: around(ask),
    isUp: () => state === 'up',
    wasUp: () => wasUp,
    close: () => {
      state = 'closed'
      clearInterval(timer)
      redis.disconnect()
    }
  }
}

function inTime<T> (answer: Promise<T>, onLate: (answer: T) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    let isLate = false
    const timeout = setTimeout(() => {
      // Where this process itself was busy for so long, the answer may be there already: it is read first.
      setImmediate(() => {
        isLate = true
        reject(new Error('TIMEOUT'))
      })
    }, ANSWER_WITHIN_MS)
    answer.then((value) => {
      clearTimeout(timeout)
      if (isLate) onLate(value)
      else resolve(value)
    }, (cause) => {
      clearTimeout(timeout)
      reject(cause)
    })
  })
}

/** Empty where the rights do not permit the command. */
function emptyIfRefused (cause: Error): string {
  if (cause.name !== 'ReplyError') throw cause
  return ''
}

/** Error replies begin with a word in capitals, but for those of a script of Redis 6, where it comes later. */
function reasonOf (cause: unknown): string {
  const { code, message } = cause as NodeJS.ErrnoException
  const word = code ?? /\b(?!ERR\b)[A-Z]{3,}\b/.exec(message)?.[0] ?? 'unavailable'
  return `redis_${word.toLowerCase()}`
}

function isAboutKeys (reason: string): boolean {
  return ['redis_damaged', 'redis_wrongtype', 'redis_lost'].includes(reason)
}

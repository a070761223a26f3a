// The connection to Redis, and whether it can be relied on. After a late answer Redis counts as lost until it passes a
// check: meanwhile no request waits for it, and nothing is queued.

import type { RedisAddress } from '../config/environment.ts'
import { ApiError } from '../errors.ts'
import type { Log } from '../records/log.ts'
import { createRedisClient } from './client.ts'
import type { Scripts } from './options.ts'

export type { Scripts }

const ANSWER_WITHIN_MS = 250
const CHECK_EVERY_MS = 250
/** Checks go on while Redis is up: a setting that an operator changes breaks no connection. */
const LOOK_EVERY_MS = 3000
/** A connection is given up after so many unanswered checks: after a partition TCP would wait for minutes. */
const SILENT_CHECKS = 4

/** Rejects with ApiError `limits_unavailable` in time; `onLate` gets an answer that came after that. */
export type Ask<Name extends string> =
  <T>(question: (scripts: Scripts<Name>) => Promise<T>, onLate?: (answer: T) => void) => Promise<T>
/** Wraps each command, but not the checks. */
export type Around = <Name extends string>(ask: Ask<Name>) => Ask<Name>

export type Connection<Name extends string> = Readonly<{
  ask: Ask<Name>
  /** False at once after a fault of the server, but not after a fault of one key. */
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
  /** The last part of the check; rejects if Redis cannot be relied on. */
  check: (ask: Connection<Name>['ask']) => Promise<void>
  around?: Around | undefined
  withinMs?: number | undefined
}>

export function connectRedis<Name extends string> (
  address: RedisAddress, deps: ConnectionDeps<Name>
): Connection<Name> {
  const { scripts, log, consequence, check, around = (ask) => ask, withinMs = ANSWER_WITHIN_MS } = deps
  let state: 'new' | 'up' | 'lost' | 'closed' = 'new'
  let wasUp = false
  let isChecking = false
  let silentChecks = 0
  let mayEvictUnseen = false
  let timer: NodeJS.Timeout | undefined
  lookEvery(CHECK_EVERY_MS, checkNow)
  const client = createRedisClient(address, { scripts, onReady: checkNow, onFault: (cause) => lose(reasonOf(cause)) })

  async function ask<T> (
    question: (scripts: Scripts<Name>) => Promise<T>, onLate: (answer: T) => void = () => {}
  ): Promise<T> {
    try {
      return await inTime(question(client.scripts), withinMs, onLate)
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
    /* c8 ignore next -- a close in the moment of a check */
    if (state === 'closed') return
    if (state === 'lost') log.warn({}, 'Redis is back')
    state = 'up'
    wasUp = true
    silentChecks = 0
    lookEvery(LOOK_EVERY_MS, () => assertKeepsKeys().catch(({ reason }: ApiError) => lose(String(reason))))
  }

  async function checkNow (): Promise<void> {
    // The connection is open, but the library's first command gets no answer.
    if (client.server().status === 'connect') noteSilence()
    if (isChecking || client.server().status !== 'ready') return
    isChecking = true
    try {
      // The library goes on in database 0 if it could not select another one.
      if (address.database !== 0) await ask(() => client.server().select(address.database))
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
    client.reconnect()
  }

  /** An evicted window would count as never opened. */
  async function assertKeepsKeys (): Promise<void> {
    const memory = await ask(() => client.server().info('memory').catch(emptyIfRefused))
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
      client.close()
    }
  }
}

function inTime<T> (answer: Promise<T>, withinMs: number, onLate: (answer: T) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    let isLate = false
    const timeout = setTimeout(() => {
      // If this process itself was busy for so long, the answer may have come already: it is read first.
      setImmediate(() => {
        isLate = true
        reject(new Error('TIMEOUT'))
      })
    }, withinMs)
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

/** Empty if the rights do not permit the command. */
function emptyIfRefused (cause: Error): string {
  if (cause.name !== 'ReplyError') throw cause
  return ''
}

/** Error replies begin with a word in capitals; in those of scripts of Redis 6 it comes later. */
function reasonOf (cause: unknown): string {
  const { code, message } = cause as NodeJS.ErrnoException
  // Each of the two nodes of a moving slot has some of the keys, and redirects to the other.
  if (message?.startsWith('Too many Cluster redirections')) return 'redis_tryagain'
  // A script that finds a value of another type says where it stopped.
  const unnamed = message?.includes('user_script') === true ? 'damaged' : 'unavailable'
  const word = code ?? /\b(?!ERR\b)[A-Z]{3,}\b/.exec(message)?.[0] ?? unnamed
  return `redis_${word.toLowerCase()}`
}

function isAboutKeys (reason: string): boolean {
  return ['redis_damaged', 'redis_wrongtype', 'redis_lost', 'redis_tryagain'].includes(reason)
}

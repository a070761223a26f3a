// Limits that replicas share, in Redis or Valkey: one round trip for a mint, whatever the number of windows.

import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { RedisAddress } from '../config/environment.ts'
import { ApiError } from '../errors.ts'
import type { Log } from '../records/log.ts'
import { type Connection, connectRedis, type Scripts } from '../redis/connection.ts'
import {
  type Bucket, isOfSeconds,
  type LimitStore, refundBound, type Reservation, type Reserved, type Slot, type Take, WINDOW_MS, type WindowName,
  type WindowState
} from './limits.ts'

const lua = (name: string) => readFileSync(new URL(`../redis/scripts/${name}.lua`, import.meta.url), 'utf8')
const SCRIPTS = { take: lua('window') + lua('take'), giveBack: lua('window') + lua('give-back') }

/**
 * One hash tag for everything: a mint takes from windows of its caller and from totals that callers share, and a script
 * reaches only keys of one slot. What a caller or a policy is called comes behind it and cannot be another tag.
 */
const PREFIX = '{ephemint}:'
const MARKER = `${PREFIX}marker`
/** Longer than this, and no window that we know of is open any more. */
const MARKER_GOOD_FOR_MS = WINDOW_MS.day

export type RedisStore = LimitStore & Readonly<{
  isUp: () => boolean
  /** Until Redis was there once a replica is not to be asked, unless it may count alone. */
  isReady: () => boolean
  counts: () => RedisCounts
}>

export type RedisCounts = Readonly<{
  /** Taken in memory, while Redis was lost. */
  local: number
  /** Failed mints that stay counted, because Redis was lost when they were given back. */
  notGivenBack: number
  /** How often the windows in Redis were found gone before their time. */
  dataLosses: number
}>

export type RedisStoreDeps = Readonly<{
  address: RedisAddress
  log: Pick<Log, 'info' | 'warn' | 'error'>
  /** Where a replica counts alone while Redis is lost; null: then nothing is minted. */
  local: LimitStore | null
  /** Monotonic, in milliseconds. */
  now?: () => number
}>

type Window = Readonly<{ key: string, window: WindowName, limit: number, bound: number | null }>
type Counted = Readonly<{
  isFree: boolean
  seconds: number
  /** Those of mints, then those of seconds. */
  windows: readonly (WindowState & Window & Slot)[]
}>

type Returned = Slot & Readonly<{ amount: number, bound: number | null }>

/** Mints alone, as most are. */
const ONE = { seconds: [], most: 0, least: 0, credit: null } as const

export function createRedisStore ({ address, log, local, now = () => performance.now() }: RedisStoreDeps): RedisStore {
  const ids = idsOfProcess()
  const counts = { local: 0, notGivenBack: 0, dataLosses: 0 }
  let marker = { value: '', seenAt: -Infinity }
  const connection = connectRedis(address, {
    scripts: SCRIPTS,
    log,
    consequence: local === null ? 'mints are refused' : 'each replica counts alone',
    check: adoptMarker
  })

  const expectedMarker = () => now() - marker.seenAt < MARKER_GOOD_FOR_MS ? marker.value : ''

  /** Also shows whether Redis takes writes. */
  async function adoptMarker (ask: Connection<keyof typeof SCRIPTS>['ask']): Promise<void> {
    const [, value] = await ask((scripts) => scripts.take(1, MARKER, '', ids(), 0, 0, 0)) as [number, string]
    if (expectedMarker() !== '' && value !== marker.value) noteDataLoss()
    marker = { value, seenAt: now() }
  }

  function noteDataLoss (): void {
    counts.dataLosses++
    marker = { value: '', seenAt: -Infinity }
    log.error({}, 'Redis has lost its windows: every limit starts again')
  }

  /** All windows are taken from, or none; with `isPeek` nothing is taken. */
  async function count ({ buckets, seconds, most, least, credit }: Reservation, isPeek = false): Promise<Counted> {
    const [mints, reserved] = [windowsOf(buckets), windowsOf(seconds)]
    const windows = [...mints, ...reserved]
    const expected = expectedMarker()
    const limits = windows.flatMap(({ window, limit }) => [isPeek ? 0 : limit, WINDOW_MS[window]])
    const credits = reserved.flatMap(({ key, window }) => {
      const slot = credit?.slots.find((slot) => slot.key === key && slot.window === window)
      return [slot?.id ?? '', credit?.seconds ?? 0]
    })
    const take = async (scripts: Scripts<keyof typeof SCRIPTS>) => readCounted(windows, await scripts.take(
      windows.length + 1, MARKER, ...windows.map(keyOf),
      expected, ids(), mints.length, most, least, ...limits, ...credits
    ))
    try {
      const counted = await connection.ask(take, (late) => {
        if (late.isFree) send(returned(late, false))
      })
      marker = { value: counted.marker, seenAt: now() }
      return counted
    } catch (error) {
      if ((error as ApiError).reason === 'redis_lost' && expected === marker.value) noteDataLoss()
      throw error
    }
  }

  function putBack (counted: Counted, isRefund: boolean): Promise<void> {
    return sendIfUp(counted.isFree ? returned(counted, isRefund) : [])
  }

  async function sendIfUp (back: readonly Returned[]): Promise<void> {
    if (back.length === 0) return
    if (connection.isUp()) await send(back)
    else counts.notGivenBack++
  }

  /** Never rejects: a mint that failed has its own reason, and this is not it. */
  async function send (back: readonly Returned[]): Promise<void> {
    const facts = back.flatMap(({ id, amount, bound }) => [id, amount, bound ?? ''])
    try {
      await connection.ask((scripts) => scripts.giveBack(back.length, ...back.map(keyOf), ...facts))
    } catch {
      counts.notGivenBack++
    }
  }

  /** In Redis; or alone, where that is allowed and Redis is lost. A damaged window is neither. */
  async function shared<T> (inRedis: () => Promise<T>, alone: (store: LimitStore) => T | Promise<T>): Promise<T> {
    if (connection.isUp()) {
      try {
        return await inRedis()
      } catch (error) {
        if (local === null || connection.isUp()) throw error
      }
    }
    if (local === null) throw new ApiError('limits_unavailable', { reason: 'redis_unavailable', retryAfterSeconds: 1 })
    return alone(local)
  }

  return {
    take: async (buckets) => {
      if (buckets.length === 0) return { taken: true, windows: [], giveBack: () => {}, refund: () => {} }
      return shared<Take>(async () => {
        const counted = await count({ ...ONE, buckets })
        return {
          taken: counted.isFree,
          windows: counted.windows,
          giveBack: () => putBack(counted, false),
          refund: () => putBack(counted, true)
        }
      }, (store) => {
        counts.local++
        return store.take(buckets)
      })
    },
    reserve: async (reservation) => {
      return shared<Reserved>(async () => {
        const counted = await count(reservation)
        const secondsWindows = counted.windows.filter(isOfSeconds)
        const windows = counted.windows.filter((window) => !isOfSeconds(window))
        return {
          taken: counted.isFree,
          seconds: counted.seconds,
          windows,
          secondsWindows,
          slots: counted.isFree ? secondsWindows.map(({ key, window, id }) => ({ key, window, id })) : [],
          giveBack: () => putBack(counted, false),
          refund: () => putBack(counted, true)
        }
      }, (store) => {
        counts.local++
        return store.reserve(reservation)
      })
    },
    giveSecondsBack: (slots, seconds) => sendIfUp(slots.map((slot) => ({ ...slot, amount: seconds, bound: null }))),
    peek: async (buckets) => {
      if (buckets.length === 0) return []
      return shared<readonly WindowState[]>(
        async () => (await count({ ...ONE, buckets }, true)).windows, (store) => store.peek(buckets)
      )
    },
    close: connection.close,
    isUp: connection.isUp,
    isReady: () => local !== null || connection.wasUp(),
    counts: () => counts
  }
}

function returned ({ windows, seconds }: Counted, isRefund: boolean): Returned[] {
  return windows.map((window) => isOfSeconds(window)
    ? { ...window, amount: seconds, bound: null }
    : { ...window, amount: 1, bound: isRefund ? window.bound : null })
}

function windowsOf (buckets: readonly Bucket[]): Window[] {
  return buckets.flatMap((bucket) => (Object.entries(bucket.windows) as [WindowName, number][])
    .map(([window, limit]) => ({ key: bucket.key, window, limit, bound: refundBound(buckets, bucket, limit) })))
}

function keyOf ({ key, window }: Pick<Slot, 'key' | 'window'>): string {
  return `${PREFIX}${key}:${window}`
}

function readCounted (windows: readonly Window[], answer: unknown): Counted & { marker: string } {
  const [isFree, marker, seconds, ...parts] = answer as [number, string, number, ...(string | number)[]]
  return {
    isFree: isFree === 1,
    marker,
    seconds,
    windows: windows.map((window, i) => {
      const [count, resetMs, id] = parts.slice(i * 3, i * 3 + 3) as [number, number, string]
      return { ...window, remaining: Math.max(0, window.limit - count), resetMs, id }
    })
  }
}

/** Unique, of letters and digits. */
function idsOfProcess (): () => string {
  const own = randomBytes(8).toString('hex')
  let last = 0
  return () => own + (last++).toString(36)
}

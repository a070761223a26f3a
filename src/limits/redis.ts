// Limits that replicas share, in Redis or Valkey: one round trip for a mint, whatever the number of windows.

import { randomBytes } from 'node:crypto'
import type { RedisAddress } from '../config/environment.ts'
import { ApiError } from '../errors.ts'
import type { Log } from '../records/log.ts'
import { type Connection, connectRedis, type Scripts } from '../redis/connection.ts'
import {
  type Bucket, type LimitStore, refundBound, type Take, WINDOW_MS, type WindowName, type WindowState
} from './limits.ts'

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

type Slot = Readonly<{ key: string, window: WindowName, limit: number, bound: number | null }>
type Counted = Readonly<{ isFree: boolean, windows: readonly (WindowState & Slot & { id: string })[] }>

export function createRedisStore ({ address, log, local, now = () => performance.now() }: RedisStoreDeps): RedisStore {
  const ids = idsOfProcess()
  const counts = { local: 0, notGivenBack: 0, dataLosses: 0 }
  let marker = { value: '', seenAt: -Infinity }
  const connection = connectRedis(address, {
    log,
    consequence: local === null ? 'mints are refused' : 'each replica counts alone',
    check: adoptMarker
  })

  const expectedMarker = () => now() - marker.seenAt < MARKER_GOOD_FOR_MS ? marker.value : ''

  /** Also shows whether Redis takes writes. */
  async function adoptMarker (ask: Connection['ask']): Promise<void> {
    const [, value] = await ask((scripts) => scripts.take(1, MARKER, '', ids())) as [number, string]
    if (expectedMarker() !== '' && value !== marker.value) noteDataLoss()
    marker = { value, seenAt: now() }
  }

  function noteDataLoss (): void {
    counts.dataLosses++
    marker = { value: '', seenAt: -Infinity }
    log.error({}, 'Redis has lost its windows: every limit begins anew')
  }

  /** One from each window, or from none; with `isPeek` nothing is taken. */
  async function count (buckets: readonly Bucket[], isPeek: boolean): Promise<Counted> {
    const slots = slotsOf(buckets)
    const keys = slots.map(keyOf)
    const expected = expectedMarker()
    const limits = slots.flatMap(({ window, limit }) => [isPeek ? 0 : limit, WINDOW_MS[window]])
    const take = async (scripts: Scripts) =>
      readCounted(slots, await scripts.take(keys.length + 1, MARKER, ...keys, expected, ids(), ...limits))
    try {
      const counted = await connection.ask(take, ({ isFree, windows }) => {
        if (isFree) sendBack(windows, false)
      })
      marker = { value: counted.marker, seenAt: now() }
      return counted
    } catch (error) {
      if ((error as ApiError).reason === 'redis_lost' && expected === marker.value) noteDataLoss()
      throw error
    }
  }

  /** Never rejects: a mint that failed has its own reason, and this is not it. */
  async function sendBack (windows: Counted['windows'], isRefund: boolean): Promise<void> {
    const slots = windows.flatMap(({ id, bound }) => [id, isRefund ? bound ?? '' : ''])
    try {
      await connection.ask((scripts) => scripts.giveBack(windows.length, ...windows.map(keyOf), ...slots))
    } catch {
      counts.notGivenBack++
    }
  }

  async function putBack ({ isFree, windows }: Counted, isRefund: boolean): Promise<void> {
    if (!isFree) return
    if (connection.isUp()) await sendBack(windows, isRefund)
    else counts.notGivenBack++
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
        const counted = await count(buckets, false)
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
    peek: async (buckets) => {
      if (buckets.length === 0) return []
      return shared<readonly WindowState[]>(
        async () => (await count(buckets, true)).windows, (store) => store.peek(buckets)
      )
    },
    close: connection.close,
    isUp: connection.isUp,
    isReady: () => local !== null || connection.wasUp(),
    counts: () => counts
  }
}

function slotsOf (buckets: readonly Bucket[]): Slot[] {
  return buckets.flatMap((bucket) => (Object.entries(bucket.windows) as [WindowName, number][])
    .map(([window, limit]) => ({ key: bucket.key, window, limit, bound: refundBound(buckets, bucket, limit) })))
}

function keyOf ({ key, window }: Pick<Slot, 'key' | 'window'>): string {
  return `${PREFIX}${key}:${window}`
}

function readCounted (slots: readonly Slot[], answer: unknown): Counted & { marker: string } {
  const [isFree, marker, ...parts] = answer as [number, string, ...(string | number)[]]
  return {
    isFree: isFree === 1,
    marker,
    windows: slots.map((slot, i) => {
      const [count, resetMs, id] = parts.slice(i * 3, i * 3 + 3) as [number, number, string]
      return { ...slot, remaining: Math.max(0, slot.limit - count), resetMs, id }
    })
  }
}

/** Nobody else's, as letters and digits. */
function idsOfProcess (): () => string {
  const own = randomBytes(8).toString('hex')
  let last = 0
  return () => own + (last++).toString(36)
}

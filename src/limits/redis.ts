// Limits that replicas share, in Redis or Valkey: one round trip for a mint, whatever the number of windows.

import { randomBytes } from 'node:crypto'
import type { RedisAddress } from '../config/environment.ts'
import { ApiError } from '../errors.ts'
import type { Log } from '../records/log.ts'
import { type Around, type Connection, connectRedis, type Scripts } from '../redis/connection.ts'
import { MARKER, PREFIX, SCRIPTS } from '../redis/scripts.ts'
import {
  type Bucket, isOfSeconds, type LimitStore, type Placed, refundBound, type Reservation, type Reserved,
  type SharedPlace, type Slot, type Take, WINDOW_MS, type WindowName, type WindowState
} from './limits.ts'

/** No window that we know of is open for longer. */
const MARKER_GOOD_FOR_MS = WINDOW_MS.day

export type RedisStore = LimitStore & Readonly<{
  isUp: () => boolean
  /** False until Redis was connected once, unless this replica may count alone. */
  isReady: () => boolean
  counts: () => RedisCounts
  /** Shared with the calls. */
  connection: RedisConnection
}>

export type RedisConnection = Pick<Connection<keyof typeof SCRIPTS>, 'ask' | 'isUp'>

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
  around?: Around | undefined
  withinMs?: number | undefined
  /** Monotonic, in milliseconds. */
  now?: () => number
}>

type Window = Readonly<{ key: string, window: WindowName, limit: number, bound: number | null }>
type Counted = Readonly<{
  isFree: boolean
  seconds: number
  /** Those of mints, then those of seconds. */
  windows: readonly (WindowState & Window & Slot)[]
  placed?: Placed
}>

type Returned = Slot & Readonly<{ amount: number, bound: number | null }>

/** A request without limits needs no Redis. */
const NO_LIMITS: Take = { taken: true, windows: [], giveBack: () => {}, refund: () => {} }

/** Mints alone, as most are. */
const ONE = { seconds: [], most: 0, least: 0, credit: null } as const

const FULL_RETRY_SECONDS = 5

export function createRedisStore (
  { address, log, local, around, withinMs, now = () => performance.now() }: RedisStoreDeps
): RedisStore {
  const ids = idsOfProcess()
  const counts = { local: 0, notGivenBack: 0, dataLosses: 0 }
  /** Those that were taken in memory: Redis knows nothing of them. */
  const localSlots = new WeakSet<readonly Slot[]>()
  let marker = { value: '', seenAt: -Infinity }
  const connection = connectRedis(address, {
    scripts: SCRIPTS,
    log,
    consequence: local === null ? 'mints are refused' : 'each replica counts alone',
    check: adoptMarker,
    around,
    withinMs
  })

  const expectedMarker = () => now() - marker.seenAt < MARKER_GOOD_FOR_MS ? marker.value : ''

  async function adoptMarker (ask: Connection<keyof typeof SCRIPTS>['ask']): Promise<void> {
    const expected = expectedMarker()
    const value = await ask((scripts) => scripts.checkMarker(1, MARKER, expected, ids())) as string
    if (expected !== '' && value !== expected) noteDataLoss()
    marker = { value, seenAt: now() }
  }

  function noteDataLoss (): void {
    counts.dataLosses++
    const { value } = marker
    marker = { value: '', seenAt: -Infinity }
    // Before any later script of this replica: the places of calls are unknown, too.
    connection.ask((scripts) => scripts.checkMarker(1, MARKER, value, ids())).catch(() => {})
    log.error({}, 'Redis has lost its windows: every limit starts again')
  }

  /** All windows are taken from, or none; with `isPeek` nothing is taken. */
  async function count (asked: Reservation, isPeek = false): Promise<Counted> {
    const { buckets, seconds, most, least, credit, place } = asked
    const [mints, reserved] = [windowsOf(buckets), windowsOf(seconds)]
    const windows = [...mints, ...reserved]
    const expected = expectedMarker()
    const limits = windows.flatMap(({ window, limit }) => [isPeek ? 0 : limit, WINDOW_MS[window]])
    const credits = reserved.flatMap(({ key, window }) => {
      const slot = credit?.slots.find((slot) => slot.key === key && slot.window === window)
      return [slot?.id ?? '', credit?.seconds ?? 0]
    })
    const keys = [MARKER, ...windows.map(keyOf)]
    const facts = [expected, ids(), mints.length, most, least, ...limits, ...credits]
    const take = async (scripts: Scripts<keyof typeof SCRIPTS>): Promise<Counted & { marker: string } | ApiError> => {
      if (place === undefined) return readCounted(windows, await scripts.take(keys.length, ...keys, ...facts))
      const answer = await scripts.beginCall(keys.length, ...keys, ...argumentsOf(place, local === null), ...facts)
      const { placed, taken } = readPlaced(answer)
      return placed instanceof ApiError ? placed : { ...readCounted(windows, taken), placed }
    }
    try {
      const counted = await connection.ask(take, (late) => {
        if (late instanceof ApiError || !late.isFree) return
        send(returned(late, false))
        if (place !== undefined) leave(place, late.placed as Placed)
      })
      if (counted instanceof ApiError) throw counted
      marker = { value: counted.marker, seenAt: now() }
      return counted
    } catch (error) {
      if ((error as ApiError).reason === 'redis_lost' && expected === marker.value) noteDataLoss()
      throw error
    }
  }

  /** Gives up a place that was taken too late for its request. */
  function leave ({ call }: SharedPlace, { fence }: Placed): void {
    connection.ask((scripts) => scripts.releaseCall(1, MARKER, call, fence, 0)).catch(() => {})
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

  /** Counts in Redis or, if Redis is lost and `local` is set, alone. A damaged window is an error in both cases. */
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
      if (buckets.length === 0) return NO_LIMITS
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
      const { buckets, seconds, most, place } = reservation
      if (buckets.length + seconds.length === 0 && place === undefined) {
        return { ...NO_LIMITS, seconds: most, secondsWindows: [], slots: [] }
      }
      return shared<Reserved>(async () => {
        const counted = await count(reservation)
        const secondsWindows = counted.windows.filter(isOfSeconds)
        const windows = counted.windows.filter((window) => !isOfSeconds(window))
        return {
          taken: counted.isFree,
          seconds: counted.seconds,
          windows,
          secondsWindows,
          ...counted.placed === undefined ? {} : { placed: counted.placed },
          slots: counted.isFree ? secondsWindows.map(({ key, window, id }) => ({ key, window, id })) : [],
          giveBack: () => putBack(counted, false),
          refund: () => putBack(counted, true)
        }
      }, async (store) => {
        counts.local++
        const reserved = await store.reserve(reservation)
        localSlots.add(reserved.slots)
        return reserved
      })
    },
    giveSecondsBack: (slots, seconds) => localSlots.has(slots)
      ? (local as LimitStore).giveSecondsBack(slots, seconds)
      : sendIfUp(slots.map((slot) => ({ ...slot, amount: seconds, bound: null }))),
    peek: async (buckets) => {
      if (buckets.length === 0) return []
      return shared<readonly WindowState[]>(
        async () => (await count({ ...ONE, buckets }, true)).windows, (store) => store.peek(buckets)
      )
    },
    close: connection.close,
    isUp: connection.isUp,
    isReady: () => local !== null || connection.wasUp(),
    counts: () => counts,
    connection
  }
}

function argumentsOf (
  { call, replica, caller, policy, concurrent, whenFull, total, data }: SharedPlace, isDenied: boolean
): (string | number)[] {
  return [call, replica, caller, policy, concurrent, whenFull, total ?? '', data, isDenied ? 'deny' : '']
}

const REFUSALS: Readonly<Record<string, () => ApiError>> = {
  in_progress: () => new ApiError('call_in_progress'),
  total: () => new ApiError('calls_full', { reason: 'total', retryAfterSeconds: FULL_RETRY_SECONDS }),
  unknown: () =>
    new ApiError('limits_unavailable', { reason: 'calls_unknown', retryAfterSeconds: FULL_RETRY_SECONDS })
}

/** `placed` is an error where the place is refused. */
function readPlaced (answer: unknown): Readonly<{ placed: Placed | ApiError, taken: unknown }> {
  const [fence, replaces, taken] = answer as [string, string, unknown]
  const placed = REFUSALS[fence]?.() ?? { fence: Number(fence), replaces: replaces === '' ? null : replaces }
  return { placed, taken }
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

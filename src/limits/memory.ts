// Limits in the memory of one process. Bounded: the least recently seen caller is forgotten first, never an exhausted
// one.

import { LRUCache } from 'lru-cache'
import { ApiError } from '../errors.ts'
import {
  type Bucket, isCallers, isExhausted, type LimitStore, refundBound, type Reservation, type Reserved, type Slot,
  type Take, WINDOW_MS, type WindowName, WINDOWS, type WindowState
} from './limits.ts'

type Open = { count: number, refunds: number, endsAt: number }
type Entry = { [window in WindowName]: Open | undefined }

/** Where a mint was counted; `opened` holds every window of every bucket. */
type Taken = Readonly<{ buckets: readonly Bucket[], entries: readonly Entry[], opened: readonly Open[] }>

const MAX_ENTRIES = 200_000

/** Whole milliseconds: a fraction would be an object of its own in each window. */
const monotonicMs = () => Math.round(performance.now())

/** `now` is monotonic, in milliseconds: a step of the wall clock opens no window. */
export function createMemoryStore ({ now = monotonicMs, maxEntries = MAX_ENTRIES } = {}): LimitStore {
  // Each entry is in one of the two. Policies' totals are few, and held like exhausted callers.
  // Bounded by size, not by number: a table for the whole number would be made now, in a tenth of a start's time.
  const evictable = new LRUCache<string, Entry>({ maxSize: maxEntries, sizeCalculation: () => 1 })
  const held = new Map<string, { entry: Entry, until: number }>()
  const bucketsOfSlots = new WeakMap<readonly Slot[], readonly Bucket[]>()
  let nothingFreeUntil = -Infinity

  /** The entry without windows that have ended. */
  function find (key: string, at: number): Entry | undefined {
    const entry = evictable.get(key) ?? held.get(key)?.entry
    if (entry === undefined) return undefined
    for (const window of WINDOWS) if ((entry[window]?.endsAt ?? Infinity) <= at) entry[window] = undefined
    return entry
  }

  /** Moves an entry to where it belongs as it is now. */
  function keep ({ key, windows }: Bucket, entry: Entry): void {
    let isOpen = false
    let until = -Infinity
    for (const window of WINDOWS) {
      const open = entry[window]
      if (open === undefined) continue
      isOpen = true
      const isHeld = !isCallers({ key }) || isExhausted({ key }, windows[window] ?? Infinity, open.count)
      if (isHeld) until = Math.max(until, open.endsAt)
    }
    if (until > -Infinity) {
      evictable.delete(key)
      held.set(key, { entry, until })
      return
    }
    held.delete(key)
    if (!isOpen) evictable.delete(key)
    else if (!evictable.has(key)) evictable.set(key, entry)
  }

  /** For `entries` new ones. Throws ApiError where all others are exhausted. */
  function makeRoom (entries: number, at: number): void {
    const missing = () => evictable.size + held.size + entries - maxEntries
    if (missing() > evictable.size && at >= nothingFreeUntil) releaseHeld(at)
    if (missing() > evictable.size) {
      throw new ApiError('limits_unavailable', { reason: 'store_full', retryAfterSeconds: 60 })
    }
    while (missing() > 0) evictable.pop()
  }

  /** Callers who are no longer exhausted may be forgotten. Not tried again before the next of them is free. */
  function releaseHeld (at: number): void {
    nothingFreeUntil = Infinity
    for (const [key, { entry, until }] of held) {
      if (until > at) {
        nothingFreeUntil = Math.min(nothingFreeUntil, until)
        continue
      }
      held.delete(key)
      evictable.set(key, entry)
    }
  }

  /** A caller's windows come before the totals, whose refund depends on them. */
  function putBack ({ buckets, entries, opened }: Taken, isRefund: boolean): void {
    const at = now()
    let next = 0
    let isRefused = false
    let isGiven = false
    for (const [i, bucket] of buckets.entries()) {
      const entry = find(bucket.key, at)
      for (const window of WINDOWS) {
        const limit = bucket.windows[window]
        if (limit === undefined) continue
        const open = opened[next++] as Open
        // A window that has ended, or whose entry was forgotten, has nothing to be given back to.
        if (entry !== entries[i] || entry?.[window] !== open) continue
        const bound = isRefund ? refundBound(buckets, bucket, limit) : null
        if (bound === null ? isRefused && !isGiven : open.refunds >= bound) {
          isRefused = true
          continue
        }
        isGiven = true
        open.count--
        if (bound !== null) open.refunds++
        // One that has given a refund stays open, or the bound would begin with each mint.
        if (open.count === 0 && open.refunds === 0) entry[window] = undefined
      }
      if (entry === entries[i] && entry !== undefined) keep(bucket, entry)
    }
  }

  /** `amount` from each window. Room must have been made: all windows are taken, or none. */
  function count (
    buckets: readonly Bucket[], found: readonly (Entry | undefined)[], amount: number, at: number
  ): Taken {
    const opened: Open[] = []
    const entries = buckets.map((bucket, i) => {
      const entry = found[i] ?? { minute: undefined, hour: undefined, day: undefined }
      for (const window of WINDOWS) {
        if (bucket.windows[window] === undefined) continue
        const open = entry[window] ??= { count: 0, refunds: 0, endsAt: at + WINDOW_MS[window] }
        open.count += amount
        opened.push(open)
      }
      keep(bucket, entry)
      return entry
    })
    return { buckets, entries, opened }
  }

  function take (buckets: readonly Bucket[]): Take {
    const at = now()
    const found = buckets.map(({ key }) => find(key, at))
    if (buckets.some((bucket, i) => isEmpty(bucket, found[i]))) {
      return { taken: false, windows: states(buckets, found, at), giveBack: () => {}, refund: () => {} }
    }
    makeRoom(found.filter((entry) => entry === undefined).length, at)
    const taken = count(buckets, found, 1, at)
    return {
      taken: true,
      windows: states(buckets, taken.entries, at),
      giveBack: () => putBack(taken, false),
      refund: () => putBack(taken, true)
    }
  }

  function reserve ({ buckets, seconds: wanted, most, least, credit }: Reservation): Reserved {
    const at = now()
    const found = wanted.map(({ key }) => find(key, at))
    const seconds = Math.min(most, ...wanted.flatMap(({ key, windows }, i) => WINDOWS.flatMap((window) => {
      const limit = windows[window]
      const open = found[i]?.[window]
      if (limit === undefined) return []
      const isCredited = credit?.slots.some((slot) => isSlot(slot, key, window, open)) === true
      return limit - (open?.count ?? 0) + (isCredited ? credit.seconds : 0)
    })))
    if (seconds < least) {
      const windows = states(buckets, buckets.map(({ key }) => find(key, at)), at)
      return { ...NOTHING_TAKEN, windows, secondsWindows: states(wanted, found, at) }
    }
    const one = take(buckets)
    if (!one.taken) return { ...NOTHING_TAKEN, windows: one.windows, secondsWindows: states(wanted, found, at) }
    try {
      makeRoom(found.filter((entry) => entry === undefined).length, at)
    } catch (error) {
      one.giveBack()
      throw error
    }
    const { entries } = count(wanted, found, seconds, at)
    const slots = wanted.flatMap(({ key, windows }, i) => WINDOWS.flatMap((window) =>
      windows[window] === undefined ? [] : [{ key, window, id: idOf(entries[i]?.[window] as Open) }]))
    bucketsOfSlots.set(slots, wanted)
    return {
      taken: true,
      windows: one.windows,
      secondsWindows: states(wanted, entries, at),
      seconds,
      slots,
      giveBack: () => {
        one.giveBack()
        giveSecondsBack(slots, seconds)
      },
      refund: () => {
        one.refund()
        giveSecondsBack(slots, seconds)
      }
    }
  }

  function giveSecondsBack (slots: readonly Slot[], seconds: number): void {
    const at = now()
    for (const { key, window, id } of slots) {
      const entry = find(key, at)
      const open = entry?.[window]
      if (entry === undefined || open === undefined || idOf(open) !== id) continue
      open.count = Math.max(0, open.count - seconds)
      if (open.count === 0) entry[window] = undefined
    }
    for (const bucket of bucketsOfSlots.get(slots) ?? []) {
      const entry = find(bucket.key, at)
      if (entry !== undefined) keep(bucket, entry)
    }
  }

  return {
    take,
    reserve,
    giveSecondsBack,
    peek: (buckets) => {
      const at = now()
      return states(buckets, buckets.map(({ key }) => find(key, at)), at)
    },
    close: () => {}
  }
}

const NOTHING_TAKEN = { taken: false, seconds: 0, slots: [], giveBack: () => {}, refund: () => {} } as const

/** A window that is opened later ends later. */
function idOf ({ endsAt }: Open): string {
  return String(endsAt)
}

function isSlot (slot: Slot, key: string, window: WindowName, open: Open | undefined): boolean {
  return open !== undefined && slot.key === key && slot.window === window && slot.id === idOf(open)
}

function isEmpty (bucket: Bucket, entry: Entry | undefined): boolean {
  return entry !== undefined &&
    WINDOWS.some((window) => isExhausted(bucket, bucket.windows[window] ?? Infinity, entry[window]?.count ?? 0))
}

function states (buckets: readonly Bucket[], entries: readonly (Entry | undefined)[], at: number): WindowState[] {
  const all: WindowState[] = []
  for (const [i, { key, windows }] of buckets.entries()) {
    for (const window of WINDOWS) {
      const limit = windows[window]
      if (limit === undefined) continue
      const open = entries[i]?.[window]
      all.push({
        key,
        window,
        limit,
        remaining: Math.max(0, limit - (open?.count ?? 0)),
        resetMs: open === undefined
          ? WINDOW_MS[window]
          : open.endsAt - at
      })
    }
  }
  return all
}

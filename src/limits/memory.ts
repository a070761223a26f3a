// Limits of one process. Bounded: the least recently seen are forgotten first, an exhausted caller never.

import { LRUCache } from 'lru-cache'
import { ApiError } from '../errors.ts'
import {
  type Bucket, isCallers, type LimitStore, refundBound, WINDOW_MS, type WindowName, WINDOWS, type WindowState
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
  // An entry stands in one of the two. Policies' totals are few, and held like those that are exhausted.
  // By size, not by number: a table for the whole number would be made now, in a tenth of the time that a start may take.
  const evictable = new LRUCache<string, Entry>({ maxSize: maxEntries, sizeCalculation: () => 1 })
  const held = new Map<string, { entry: Entry, until: number }>()
  let nothingFreeUntil = -Infinity

  /** Windows that have ended are gone from it. */
  function find (key: string, at: number): Entry | undefined {
    const entry = evictable.get(key) ?? held.get(key)?.entry
    if (entry === undefined) return undefined
    for (const window of WINDOWS) if ((entry[window]?.endsAt ?? Infinity) <= at) entry[window] = undefined
    return entry
  }

  /** Where it belongs, as it is now. */
  function keep ({ key, windows }: Bucket, entry: Entry): void {
    let isOpen = false
    let until = -Infinity
    for (const window of WINDOWS) {
      const open = entry[window]
      if (open === undefined) continue
      isOpen = true
      if (open.count >= (windows[window] ?? Infinity) || !isCallers({ key })) until = Math.max(until, open.endsAt)
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

  /** For so many new entries. Throws where everything else is exhausted. */
  function makeRoom (entries: number, at: number): void {
    const missing = () => evictable.size + held.size + entries - maxEntries
    if (missing() > evictable.size && at >= nothingFreeUntil) releaseHeld(at)
    if (missing() > evictable.size) {
      throw new ApiError('limits_unavailable', { reason: 'store_full', retryAfterSeconds: 60 })
    }
    while (missing() > 0) evictable.pop()
  }

  /** Whoever is exhausted no longer may be forgotten; looking again before the next one is free would be work for nothing. */
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

  /** A caller's windows come before the totals: these ask what those answered. */
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

  return {
    take: (buckets) => {
      const at = now()
      const found = buckets.map(({ key }) => find(key, at))
      if (buckets.some(({ windows }, i) => isExhausted(windows, found[i]))) {
        return { taken: false, windows: states(buckets, found, at), giveBack: () => {}, refund: () => {} }
      }
      // Room is made before anything is counted: all windows are taken, or none.
      makeRoom(found.filter((entry) => entry === undefined).length, at)
      const opened: Open[] = []
      const entries = buckets.map((bucket, i) => {
        const entry = found[i] ?? { minute: undefined, hour: undefined, day: undefined }
        for (const window of WINDOWS) {
          if (bucket.windows[window] === undefined) continue
          const open = entry[window] ??= { count: 0, refunds: 0, endsAt: at + WINDOW_MS[window] }
          open.count++
          opened.push(open)
        }
        keep(bucket, entry)
        return entry
      })
      return {
        taken: true,
        windows: states(buckets, entries, at),
        giveBack: () => putBack({ buckets, entries, opened }, false),
        refund: () => putBack({ buckets, entries, opened }, true)
      }
    },
    peek: (buckets) => {
      const at = now()
      return states(buckets, buckets.map(({ key }) => find(key, at)), at)
    },
    close: () => {}
  }
}

function isExhausted (windows: Bucket['windows'], entry: Entry | undefined): boolean {
  return entry !== undefined && WINDOWS.some((window) => (entry[window]?.count ?? 0) >= (windows[window] ?? Infinity))
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

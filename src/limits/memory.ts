// Limits of one process. Bounded: the least recently seen are forgotten first, an exhausted caller never.

import { LRUCache } from 'lru-cache'
import { ApiError } from '../errors.ts'
import { isCallers, WINDOW_MS, type Bucket, type LimitStore, type WindowName, type WindowState } from './limits.ts'

type Open = { count: number, endsAt: number }
type Entry = Map<WindowName, Open>

const MAX_ENTRIES = 400_000

/** `now` is monotonic, in milliseconds: a step of the wall clock opens no window. */
export function createMemoryStore ({ now = () => performance.now(), maxEntries = MAX_ENTRIES } = {}): LimitStore {
  // An entry stands in one of the two. Policies' totals are few, and held like those that are exhausted.
  const evictable = new LRUCache<string, Entry>({ max: maxEntries })
  const held = new Map<string, { entry: Entry, until: number }>()
  let nothingFreeUntil = -Infinity

  /** Windows that have ended are gone from it. */
  function find (key: string): Entry | undefined {
    const entry = evictable.get(key) ?? held.get(key)?.entry
    const at = now()
    for (const [window, { endsAt }] of entry ?? []) if (endsAt <= at) entry?.delete(window)
    return entry
  }

  function state ({ key, windows }: Bucket, entry: Entry | undefined): WindowState[] {
    const at = now()
    return (Object.entries(windows) as [WindowName, number][]).map(([window, limit]) => {
      const open = entry?.get(window)
      const remaining = Math.max(0, limit - (open?.count ?? 0))
      return { key, window, limit, remaining, resetMs: open === undefined ? WINDOW_MS[window] : open.endsAt - at }
    })
  }

  function keep (bucket: Bucket, entry: Entry): void {
    evictable.delete(bucket.key)
    held.delete(bucket.key)
    if (entry.size === 0) return
    const at = now()
    const holding = state(bucket, entry).filter(({ remaining }) => remaining === 0 || !isCallers(bucket))
    if (holding.length === 0) evictable.set(bucket.key, entry)
    else held.set(bucket.key, { entry, until: at + Math.max(...holding.map(({ resetMs }) => resetMs)) })
  }

  /** For so many new entries. Throws where everything else is exhausted. */
  function makeRoom (entries: number): void {
    const missing = () => evictable.size + held.size + entries - maxEntries
    if (missing() > evictable.size && now() >= nothingFreeUntil) releaseHeld()
    if (missing() > evictable.size) throw new ApiError('limits_unavailable', { reason: 'store_full', retryAfterSeconds: 60 })
    while (missing() > 0) evictable.pop()
  }

  /** Whoever is exhausted no longer may be forgotten; looking again before the next one is free would be work for nothing. */
  function releaseHeld (): void {
    const at = now()
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

  return {
    take: (buckets) => {
      const found = buckets.map((bucket) => ({ bucket, entry: find(bucket.key) }))
      const before = found.flatMap(({ bucket, entry }) => state(bucket, entry))
      if (before.some(({ remaining }) => remaining === 0)) return { taken: false, windows: before, giveBack: () => {} }

      // Room is made before anything is counted: all windows are taken, or none.
      makeRoom(found.filter(({ entry }) => entry === undefined).length)
      const at = now()
      const counted = found.map(({ bucket, entry = new Map<WindowName, Open>() }) => {
        const opened = (Object.keys(bucket.windows) as WindowName[]).map((window) => {
          const open = entry.get(window) ?? { count: 0, endsAt: at + WINDOW_MS[window] }
          open.count++
          entry.set(window, open)
          return open
        })
        keep(bucket, entry)
        return { bucket, entry, opened }
      })
      return {
        taken: true,
        windows: counted.flatMap(({ bucket, entry }) => state(bucket, entry)),
        giveBack: () => {
          for (const { bucket, entry, opened } of counted) {
            for (const open of opened) open.count--
            for (const [window, { count }] of entry) if (count === 0) entry.delete(window)
            // An entry that was forgotten since has nothing to be given back to.
            if (find(bucket.key) === entry) keep(bucket, entry)
          }
        }
      }
    },
    peek: (buckets) => buckets.flatMap((bucket) => state(bucket, find(bucket.key))),
    close: () => {}
  }
}

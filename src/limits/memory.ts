// Limits of one process. Bounded: the least recently seen are forgotten first, an exhausted caller never.

import { ApiError } from '../errors.ts'
import { WINDOW_MS, type Bucket, type LimitStore, type WindowName, type WindowState } from './limits.ts'

type Open = { count: number, endsAt: number }
type Entry = Map<WindowName, Open>

const MAX_ENTRIES = 400_000

/** `now` is monotonic, in milliseconds: a step of the wall clock opens no window. */
export function createMemoryStore ({ now = () => performance.now(), maxEntries = MAX_ENTRIES } = {}): LimitStore {
  // Insertion order is order of use. An entry stands in one of the two.
  const evictable = new Map<string, Entry>()
  const exhausted = new Map<string, Entry>()

  function find (key: string): Entry | undefined {
    const entry = evictable.get(key) ?? exhausted.get(key)
    if (entry === undefined) return undefined
    const at = now()
    for (const [window, { endsAt }] of entry) if (endsAt <= at) entry.delete(window)
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
    exhausted.delete(bucket.key)
    if (entry.size === 0) return
    const full = state(bucket, entry).some(({ remaining }) => remaining === 0)
    ;(full ? exhausted : evictable).set(bucket.key, entry)
  }

  function makeRoom (): void {
    if (evictable.size + exhausted.size < maxEntries) return
    const [oldest] = evictable.keys()
    if (oldest !== undefined) {
      evictable.delete(oldest)
      return
    }
    for (const [key, entry] of exhausted) {
      const at = now()
      if ([...entry.values()].every(({ endsAt }) => endsAt <= at)) exhausted.delete(key)
    }
    if (exhausted.size >= maxEntries) throw new ApiError('limits_unavailable', { reason: 'store_full', retryAfterSeconds: 60 })
  }

  return {
    take: (buckets) => {
      const before = buckets.flatMap((bucket) => state(bucket, find(bucket.key)))
      if (before.some(({ remaining }) => remaining === 0)) return { taken: false, windows: before, giveBack: () => {} }

      const at = now()
      // Room is made before anything is counted: all windows are taken, or none.
      const entries = buckets.map((bucket) => {
        const entry = find(bucket.key)
        if (entry === undefined) makeRoom()
        return { bucket, entry: entry ?? new Map<WindowName, Open>() }
      })
      const counted = entries.map(({ bucket, entry }) => {
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
            // A window that has ended since, or an entry that was forgotten, has nothing to be given back to.
            if (find(bucket.key) === entry) keep(bucket, entry)
          }
        }
      }
    },
    peek: (buckets) => buckets.flatMap((bucket) => state(bucket, find(bucket.key))),
    close: () => {}
  }
}

// Callers whose credential was verified a moment ago.

import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Caller } from './caller.ts'

const MAX_CALLERS = 10_000
/** Total size of what the callers were read from: claims can be large. */
const MAX_CHARACTERS = 8 * 1024 * 1024

export type CallerCache = Readonly<{
  get: (key: string) => Caller | undefined
  /** `size`: the length of what the caller was read from, in characters. */
  set: (key: string, caller: Caller, size: number) => void
}>

/** SHA-256 of the whole credential: no part of it is enough, and what the cache holds is of no use as a credential. */
export function cacheKey (credential: string): string {
  return hash('sha256', credential, 'base64url')
}

/**
 * Entries live for `maxAgeMs`, but not beyond the caller's own expiry. `now` is the wall clock in milliseconds; once it
 * was set back, earlier entries do not count.
 */
export function createCallerCache (maxAgeMs: number, now: () => number): CallerCache {
  const entries = new LRUCache<string, { caller: Caller, since: number, until: number }>(
    { max: MAX_CALLERS, maxSize: MAX_CHARACTERS }
  )
  return {
    get: (key) => {
      const entry = entries.get(key)
      const time = now()
      return entry !== undefined && entry.since <= time && time < entry.until ? entry.caller : undefined
    },
    set: (key, caller, size) => {
      const since = now()
      entries.set(key, { caller, since, until: Math.min(since + maxAgeMs, caller.expiresAt * 1000) }, { size })
    }
  }
}

// Callers whose credential was found good, for a little while.

import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Caller } from './caller.ts'

const MAX_CALLERS = 10_000
/** Of what was read of them: an app may say a lot of its users. */
const MAX_CHARACTERS = 8 * 1024 * 1024

export type Memory = Readonly<{
  recall: (key: string) => Caller | undefined
  /** `size` is of what the caller was read from, in characters. */
  remember: (key: string, caller: Caller, size: number) => void
}>

/** A credential is remembered by the SHA-256 of the whole of it: nothing shorter may stand for it, and nothing that is kept can be presented. */
export function memoryKey (credential: string): string {
  return hash('sha256', credential, 'base64url')
}

/** For `maxMs`, and never longer than the caller is good. `now` is the wall clock in milliseconds; where it was set back, nothing is remembered. */
export function createMemory (maxMs: number, now: () => number): Memory {
  const known = new LRUCache<string, { caller: Caller, since: number, until: number }>(
    { max: MAX_CALLERS, maxSize: MAX_CHARACTERS }
  )
  return {
    recall: (key) => {
      const found = known.get(key)
      const time = now()
      return found !== undefined && found.since <= time && time < found.until ? found.caller : undefined
    },
    remember: (key, caller, size) => {
      const since = now()
      known.set(key, { caller, since, until: Math.min(since + maxMs, caller.expiresAt * 1000) }, { size })
    }
  }
}

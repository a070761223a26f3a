// When a circuit that broke is tried again. The library asks the wall clock, which may be set back by an hour: what it compares
// with is made to say yes or no.

import type { IBackoff, IBackoffFactory } from 'cockatiel'

/** `now` is monotonic, in milliseconds. */
export function halfOpenAfter (ms: number, now: () => number): IBackoffFactory<unknown> {
  const next = (): IBackoff<unknown> => {
    const openedAt = now()
    return { get duration () { return now() - openedAt >= ms ? -Infinity : Infinity }, next }
  }
  return { next }
}

// The total deadline of requests to upstream: for a mint, retry, second route and audit line included.

import { type Clock, systemClock } from '../clock.ts'

/** `atMs` is by the monotonic clock. `waiting` is called at the deadline, once. */
export type Deadline = Readonly<{
  atMs: number
  isOver: () => boolean
  waiting: Set<() => void>
  /** Before its time. */
  end: () => void
  /** To be called once nothing waits any more. */
  cancel: () => void
}>

const SHARED_FOR_MS = 50

export function deadlineIn (ms: number, clock: Clock = systemClock): Deadline {
  const waiting = new Set<() => void>()
  let isOver = ms <= 0
  const end = () => {
    isOver = true
    for (const giveUp of waiting) giveUp()
  }
  const cancel = clock.after(ms, end)
  return { atMs: clock.monotonicMs() + ms, isOver: () => isOver, waiting, end, cancel }
}

/**
 * The deadline of a mint that begins now. Those that begin within 50 ms share one, which is at most so much early:
 * a timer for each mint costs a tenth of its processor time.
 */
export function createDeadlines (ms: number): () => Deadline {
  let shared: Deadline | undefined
  return () => {
    if (shared === undefined || performance.now() + ms - shared.atMs > SHARED_FOR_MS) shared = deadlineIn(ms)
    return shared
  }
}

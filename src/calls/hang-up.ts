// Hanging up a call: one attempt at a time, repeated until one is confirmed or the call must be over by itself.

import type { Clock } from '../clock.ts'

export type HangUp = Readonly<{
  /** True if confirmed. Never rejects. */
  done: Promise<boolean>
  /** Resolves after the first attempt, successful or not. */
  first: Promise<void>
  /** The attempt that has no outcome yet. */
  underWay: () => Promise<unknown> | null
  /** Restarts the schedule. */
  again: () => void
  /** The sideband has shown that the call is over. */
  confirm: () => void
  /** Unconfirmed, at once: the attempt that is under way goes on, and its outcome is not waited for. */
  giveUp: () => void
  /** As `giveUp`, and aborts that attempt: two replicas never have one under way. */
  abort: () => void
}>

const PAUSES_MS = [1000, 5000, 15_000, 60_000] as const
const [LEAST_PAUSE_MS, , , LONGEST_PAUSE_MS] = PAUSES_MS

/**
 * `attempt` never rejects, and resolves to true if the call is over; the signal aborts it. `untilMs` is by the
 * monotonic clock.
 */
export function startHangUp ({ clock, attempt, untilMs }: Readonly<{
  clock: Clock, attempt: (signal: AbortSignal) => Promise<boolean>, untilMs: number
}>): HangUp {
  const done = Promise.withResolvers<boolean>()
  const first = Promise.withResolvers<void>()
  const aborter = new AbortController()
  let isOver = false
  let trying: Promise<boolean> | null = null
  let begunAtMs = -Infinity
  let failures = 0
  let stopTimer = () => {}

  function end (isConfirmed: boolean): void {
    if (isOver) return
    isOver = true
    stopTimer()
    first.resolve()
    done.resolve(isConfirmed)
  }

  async function run (): Promise<void> {
    begunAtMs = clock.monotonicMs()
    trying = attempt(aborter.signal)
    const isConfirmed = await trying
    trying = null
    first.resolve()
    if (isConfirmed) return end(true)
    pause(PAUSES_MS[failures++] ?? LONGEST_PAUSE_MS)
  }

  function pause (ms: number): void {
    if (isOver) return
    const nowMs = clock.monotonicMs()
    if (nowMs >= untilMs) return end(false)
    stopTimer = clock.after(Math.min(ms, untilMs - nowMs), () => {
      if (clock.monotonicMs() >= untilMs) end(false)
      else run()
    })
  }

  run()
  return {
    done: done.promise,
    first: first.promise,
    underWay: () => trying,
    again: () => {
      failures = 0
      if (isOver || trying !== null) return
      stopTimer()
      pause(Math.max(0, begunAtMs + LEAST_PAUSE_MS - clock.monotonicMs()))
    },
    confirm: () => end(true),
    giveUp: () => end(false),
    abort: () => {
      end(false)
      aborter.abort()
    }
  }
}

// A clock that stands still until a test moves it.

import { EventEmitter, once } from 'node:events'
import type { Clock } from '../../src/clock.ts'

export type TestClock = Clock & Readonly<{
  /** Advances both clocks and runs the timers that fall due, in order. */
  pass: (ms: number) => void
  /** Resolves once a timer of exactly `ms` is set. */
  armed: (ms: number) => Promise<void>
  /** Waits for such a timer, then lets its time pass. */
  expire: (ms: number) => Promise<void>
  /** Moves the wall clock only, as an operator may. */
  shiftWall: (ms: number) => void
}>

type Timer = Readonly<{ atMs: number, ms: number, callback: () => void }>

export function createTestClock (): TestClock {
  const startedAt = Date.now()
  const armed = new EventEmitter().setMaxListeners(0)
  const timers = new Set<Timer>()
  let nowMs = 1000
  let shiftMs = 0

  function pass (ms: number): void {
    const untilMs = nowMs + ms
    for (;;) {
      const [next] = [...timers].filter(({ atMs }) => atMs <= untilMs).sort((a, b) => a.atMs - b.atMs)
      if (next === undefined) break
      timers.delete(next)
      nowMs = Math.max(nowMs, next.atMs)
      next.callback()
    }
    nowMs = untilMs
  }

  async function armedFor (ms: number): Promise<void> {
    while (![...timers].some((timer) => timer.ms === ms)) await once(armed, 'timer')
  }

  return {
    wallMs: () => startedAt + nowMs + shiftMs,
    monotonicMs: () => nowMs,
    after: (ms, callback) => {
      const timer = { atMs: nowMs + ms, ms, callback }
      timers.add(timer)
      // A timer of 0 ms fires at once, without a call of `pass`.
      if (ms <= 0) setImmediate(() => { if (timers.delete(timer)) callback() })
      armed.emit('timer')
      return () => { timers.delete(timer) }
    },
    pass,
    armed: armedFor,
    expire: async (ms) => {
      await armedFor(ms)
      pass(ms)
    },
    shiftWall: (ms) => { shiftMs += ms }
  }
}

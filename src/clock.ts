// Time as an argument of everything that waits or expires: tests set it.

export type Clock = Readonly<{
  /** Milliseconds since 1970: for dates from elsewhere, such as a token's. */
  wallMs: () => number
  /** Milliseconds since some moment: for durations, since no step of the wall clock moves it. */
  monotonicMs: () => number
  /** Calls back once, unless cancelled by the returned function. Does not keep the process alive. */
  after: (ms: number, callback: () => void) => () => void
}>

export async function pause (clock: Clock, ms: number): Promise<void> {
  await new Promise<void>((resolve) => { clock.after(ms, resolve) })
}

/** Waits for `promise`, for `ms` at most. */
export async function atMost (clock: Clock, ms: number, promise: Promise<unknown>): Promise<void> {
  const late = Promise.withResolvers<void>()
  const stop = clock.after(ms, late.resolve)
  await Promise.race([promise, late.promise])
  stop()
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after: (ms, callback) => {
    // After SIGSTOP and SIGCONT the moment may have passed.
    const timer = setTimeout(callback, Math.max(0, ms)).unref()
    return () => clearTimeout(timer)
  }
}

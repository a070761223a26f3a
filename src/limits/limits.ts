// Mints and seconds of calls, counted per caller and per policy, over windows that open with the first of them.

export const WINDOW_MS = { minute: 60_000, hour: 3_600_000, day: 86_400_000 } as const
export type WindowName = keyof typeof WINDOW_MS
export const WINDOWS = Object.keys(WINDOW_MS) as readonly WindowName[]

/** Mints, or seconds of calls, per window. */
export type Windows = Readonly<Partial<Record<WindowName, number>>>

/** The windows of a caller or of a policy: the key holds a safety identifier or a policy's name, never a subject. */
export type Bucket = Readonly<{ key: string, windows: Windows }>

export type WindowState = Readonly<{
  key: string, window: WindowName, limit: number, remaining: number, resetMs: number
}>

export type Take = Readonly<{
  /** False where one window had nothing left: then nothing was taken from any. */
  taken: boolean
  /** After taking. */
  windows: readonly WindowState[]
  /** Gives back to the same windows, if they are still open: upstream was never asked. */
  giveBack: () => Promise<void> | void
  /** As `giveBack`, if upstream was asked and failed: bounded by `refundBound`. */
  refund: () => Promise<void> | void
}>

/** A window that is open, or was: what is given back goes to this one and not to the next. */
export type Slot = Readonly<{ key: string, window: WindowName, id: string }>

/** One from each window of `buckets`, and from each window of `seconds` the same number, whole seconds. */
export type Reservation = Readonly<{
  buckets: readonly Bucket[]
  seconds: readonly Bucket[]
  /** Fewer are taken where a window has fewer left; below `least` nothing is taken. */
  most: number
  least: number
  /** Seconds that a call which ends for this one will give back: counted as if they were back already. */
  credit: Readonly<{ slots: readonly Slot[], seconds: number }> | null
  /** Taken with the windows, where replicas share them. */
  place?: SharedPlace
}>

/** The place of a call that replicas share. */
export type SharedPlace = Readonly<{
  call: string
  replica: string
  /** Safety identifier. */
  caller: string
  policy: string
  concurrent: number
  whenFull: 'refuse' | 'replace'
  total: number | null
  /** For a replica that has to go on with it. */
  data: string
}>

/** `replaces`: the call whose place this one waits for. A write with a lower fence than the latest is refused. */
export type Placed = Readonly<{ fence: number, replaces: string | null }>

/** `giveBack` and `refund` give all seconds back, too. */
export type Reserved = Take & Readonly<{
  /** Taken from each window of seconds; the most where the policy limits none. */
  seconds: number
  secondsWindows: readonly WindowState[]
  slots: readonly Slot[]
  /** Missing where no shared place was asked for, or this replica counts alone. */
  placed?: Placed
}>

/** Throws ApiError `limits_unavailable`. */
export type LimitStore = Readonly<{
  take: (buckets: readonly Bucket[]) => Promise<Take> | Take
  reserve: (reservation: Reservation) => Promise<Reserved> | Reserved
  /** Never rejects. Seconds go back to the windows they came from, if those are still open. */
  giveSecondsBack: (slots: readonly Slot[], seconds: number) => Promise<void> | void
  peek: (buckets: readonly Bucket[]) => Promise<readonly WindowState[]> | readonly WindowState[]
  close: () => Promise<void> | void
}>

type Pair = Readonly<{ caller: Windows, total: Windows }>
export type Limits = Pair & Readonly<{ callSeconds: Pair }>
type Limited = Readonly<{ name: string, limits: Limits | null }>

/** The windows that a mint or a call takes one from. `caller` is a safety identifier. */
export function bucketsOf ({ name, limits }: Limited, caller: string): Bucket[] {
  return limits === null ? [] : pairOf(limits, `caller:${caller}`, `policy:${name}`)
}

/** The windows that a call takes its seconds from. */
export function secondsBucketsOf ({ name, limits }: Limited, caller: string): Bucket[] {
  return limits === null ? [] : pairOf(limits.callSeconds, `caller-seconds:${caller}`, `policy-seconds:${name}`)
}

/** A caller's own windows come before the totals. */
function pairOf ({ caller, total }: Pair, callerKey: string, totalKey: string): Bucket[] {
  const both = [{ key: callerKey, windows: caller }, { key: totalKey, windows: total }]
  return both.filter(({ windows }) => !isEmpty(windows))
}

/** A call that may last less is not begun: a window with fewer seconds left is exhausted. */
export const LEAST_CALL_SECONDS = 5

export function isOfSeconds ({ key }: Pick<Bucket, 'key'>): boolean {
  return /^[a-z]+-seconds:/.test(key)
}

export function isExhausted ({ key }: Pick<Bucket, 'key'>, limit: number, taken: number): boolean {
  return isOfSeconds({ key }) ? limit - taken < LEAST_CALL_SECONDS : taken >= limit
}

/**
 * How many refunds a window gives while it is open: as many as it gives mints. Null is a total where callers have
 * limits of their own: a bound there would let an outage use it up for all. It gives a refund unless every window of
 * the caller refuses it, so the failures of one caller take no more from it than that caller's own limits allow.
 */
export function refundBound (buckets: readonly Bucket[], bucket: Bucket, limit: number): number | null {
  return isCallers(bucket) || !buckets.some(isCallers) ? limit : null
}

function isEmpty (windows: Bucket['windows']): boolean {
  return WINDOWS.every((window) => windows[window] === undefined)
}

/** Only a caller's own windows are reported: a policy's total shows what others took. */
export function isCallers ({ key }: { key: string }): boolean {
  return key.startsWith('caller')
}

/** The window in which the caller is nearest to the end; null without limits. */
export function tightest (windows: readonly WindowState[]): WindowState | null {
  let found: WindowState | null = null
  for (const state of windows) {
    if (isCallers(state) && (found === null || state.remaining < found.remaining ||
      (state.remaining === found.remaining && state.resetMs > found.resetMs))) found = state
  }
  return found
}

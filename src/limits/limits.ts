// Mints counted per caller and per policy, over windows that open with the first mint counted in them.

export const WINDOW_MS = { minute: 60_000, hour: 3_600_000, day: 86_400_000 } as const
export type WindowName = keyof typeof WINDOW_MS
export const WINDOWS = Object.keys(WINDOW_MS) as readonly WindowName[]

/** Mints per window. */
export type Windows = Readonly<Partial<Record<WindowName, number>>>

/** Whose windows are taken from: the key is a safety identifier or the name of a policy, never a subject. */
export type Bucket = Readonly<{ key: string, windows: Windows }>

export type WindowState = Readonly<{
  key: string, window: WindowName, limit: number, remaining: number, resetMs: number
}>

export type Take = Readonly<{
  /** False where one window had nothing left: then nothing was taken from any. */
  taken: boolean
  /** After taking. */
  windows: readonly WindowState[]
  /** Gives back to the windows it came from, if they are still open: upstream was never asked. */
  giveBack: () => Promise<void> | void
  /** The same where upstream was asked and failed: bounded by `refundBound`. */
  refund: () => Promise<void> | void
}>

/** Throws ApiError `limits_unavailable`. */
export type LimitStore = Readonly<{
  take: (buckets: readonly Bucket[]) => Promise<Take> | Take
  peek: (buckets: readonly Bucket[]) => Promise<readonly WindowState[]> | readonly WindowState[]
  close: () => Promise<void> | void
}>

type Limited = Readonly<{ name: string, limits: Readonly<{ caller: Windows, total: Windows }> | null }>

/** `caller` is a safety identifier. */
export function bucketsOf (policy: Limited, caller: string): Bucket[] {
  if (policy.limits === null) return []
  const { caller: own, total } = policy.limits
  const buckets: Bucket[] = []
  if (!isEmpty(own)) buckets.push({ key: `caller:${caller}`, windows: own })
  if (!isEmpty(total)) buckets.push({ key: `policy:${policy.name}`, windows: total })
  return buckets
}

/**
 * How many refunds a window gives while it is open: as many as it gives mints. Null is a total where callers have limits
 * of their own: a bound there would let an outage use it up for all. It gives a refund unless every window of the caller
 * refuses it, so the failures of one caller take no more from it than that caller's own limits allow.
 */
export function refundBound (buckets: readonly Bucket[], bucket: Bucket, limit: number): number | null {
  return isCallers(bucket) || !buckets.some(isCallers) ? limit : null
}

function isEmpty (windows: Bucket['windows']): boolean {
  return WINDOWS.every((window) => windows[window] === undefined)
}

/** What others took of a policy's total is not told. */
export function isCallers ({ key }: { key: string }): boolean {
  return key.startsWith('caller:')
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

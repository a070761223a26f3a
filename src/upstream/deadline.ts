// The total deadline of a mint: retry, second route and audit line included.

/** By the monotonic clock, in milliseconds. */
export type Deadline = Readonly<{ atMs: number }>

export function deadlineIn (ms: number): Deadline {
  return { atMs: performance.now() + ms }
}

// The total deadline of a mint: retry, second route and audit line included.

/** `atMs` is by the monotonic clock. Whoever waits adds what is to be called then, and takes it away again. */
export type Deadline = Readonly<{ signal: AbortSignal, atMs: number, waiting: Set<() => void> }>

const SHARED_FOR_MS = 50

/**
 * The deadline of a mint that begins now. Those that begin within 50 ms share one, which is early by at most that: a signal,
 * a listener and a timer for each mint would cost a tenth of the processor.
 */
export function createDeadlines (ms: number): () => Deadline {
  let shared: Deadline | undefined
  return () => {
    const now = performance.now()
    if (shared === undefined || now + ms - shared.atMs > SHARED_FOR_MS) shared = deadlineAt(now + ms, ms)
    return shared
  }
}

function deadlineAt (atMs: number, inMs: number): Deadline {
  const controller = new AbortController()
  const waiting = new Set<() => void>()
  controller.signal.addEventListener('abort', () => { for (const end of waiting) end() })
  // Not AbortSignal.timeout: while someone listens to it, it keeps the process from ending.
  setTimeout(() => controller.abort(), inMs).unref()
  return { signal: controller.signal, atMs, waiting }
}

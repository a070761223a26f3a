// Writes lines to a file or stdout without blocking the event loop: one write in flight, the rest queued. A log line
// may be lost, and is counted then; an audit line is confirmed once the kernel has it, or rejected within a second.

import { stat } from 'node:fs/promises'
import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises'
import { openFile, openStdout, type Sink } from './sink.ts'

const WAIT_MS = 1000
/** A little less than the wait: after one request has waited a second in vain, the next is refused at once. */
const STUCK_MS = 900
const BATCH_BYTES = 64 * 1024
const MAX_QUEUED = 10_000

export type ConfirmOptions = Readonly<{
  /** A second at most, and by default. */
  withinMs?: number
  /** A line to follow one that was written after its confirmation had been rejected. */
  ifLate?: () => string
}>

export type Lines = Readonly<{
  /** Best effort: dropped, and counted, if the destination does not keep up. */
  write: (line: string) => void
  /** Resolves once the line is written, rejects in time if it cannot be. */
  confirm: (line: string, confirming?: ConfirmOptions) => Promise<void>
  /**
   * True while no line would be confirmed: a write has taken almost a second, the last one has just failed, the file
   * was deleted and cannot be opened again, or stdout is closed.
   */
  isStuck: () => boolean
  lost: () => number
  /** Opens the path again after its file was moved away (logrotate). */
  reopen: () => Promise<void>
  /** Writes the queue at once, for a process that is about to end. */
  flushNow: () => void
  /** Waits a second at most for the queue. */
  close: () => Promise<void>
}>

type Entry = { text: string, settle?: (error: Error | null) => void }

type OnFault = (error: Error) => void
const ignore = () => {}

/** `onFault` is called once for each time that a file was moved and its path cannot be opened again. */
export async function openLines (path: string | null, onFault: OnFault = ignore): Promise<Lines> {
  let sink = path === null ? openStdout() : await openFile(path)
  let queue: Entry[] = []
  let flushing: Promise<void> | null = null
  let writing: Promise<void> = Promise.resolve()
  let reopening: Promise<void> = Promise.resolve()
  let inFlightSince = Infinity
  let failedAt = -Infinity
  let isOrphaned = false
  let report = onFault
  let lost = 0

  function enqueue (entry: Entry): void {
    if (queue.length >= MAX_QUEUED && entry.settle === undefined) {
      lost++
      return
    }
    queue.push(entry)
    flushing ??= flush()
  }

  async function flush (): Promise<void> {
    while (queue.length > 0) {
      // The lines of one turn of the event loop share one write.
      await turn()
      inFlightSince = performance.now()
      writing = writeBatch(sink, takeBatch())
      await writing
      inFlightSince = Infinity
    }
    flushing = null
  }

  function takeBatch (): Entry[] {
    let bytes = 0
    const end = queue.findIndex(({ text }) => (bytes += text.length) > BATCH_BYTES)
    return queue.splice(0, end === -1 ? queue.length : Math.max(1, end))
  }

  async function writeBatch (to: Sink, batch: readonly Entry[]): Promise<void> {
    const { written, error } = await to.write(batch.map(({ text }) => text).join(''))
    failedAt = error === null ? -Infinity : performance.now()
    let end = 0
    for (const { text, settle } of batch) {
      // A disk that became full in the middle has taken the first lines whole.
      const isWritten = error === null || (end += Buffer.byteLength(text)) <= written
      if (settle !== undefined) settle(isWritten ? null : error)
      else if (!isWritten) lost++
    }
  }

  async function openAgain (): Promise<void> {
    /* c8 ignore next -- SIGHUP where the audit goes to stdout: test/faults/signals.test.ts */
    if (path === null) return
    const old = sink
    sink = await openFile(path)
    isOrphaned = false
    // A write in flight still goes to the old file, which is closed after it.
    await writing
    old.close()
  }

  /** One after the other: two at once would close one descriptor twice, and it may be another's by then. */
  function reopen (): Promise<void> {
    const opened = reopening.then(openAgain)
    reopening = opened.catch(() => {})
    return opened
  }

  async function reopenIfMoved (): Promise<void> {
    const [now, held] = await Promise.all([stat(path as string).catch(() => null), sink.stat()])
    if (now?.ino === held.ino && now.dev === held.dev) return
    // Lines in a file that has no name any more would be lost unread.
    await reopen().then(() => { report = onFault }, (error) => {
      isOrphaned = held.nlink === 0
      report(error)
      report = ignore
    })
  }

  /** A confirmed line may cause another one. */
  async function settled (): Promise<void> {
    await turn()
    if (flushing === null) return
    await flushing
    await settled()
  }

  let timer: NodeJS.Timeout | undefined
  function lookAgain (): void {
    timer = setTimeout(() => reopenIfMoved().catch(() => {}).then(lookAgain), WAIT_MS).unref()
  }
  if (path !== null) lookAgain()

  return {
    write: (text) => enqueue({ text }),
    confirm: (text, { withinMs = WAIT_MS, ifLate } = {}) => new Promise((resolve, reject) => {
      let isLate = false
      const entry: Entry = {
        text,
        settle: (error) => {
          clearTimeout(timeout)
          if (isLate && error === null && ifLate !== undefined) enqueue({ text: ifLate() })
          return error === null ? resolve() : reject(error)
        }
      }
      const timeout = setTimeout(() => {
        isLate = true
        queue = queue.filter((other) => other !== entry)
        reject(new Error('not written in time'))
      }, Math.min(withinMs, WAIT_MS))
      enqueue(entry)
    }),
    isStuck: () => {
      const now = performance.now()
      return isOrphaned || sink.isBroken() || now - inFlightSince > STUCK_MS || now - failedAt < WAIT_MS
    },
    lost: () => lost,
    reopen,
    flushNow: () => sink.writeNow(queue.splice(0).map(({ text }) => text).join('')),
    close: async () => {
      clearTimeout(timer)
      await Promise.race([settled(), wait(WAIT_MS, undefined, { ref: false })])
    }
  }
}

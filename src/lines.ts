// Lines written to a file or to stdout without ever blocking the event loop: one write in flight, the rest queued.
// A log line may be lost, and is counted; an audit line is confirmed once the kernel has it, or refused within a second.

import { close, constants, fstat, open, stat, write } from 'node:fs'
import { promisify } from 'node:util'

const WAIT_MS = 1000
const BATCH_BYTES = 64 * 1024
const MAX_QUEUED = 10_000

export type Lines = Readonly<{
  /** Best effort: dropped, and counted, where the destination does not keep up. */
  write: (line: string) => void
  /** Resolves once the line is written. Rejects within a second where it cannot be. */
  confirm: (line: string) => Promise<void>
  /** True while a write has been under way for a second: nothing would be confirmed now. */
  isStuck: () => boolean
  lost: () => number
  /** Opens the path anew where it was moved away (logrotate). */
  reopen: () => Promise<void>
  /** Waits a second at most for what is queued. */
  close: () => Promise<void>
}>

type Entry = { text: string, settle?: (error: Error | null) => void }
type Destination = { fd: number, path: string | null }

export async function openLines (path: string | null): Promise<Lines> {
  let destination: Destination = { fd: path === null ? 1 : await openAppending(path), path }
  let queue: Entry[] = []
  let inFlightSince: number | null = null
  let lost = 0
  let idle = () => {}

  function enqueue (entry: Entry): void {
    if (queue.length >= MAX_QUEUED && entry.settle === undefined) {
      lost++
      return
    }
    queue.push(entry)
    if (inFlightSince === null) flush()
  }

  function flush (): void {
    const batch: Entry[] = []
    for (let bytes = 0; queue.length > 0 && bytes < BATCH_BYTES;) {
      const entry = queue.shift() as Entry
      bytes += entry.text.length
      batch.push(entry)
    }
    if (batch.length === 0) {
      inFlightSince = null
      idle()
      return
    }
    inFlightSince = performance.now()
    writeAll(destination.fd, Buffer.from(batch.map(({ text }) => text).join(''))).then(() => null, (error: Error) => error).then((error) => {
      if (error !== null) lost += batch.length
      for (const { settle } of batch) settle?.(error)
      flush()
    })
  }

  const timer = path === null ? undefined : setInterval(() => { reopenIfMoved().catch(() => {}) }, WAIT_MS).unref()

  async function reopenIfMoved (): Promise<void> {
    const [now, held] = await Promise.all([promisify(stat)(path as string).catch(() => null), promisify(fstat)(destination.fd)])
    if (now === null || now.ino !== held.ino || now.dev !== held.dev) await reopen()
  }

  async function reopen (): Promise<void> {
    if (path === null) return
    const old = destination.fd
    destination = { fd: await openAppending(path), path }
    // Lines in flight still go to the old file: it is closed behind them.
    await drained()
    close(old, () => {})
  }

  function drained (): Promise<void> {
    if (inFlightSince === null) return Promise.resolve()
    return new Promise((resolve) => {
      const before = idle
      idle = () => { idle = before; before(); resolve() }
    })
  }

  return {
    write: (text) => enqueue({ text }),
    confirm: (text) => new Promise((resolve, reject) => {
      const entry: Entry = { text, settle: (error) => { clearTimeout(timeout); error === null ? resolve() : reject(error) } }
      const timeout = setTimeout(() => {
        queue = queue.filter((other) => other !== entry)
        reject(new Error('not written within a second'))
      }, WAIT_MS)
      enqueue(entry)
    }),
    isStuck: () => inFlightSince !== null && performance.now() - inFlightSince > WAIT_MS,
    lost: () => lost,
    reopen,
    close: async () => {
      clearInterval(timer)
      await Promise.race([drained(), new Promise((resolve) => setTimeout(resolve, WAIT_MS).unref())])
    }
  }
}

function openAppending (path: string): Promise<number> {
  return promisify(open)(path, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND, 0o640)
}

/** A short write is continued, and one that the pipe has no room for is tried again. */
async function writeAll (fd: number, bytes: Buffer): Promise<void> {
  for (let offset = 0; offset < bytes.length;) {
    try {
      offset += (await promisify(write)(fd, bytes, offset)).bytesWritten
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }
}

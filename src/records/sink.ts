// Where lines end up: a file, or stdout of any kind. No write may hold a thread while there is no reader: a thread that
// hangs in a write keeps the process from exiting.

import { close, constants, fstat, fstatSync, open, type Stats, write, writeSync } from 'node:fs'
import { open as openToRead } from 'node:fs/promises'
import { Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'

const openFd = promisify(open)
const writeFd = promisify(write)
const statFd = promisify(fstat)

const FULL_PIPE_PAUSE_MS = 10
const NEWLINE = 0x0a

export type Sink = Readonly<{
  /** Never rejects. `written` counts the bytes that were taken before the error, if there is one. */
  write: (text: string) => Promise<{ written: number, error: Error | null }>
  /** Does not wait: bytes that are not taken at once are lost. */
  writeNow: (text: string) => void
  /** True if no write can succeed any more. */
  isBroken: () => boolean
  stat: () => Promise<Stats>
  close: () => void
}>

/** Rejects if the path cannot be opened for appending. */
export async function openFile (path: string): Promise<Sink> {
  // A named pipe without a reader is an error here, instead of a thread that waits for one.
  const fd = await openFd(
    path, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | constants.O_NONBLOCK, 0o640
  )
  return fileSink(fd, await endsWithinLine(path))
}

export function openStdout (): Sink {
  const kind = fstatSync(1)
  /* c8 ignore next 3 -- the parent process chooses what stdout is: test/faults/audit-sink.test.ts */
  return kind.isFIFO() || kind.isSocket()
    ? streamSink(new Socket({ fd: 1, readable: false, writable: true }))
    : fileSink(1, false)
}

function fileSink (fd: number, isTorn: boolean): Sink {
  return {
    write: async (text) => {
      // Ends a half line that a full disk left, so that it does not spoil the next one.
      const bytes = Buffer.from(isTorn ? `\n${text}` : text)
      const before = isTorn ? 1 : 0
      let offset = 0
      let error: Error | null = null
      while (offset < bytes.length && error === null) {
        try {
          offset += (await writeFd(fd, bytes, offset)).bytesWritten
        } catch (cause) {
          if ((cause as NodeJS.ErrnoException).code === 'EAGAIN') await wait(FULL_PIPE_PAUSE_MS)
          else error = cause as Error
        }
      }
      if (offset > 0) isTorn = bytes[offset - 1] !== NEWLINE
      return { written: Math.max(0, offset - before), error }
    },
    writeNow: (text) => writeWhatFits(fd, text),
    isBroken: () => false,
    stat: () => statFd(fd),
    close: () => close(fd, () => {})
  }
}

/** A pipe or a socket: libuv waits for the reader, without a thread. */
function streamSink (stream: Socket): Sink {
  stream.on('error', () => {})
  return {
    write: (text) => new Promise((resolve) => {
      stream.write(text, (error) => resolve({ written: error ? 0 : Buffer.byteLength(text), error: error ?? null }))
    }),
    /* c8 ignore next -- only in a process that ends at once: test/faults/signals.test.ts */
    writeNow: (text) => { if (stream.writableLength === 0) writeWhatFits(1, text) },
    isBroken: () => stream.destroyed,
    /* c8 ignore next 2 -- stdout is neither moved nor closed */
    stat: () => statFd(1),
    close: () => {}
  }
}

function writeWhatFits (fd: number, text: string): void {
  try {
    if (text !== '') writeSync(fd, text)
  /* c8 ignore next 3 -- only in a process whose destination is gone: test/faults/audit-sink.test.ts */
  } catch {
    // Nothing can be done: the process is about to end.
  }
}

/** Whether a killed process or a full disk left half a line at the end. */
async function endsWithinLine (path: string): Promise<boolean> {
  const file = await openToRead(path, constants.O_RDONLY | constants.O_NONBLOCK).catch(() => null)
  /* c8 ignore next -- a file that may be written and not read, which root never meets */
  if (file === null) return false
  const { size, isFile } = await file.stat().then((stats) => ({ size: stats.size, isFile: stats.isFile() }))
  /* c8 ignore next -- a pipe has no end to look at: test/faults/audit-sink.test.ts */
  const last = isFile && size > 0 ? await file.read(Buffer.alloc(1), 0, 1, size - 1) : null
  await file.close()
  /* c8 ignore next -- a file that shrinks between two looks */
  return last?.bytesRead === 1 && last.buffer[0] !== NEWLINE
}

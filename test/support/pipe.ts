// A named pipe whose reader the test controls.

import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Test } from 'tap'

export type Pipe = Readonly<{
  path: string
  fd: number
  /** Writes until the pipe is full. */
  fill: () => void
  read: () => string
  close: () => void
}>

export function makePipe (t: Test): Pipe {
  const path = join(t.testdir({}), 'pipe')
  execFileSync('mkfifo', [path])
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK)
  let isOpen = true
  const close = () => {
    if (isOpen) closeSync(fd)
    isOpen = false
  }
  t.teardown(close)
  return {
    path,
    fd,
    fill: () => {
      for (const size of [4096, 1]) while (takes(() => writeSync(fd, Buffer.alloc(size, ' '))));
    },
    read: () => {
      const buffer = Buffer.alloc(1024 * 1024)
      let length = 0
      takes(() => { length = readSync(fd, buffer) })
      return buffer.toString('utf8', 0, length)
    },
    close
  }
}

function takes (io: () => unknown): boolean {
  try {
    io()
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
    return false
  }
}

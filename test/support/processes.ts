// Helpers for processes that tests start: a folder, a free port, and their end.

import type { ChildProcess } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Owner } from './fault-proxy.ts'

export type Exit = readonly [code: number | null, signal: NodeJS.Signals | null]

/** A command in front of Node.js that turns tap's coverage off, which halves the time of a start. */
export const UNCOUNTED = [
  'env', '-u', 'NODE_OPTIONS', `NODE_COMPILE_CACHE=${join(import.meta.dirname, '../../.tap/compile-cache')}`
] as const

/** Makes a folder that is removed at the end of the test, after its processes have ended. */
export function makeFolder (owner: Owner): string {
  const folder = mkdtempSync(join(tmpdir(), 'ephemint-'))
  owner.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Kills the process at the end of the test. Resolves when it has exited. */
export function endWith (owner: Owner, child: ChildProcess, signal: NodeJS.Signals = 'SIGKILL'): Promise<Exit> {
  const exited = once(child, 'exit') as Promise<unknown> as Promise<Exit>
  owner.teardown(async () => {
    child.kill(signal)
    await exited
  })
  return exited
}

const PORTS_IN_BLOCK = 100
let ports: number[] = []

/** A free port that no other test process is given, below the range from which the kernel assigns ports. */
export async function freePort (): Promise<number> {
  if (ports.length === 0) ports = await takeBlock()
  const port = ports.shift() as number
  const server = await listenAt(port)
  if (server === null) return freePort()
  server.close()
  await once(server, 'close')
  return port
}

/** The ports of a block. This process listens at the block's first port, so no other one takes the block. */
async function takeBlock (): Promise<number[]> {
  const first = PORTS_IN_BLOCK * randomInt(100, 320)
  const holder = await listenAt(first)
  if (holder === null) return takeBlock()
  holder.unref()
  return Array.from({ length: PORTS_IN_BLOCK - 1 }, (_, i) => first + 1 + i)
}

async function listenAt (port: number): Promise<Server | null> {
  const server = createServer().listen(port, '127.0.0.1')
  return once(server, 'listening').then(() => server, () => null)
}

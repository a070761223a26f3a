// Helpers for processes that tests start: a folder, a free port, and their end.

import type { ChildProcess } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
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

/** A free port below the range that the kernel assigns, so that nothing takes it before the process does. */
export async function freePort (): Promise<number> {
  const port = randomInt(10_000, 32_000)
  const server = createServer().listen(port, '127.0.0.1')
  const isFree = await once(server, 'listening').then(() => true, () => false)
  if (!isFree) return freePort()
  server.close()
  await once(server, 'close')
  return port
}

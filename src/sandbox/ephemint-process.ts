// Runs Ephemint as in production: a separate process, configured by its environment only.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { JsonObject } from '../json.ts'
import { parseEntry, readable } from './readable.ts'

const SERVER = fileURLToPath(new URL('../server.ts', import.meta.url))
const KILL_AFTER_MS = 10_000

export type EphemintProcess = Readonly<{
  url: string
  /** Null without an operations listener. */
  opsUrl: string | null
  /** Resolves when the process has ended, for whatever reason. */
  ended: Promise<string>
  stop: () => Promise<void>
}>

/** Resolves once Ephemint is ready. Rejects if it ends before. */
export async function startEphemint (
  { env, print, onEntry }: {
    env: Record<string, string>, print: (line: string) => void, onEntry: (entry: JsonObject) => void
  }
): Promise<EphemintProcess> {
  // Nothing else is passed on from the shell's environment, so that nothing configures Ephemint by accident.
  const { PATH, NODE_COMPILE_CACHE } = process.env
  const child = spawn(process.execPath, [SERVER], {
    env: { PATH, NODE_COMPILE_CACHE, ...env },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  const ended = once(child, 'exit').then(([code, signal]) => {
    process.off('exit', kill)
    return signal === null ? `with exit code ${code}` : `by ${signal}`
  })
  let stopping = false

  const listening = new Promise<{ url: string, opsUrl: string | null }>((resolve) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const entry = parseEntry(line)
      if (entry?.msg === 'listening') {
        resolve({ url: String(entry.url), opsUrl: typeof entry.ops_url === 'string' ? entry.ops_url : null })
      }
      if (entry !== null) onEntry(entry)
      const text = stopping ? null : readable(line)
      if (text !== null) print(text)
    })
  })
  const { url, opsUrl } = await Promise.race([
    listening,
    ended.then((how) => { throw new Error(`Ephemint ended ${how} before it was ready.`) })
  ])
  const { status } = await fetch(new URL('/readyz', url))
  if (status !== 200) throw new Error(`Ephemint listens, but GET /readyz answers ${status}.`)

  return {
    url,
    opsUrl,
    ended,
    stop: async () => {
      stopping = true
      child.kill('SIGTERM')
      const timer = setTimeout(kill, KILL_AFTER_MS)
      await ended
      clearTimeout(timer)
    }
  }
}

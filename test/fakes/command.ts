// A command as its user runs it: a process of its own, with nothing of this environment.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'

export type Ran = Readonly<{ code: number | null, out: string, err: string }>

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** `name` is that of the file under src/commands. */
export async function runCommand (name: string, args: readonly string[] = [], env: Readonly<Record<string, string>> = {}): Promise<Ran> {
  const child = spawn(process.execPath, [`src/commands/${name}.ts`, ...args], { cwd: ROOT, env: { PATH: process.env.PATH, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { code, out, err }
}

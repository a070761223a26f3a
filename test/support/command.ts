// A command as its user runs it: a process of its own, with nothing of this environment. To start one takes a second; where
// the law is not about the process, the same module is called in this one.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { format } from 'node:util'

export type Ran = Readonly<{ code: number | null, out: string, err: string }>

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** `name` is that of the file under src/commands. */
export async function runCommand (
  name: string, args: readonly string[] = [], env: Readonly<Record<string, string>> = {}
): Promise<Ran> {
  const child = spawn(process.execPath, [`src/commands/${name}.ts`, ...args], {
    cwd: ROOT, env: { PATH: process.env.PATH, ...env }, stdio: ['ignore', 'pipe', 'pipe']
  })
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { code, out, err }
}

let calls = 0

/** One call at a time: meanwhile arguments, environment, console and exit code of this process are the command's. */
export async function callCommand (
  name: string, args: readonly string[] = [], env: Readonly<Record<string, string>> = {}
): Promise<Ran> {
  const kept = {
    argv: process.argv, env: { ...process.env }, log: console.log, error: console.error, exitCode: process.exitCode
  }
  const said = { out: '', err: '' }
  process.argv = [process.execPath, name, ...args]
  replaceEnvironment({ ...env })
  console.log = (...words) => { said.out += `${format(...words)}\n` }
  console.error = (...words) => { said.err += `${format(...words)}\n` }
  try {
    // A module runs once for each address that it has.
    await import(`../../src/commands/${name}.ts?call=${calls++}`)
    return { code: Number(process.exitCode), ...said }
  } finally {
    process.argv = kept.argv
    replaceEnvironment(kept.env)
    console.log = kept.log
    console.error = kept.error
    process.exitCode = kept.exitCode
  }
}

/** In place, as a module may have it in hand. */
function replaceEnvironment (env: NodeJS.ProcessEnv): void {
  for (const name of Object.keys(process.env)) delete process.env[name]
  Object.assign(process.env, env)
}

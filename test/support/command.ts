// Runs a command as a process with its own environment, or, because that takes a second, by importing its module here.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { getCompileCacheDir } from 'node:module'
import { dirname } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { format } from 'node:util'

export type Ran = Readonly<{ code: number | null, out: string, err: string }>

/** The compile cache of this process: code that was compiled with and without coverage differs. */
const cache = getCompileCacheDir()
const CACHED = cache === undefined ? {} : { NODE_COMPILE_CACHE: dirname(cache) }
const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** `name` is a file under src/commands, without `.ts`. */
export async function runCommand (
  name: string, args: readonly string[] = [], env: Readonly<Record<string, string>> = {}, input = ''
): Promise<Ran> {
  const child = spawn(process.execPath, [`src/commands/${name}.ts`, ...args], {
    cwd: ROOT, env: { PATH: process.env.PATH, ...CACHED, ...env }, stdio: ['pipe', 'pipe', 'pipe']
  })
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
  return { code, out, err }
}

let imports = 0

/** Runs one command at a time, because it uses the arguments, environment, console and exit code of this process. */
export async function callCommand (
  name: string, args: readonly string[] = [], env: Readonly<Record<string, string>> = {}
): Promise<Ran> {
  const kept = {
    argv: process.argv, env: { ...process.env }, log: console.log, error: console.error, exitCode: process.exitCode
  }
  const output = { out: '', err: '' }
  process.argv = [process.execPath, name, ...args]
  replaceEnvironment({ ...env })
  console.log = (...words) => { output.out += `${format(...words)}\n` }
  console.error = (...words) => { output.err += `${format(...words)}\n` }
  try {
    // A new URL makes Node.js run the module again.
    await import(`../../src/commands/${name}.ts?run=${imports++}`)
    return { code: Number(process.exitCode), ...output }
  } finally {
    process.argv = kept.argv
    replaceEnvironment(kept.env)
    console.log = kept.log
    console.error = kept.error
    process.exitCode = kept.exitCode
  }
}

/** Changes `process.env` in place, because modules may hold a reference. */
function replaceEnvironment (env: NodeJS.ProcessEnv): void {
  for (const name of Object.keys(process.env)) delete process.env[name]
  Object.assign(process.env, env)
}

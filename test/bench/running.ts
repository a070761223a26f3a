// The processes of the benchmark: start, messages, CPU accounts, end.

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export const ACCOUNTING = new URL('./accounting.ts', import.meta.url).href

export type Account = Readonly<{ cpuMicros: number, rssBytes: number }>
/** Starts a process that ends with the benchmark. */
export type Begin = (file: string, env: Record<string, string>, args?: string[]) => Promise<Running>
export type Running = Readonly<{
  child: ChildProcess
  ask: <T>(message: object | string) => Promise<T>
  account: () => Promise<Account>
  stop: () => Promise<void>
}>

/** Resolves once the process reports that it listens: by a message or by Ephemint's log line. */
export async function startRunning (
  file: string, env: Record<string, string>, execArgv: string[] = []
): Promise<Running> {
  const child = fork(fileURLToPath(new URL(file, import.meta.url)), {
    env: { PATH: process.env.PATH, ...env },
    execArgv: ['--import', ACCOUNTING, ...execArgv],
    stdio: ['ignore', 'pipe', 'inherit', 'ipc']
  })
  let head = ''
  child.stdout?.setEncoding('utf8').on('data', (text) => { head = (head + text).slice(0, 65_536) })
  const listening = new Promise<void>((resolve, reject) => {
    child.once('message', () => resolve())
    child.stdout?.on('data', () => { if (head.includes('"msg":"listening"')) resolve() })
    child.once('exit', (code) => reject(new Error(`${file} exited with ${code}: ${head}`)))
  })
  if (!file.endsWith('load.ts')) await listening
  else listening.catch(() => {})
  child.removeAllListeners('message')
  const ask = async <T>(message: object | string): Promise<T> => {
    const gone = new AbortController()
    const leave = () => gone.abort(new Error(`${file} has ended`))
    child.once('exit', leave)
    const answer = once(child, 'message', { signal: gone.signal })
    child.send(message)
    const [reply] = await answer
    child.off('exit', leave)
    return reply as T
  }
  return {
    child,
    ask,
    account: () => ask<Account>('account'),
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
    }
  }
}

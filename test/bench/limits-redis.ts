import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { freePort } from '../support/processes.ts'

/** Starts a redis-server or valkey-server; null if neither is installed. */
export async function startBenchRedis (): Promise<{ url: string, stop: () => Promise<void> } | null> {
  const port = await freePort()
  for (const command of ['redis-server', 'valkey-server']) {
    const child = spawn(command, ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'], {
      stdio: ['ignore', 'pipe', 'ignore']
    })
    const failed = once(child, 'error').then(() => null)
    const ready = new Promise<true>((resolve) => {
      child.stdout.setEncoding('utf8').on(
        'data', (text: string) => { if (/ready to accept connections/i.test(text)) resolve(true) }
      )
    })
    if (await Promise.race([failed, ready]) === null) continue
    return {
      url: `redis://127.0.0.1:${port}`,
      stop: async () => {
        const gone = once(child, 'exit')
        child.kill()
        await gone
      }
    }
  }
  return null
}

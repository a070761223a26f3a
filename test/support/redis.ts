// A redis-server or valkey-server on a free port, which a test can kill, pause and restart.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { Redis } from 'ioredis'
import type { RedisAddress } from '../../src/config/environment.ts'
import type { Owner } from './fault-proxy.ts'
import { freePort, makeFolder } from './processes.ts'
import { program } from './programs.ts'

const REDIS = program(['redis-server', 'valkey-server'], 'redis-server')
export const NO_REDIS = REDIS.skip

export type RedisServer = Readonly<{
  url: string
  port: number
  address: RedisAddress
  /** Another client, to read and damage the keys of the store. */
  control: Redis
  kill: () => Promise<void>
  /** Starts again, on the same port and with its data on disk. */
  start: () => Promise<void>
  /** Stops the process; the kernel still accepts bytes for it. */
  pause: () => void
  resume: () => void
}>

export function addressOf (port: number): RedisAddress {
  return { host: '127.0.0.1', port, tls: false, username: '', password: '', database: 0 }
}

export async function startRedis (owner: Owner, ...options: string[]): Promise<RedisServer> {
  const path = REDIS.path()
  const folder = makeFolder(owner)
  const port = await freePort()
  let child: ChildProcess | undefined

  async function start (): Promise<void> {
    const started = spawn(
      path,
      ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', ...options],
      { stdio: ['ignore', 'pipe', 'inherit'] }
    )
    child = started
    let printed = ''
    await new Promise<void>((resolve, reject) => {
      started.stdout.on('data', (chunk) => {
        printed += chunk
        if (/ready to accept connections/i.test(printed)) resolve()
      })
      started.once('exit', () => reject(new Error(printed)))
    })
  }

  async function kill (): Promise<void> {
    if (child === undefined) return
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    child = undefined
    await gone
  }

  await start()
  const control = new Redis(port, '127.0.0.1', { lazyConnect: true, enableReadyCheck: false, retryStrategy: () => 50 })
  control.on('error', () => {})
  owner.teardown(async () => {
    control.disconnect()
    await kill()
  })
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    address: addressOf(port),
    control,
    kill,
    start,
    pause: () => { child?.kill('SIGSTOP') },
    resume: () => { child?.kill('SIGCONT') }
  }
}

/** Brings the end of every window nearer. */
export async function letTimePass (control: Redis, ms: number): Promise<void> {
  await control.eval(`
    for _, key in ipairs(redis.call('KEYS', '{ephemint}:*:*')) do
      local left = redis.call('PTTL', key) - tonumber(ARGV[1])
      if left > 0 then redis.call('PEXPIRE', key, left) else redis.call('DEL', key) end
    end`, 0, ms)
}

// A redis-server or valkey-server on a free port, which a test can kill, pause and restart.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import type { RedisAddress, RedisEndpoint } from '../../src/config/environment.ts'
import type { Authority } from './certificate.ts'
import type { Owner } from './fault-proxy.ts'
import { freePort, makeFolder } from './processes.ts'
import { program } from './programs.ts'

const REDIS = program(['redis-server', 'valkey-server'], 'redis-server')
export const NO_REDIS = REDIS.skip

export type Process = Readonly<{
  kill: () => Promise<void>
  /** Starts the server again, on the same port and with its data on disk. */
  start: () => Promise<void>
  /** Suspends the process; the kernel still accepts bytes for it. */
  pause: () => void
  resume: () => void
}>

export type RedisServer = Process & Readonly<{
  url: string
  port: number
  address: RedisAddress & RedisEndpoint
  /** Another client, to read and damage the keys of the store. */
  control: Redis
}>

export function addressOf (port: number): RedisAddress & RedisEndpoint {
  return { host: '127.0.0.1', port, tls: false, username: '', password: '', database: 0 }
}

export async function startRedis (owner: Owner, ...options: string[]): Promise<RedisServer> {
  const port = await freePort()
  const folder = makeFolder(owner)
  const server = await startProcess(
    owner, ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder, '--save', '', ...options],
    /ready to accept connections/i
  )
  return { ...server, url: `redis://127.0.0.1:${port}`, port, address: addressOf(port), control: control(owner, port) }
}

/** A client of the default user. */
export function control (owner: Owner, port: number, password = ''): Redis {
  const client = new Redis({
    port, host: '127.0.0.1', password, lazyConnect: true, enableReadyCheck: false, retryStrategy: () => 50
  })
  client.on('error', () => {})
  owner.teardown(() => client.disconnect())
  return client
}

/** Runs redis-server, which is up once it has printed a line that `isUp` matches. */
export async function startProcess (owner: Owner, args: readonly string[], isUp: RegExp): Promise<Process> {
  const path = REDIS.path()
  let child: ChildProcess | undefined

  async function start (): Promise<void> {
    const started = spawn(path, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    child = started
    let printed = ''
    await new Promise<void>((resolve, reject) => {
      started.stdout.on('data', (chunk) => {
        printed += chunk
        if (isUp.test(printed)) resolve()
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
  owner.teardown(kill)
  return { kill, start, pause: () => { child?.kill('SIGSTOP') }, resume: () => { child?.kill('SIGCONT') } }
}

/** The options of a server that speaks TLS as `localhost`, with a certificate that the authority issued. */
export async function tlsOptions (owner: Owner, authority: Authority): Promise<{ tlsPort: number, options: string[] }> {
  const folder = makeFolder(owner)
  const { cert, key } = authority.issue()
  const files = Object.entries({ 'tls-cert-file': cert, 'tls-key-file': key, 'tls-ca-cert-file': authority.cert })
  for (const [name, pem] of files) writeFileSync(join(folder, name), pem)
  const tlsPort = await freePort()
  return {
    tlsPort,
    options: [
      '--tls-port', String(tlsPort), '--tls-auth-clients', 'no',
      ...files.flatMap(([name]) => [`--${name}`, join(folder, name)])
    ]
  }
}

/** Shortens the lifetime of every key by `ms`, as if that time had passed. */
export async function letTimePass (control: Redis, ms: number): Promise<void> {
  await control.eval(`
    for _, key in ipairs(redis.call('KEYS', '{ephemint}:*:*')) do
      local left = redis.call('PTTL', key) - tonumber(ARGV[1])
      if left > 0 then redis.call('PEXPIRE', key, left) else redis.call('DEL', key) end
    end`, 0, ms)
}

// A primary and its replica on free ports, and sentinels, of which one is enough to promote the replica.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { RedisAddress } from '../../src/config/environment.ts'
import { type Authority, createAuthority } from './certificate.ts'
import type { Owner } from './fault-proxy.ts'
import { freePort, makeFolder } from './processes.ts'
import { addressOf, control, type Process, type RedisServer, startProcess, startRedis, tlsOptions } from './redis.ts'
import { isFollowed } from './redis-cluster.ts'
import { until } from './until.ts'

const PASSWORD = 'secret'
const PRIMARY = 'mymaster'

export type Sentinel = Process & Readonly<{ port: number, control: ReturnType<typeof control> }>
export type RedisSentinels = Readonly<{
  address: Extract<RedisAddress, { sentinels: unknown }>
  servers: readonly [RedisServer, RedisServer]
  sentinels: readonly Sentinel[]
}>

/** With TLS, servers and sentinels all use it, as `localhost`. `passwords` are those of the sentinels, '' for none. */
export async function startSentinels (
  owner: Owner, { passwords, isTls = false }: Readonly<{ passwords: readonly string[], isTls?: boolean }>
): Promise<RedisSentinels> {
  const authority = isTls ? createAuthority() : null
  const [first, second] = await Promise.all([startServer(owner, authority), startServer(owner, authority)])
  await second.control.replicaof('127.0.0.1', first.known)
  await until('the replica to follow', () => isFollowed(first))
  const sentinels = await Promise.all(
    passwords.map((password) => startSentinel(owner, { password, authority, watched: first.known }))
  )
  for (const sentinel of sentinels) await until('the replica to be known', () => knowsReplica(sentinel))
  const { host: _, port: __, ...common } = { ...addressOf(0), password: PASSWORD }
  const host = isTls ? 'localhost' : '127.0.0.1'
  return {
    servers: [first, second],
    sentinels,
    address: {
      ...common,
      ...(authority === null ? {} : { tls: true, ca: authority.cert }),
      sentinels: sentinels.map(({ known }) => ({ host, port: known })),
      primary: PRIMARY
    }
  }
}

async function knowsReplica ({ control }: Sentinel): Promise<boolean> {
  const replicas = await control.call('SENTINEL', 'REPLICAS', PRIMARY) as string[][]
  return replicas.some((replica) => replica.includes('ok'))
}

/** `known` is the port that sentinels and replicas know the server by. */
async function startServer (owner: Owner, authority: Authority | null): Promise<RedisServer & { known: number }> {
  const { tlsPort, options } = authority === null ? { tlsPort: null, options: [] } : await tlsOptions(owner, authority)
  const server = await startRedis(
    owner, '--requirepass', PASSWORD, '--masterauth', PASSWORD, '--repl-diskless-sync-delay', '0',
    ...(tlsPort === null ? [] : ['--tls-replication', 'yes', '--replica-announce-port', String(tlsPort)]), ...options
  )
  return { ...server, control: control(owner, server.port, PASSWORD), known: tlsPort ?? server.port }
}

async function startSentinel (
  owner: Owner, { password, authority, watched }: { password: string, authority: Authority | null, watched: number }
): Promise<Sentinel & { known: number }> {
  const port = await freePort()
  const file = join(makeFolder(owner), 'sentinel.conf')
  writeFileSync(file, [
    `sentinel monitor ${PRIMARY} 127.0.0.1 ${watched} 1`,
    `sentinel auth-pass ${PRIMARY} ${PASSWORD}`,
    `sentinel down-after-milliseconds ${PRIMARY} 300`,
    `sentinel failover-timeout ${PRIMARY} 3000`,
    ...(password === '' ? [] : [`requirepass ${password}`])
  ].join('\n'))
  const { tlsPort, options } = authority === null ? { tlsPort: null, options: [] } : await tlsOptions(owner, authority)
  const sentinel = await startProcess(
    owner, [
      file, '--sentinel', '--port', String(port), '--bind', '127.0.0.1',
      ...(tlsPort === null ? [] : ['--tls-replication', 'yes']), ...options
    ], /\+monitor master/
  )
  return { ...sentinel, port, known: tlsPort ?? port, control: control(owner, port, password) }
}

// Checks that cost does not grow: many policies, a million callers, thousands of mints in flight, a cold start.

import { execFileSync, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from '../support/processes.ts'
import { ephemint, mintRequest, policyFile, requestsFile } from './contenders.ts'
import { startIdentity } from './identity.ts'
import type { LoadOrder, LoadReport } from './load.ts'
import { type Bar, bar, median, type Report } from './report.ts'
import { ACCOUNTING, type Begin, type Running } from './running.ts'

const MIB = 2 ** 20
const CALLERS = 1_000_000
const GATEWAY = 'header of the gateway, and long enough'

export async function measureExtremes (folder: string, begin: Begin, say: (text: string) => void): Promise<Report> {
  const identity = await startIdentity()
  const upstreamPort = await freePort()
  const upstream = await begin('./recorded-upstream.ts', { PORT: String(upstreamPort) })
  const url = `http://127.0.0.1:${upstreamPort}`
  const load = await begin('./load.ts', {})
  const users = requestsFile(
    folder,
    'users',
    await Promise.all(Array.from({ length: 1000 }, async (_, i) => mintRequest(await identity.token(`user-${i}`))))
  )
  const plain = policyFile(folder, 'plain', identity)

  const order = async (port: number, count: number, more: Partial<LoadOrder> = {}): Promise<void> => {
    const { statuses } = await load.ask<LoadReport>(
      { ports: [port], requestsFile: users, from: 0, count, connections: 64, rate: null, ...more } satisfies LoadOrder
    )
    if (statuses['200'] !== count) throw new Error(`answered ${JSON.stringify(statuses)}`)
  }
  const cpuPerMint = async (
    running: Running, port: number, count: number, more: Partial<LoadOrder> = {}
  ): Promise<number> => {
    const before = await running.account()
    await order(port, count, more)
    return ((await running.account()).cpuMicros - before.cpuMicros) / count
  }
  // As in the image: one malloc arena and a filled compile cache. Without its environment the server exits at once.
  const image = { NODE_COMPILE_CACHE: join(folder, 'compiled'), MALLOC_ARENA_MAX: '1' }
  spawnSync(
    process.execPath,
    ['--import', ACCOUNTING, fileURLToPath(new URL('../../src/server.ts', import.meta.url))],
    { env: image }
  )
  const serve = async (name: string, policy: string, more: Record<string, string> = {}, base = url) => {
    const port = await freePort()
    const { file, env, args } = ephemint(name, folder, policy, base, users, more)
    return { port, running: await begin(file, { ...env, ...image, PORT: String(port) }, args) }
  }
  const bars: Bar[] = []

  say('200 policies, 1,000 blocked subjects, a file of 64 KiB')
  const one = await serve('one policy', plain)
  const many = await serve(
    'many policies', policyFile(folder, 'many', identity, { others: 199, blocked: 1000, padding: 40 })
  )
  const ratios: number[] = []
  for (let round = 0; round < 6; round++) {
    const [few, lots] = [await cpuPerMint(one.running, one.port, 4000), await cpuPerMint(many.running, many.port, 4000)]
    if (round > 0) ratios.push(lots / few)
  }
  bars.push(bar('200 policies : one, CPU', median(ratios), 1.1))
  await many.running.stop()

  say('warm connections, and as few of them as mints in flight')
  const before = await upstream.ask<{ sockets: number }>({})
  const fresh = await serve('fresh', plain)
  const warm = await upstream.ask<{ sockets: number }>({})
  bars.push(bar('connections missing before the first mint', 1 - Math.min(1, warm.sockets - before.sockets), 0))
  await order(fresh.port, 100_000)
  bars.push(
    bar('connections for 100,000 mints', (await upstream.ask<{ sockets: number }>({})).sockets - before.sockets, 256)
  )
  await fresh.running.stop()
  const tls = certificate(folder)
  const tlsPort = await freePort()
  const secure = await begin('./recorded-upstream.ts', { PORT: String(tlsPort), KEY: tls.key, CERT: tls.cert })
  const overTls = await serve('over TLS', plain, { NODE_EXTRA_CA_CERTS: tls.cert }, `https://localhost:${tlsPort}`)
  await order(overTls.port, 100_000)
  bars.push(bar('TLS connections for 100,000 mints', (await secure.ask<{ sockets: number }>({})).sockets, 256))
  await overTls.running.stop()
  await secure.stop()

  say('a cold start, ten times')
  const starts: number[] = []
  for (let i = 0; i < 10; i++) {
    const startedAt = performance.now()
    const { running } = await serve('cold', plain)
    starts.push(performance.now() - startedAt)
    await running.stop()
  }
  bars.push(bar('start to ready at the median, ms', median(starts), 500))

  say('5,000 mints in flight')
  const wide = await serve('wide', plain, { UPSTREAM_CONCURRENCY: '5000' })
  await order(wide.port, 4000)
  // Long enough for all of them to be in flight before the first answer, even on two slow cores.
  await upstream.ask({ delayMs: 4000 })
  await order(wide.port, 5000, { connections: 5000, rate: 1500 })
  bars.push(bar('resident after 5,000 in flight, MiB', (await wide.running.account()).rssBytes / MIB, 300))
  await wide.running.stop()
  await upstream.ask({ delayMs: 0 })

  say(`${CALLERS.toLocaleString('en')} callers`)
  const gateway = {
    gateway: {
      issuer: 'gateway',
      header: 'x-user',
      from: ['127.0.0.0/8'],
      secret_header: 'x-secret',
      secret_env: 'GATEWAY_SECRET'
    }
  }
  const crowd = await serve('crowd', policyFile(folder, 'crowd', identity, { gateway }), { GATEWAY_SECRET: GATEWAY })
  const template = mintRequest(null).replace('Content-Type', `x-user: user-{n}\r\nx-secret: ${GATEWAY}\r\nContent-Type`)
  const requests = { requestsFile: null, template }
  await order(crowd.port, 4000, requests)
  const early = await cpuPerMint(crowd.running, crowd.port, 10_000, { ...requests, from: 4000 })
  await order(crowd.port, CALLERS - 24_000, { ...requests, from: 14_000 })
  const late = await cpuPerMint(crowd.running, crowd.port, 10_000, { ...requests, from: CALLERS - 10_000 })
  bars.push(bar('resident after a million callers, MiB', (await crowd.running.account()).rssBytes / MIB, 300))
  bars.push(bar('the last ten thousand : the first, CPU', late / early, 1.2))

  identity.close()
  return { title: 'What does not grow', rows: [], notes: [], bars }
}

function certificate (folder: string): { key: string, cert: string } {
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  execFileSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', cert
  ], { stdio: 'ignore' })
  return { key, cert }
}

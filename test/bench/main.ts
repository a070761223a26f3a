// npm run bench [-- --quick] [--json]: compares the cost of a mint with common alternatives. Loopback only, bounded.
// npm run bench -- --extremes: checks that the cost per mint does not grow.
// npm run bench -- --calls [--quick]: what brokered calls cost, in ten minutes or half a minute.

import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { freePort } from '../support/processes.ts'
import { measureCalls } from './calls.ts'
import { type Contender, ephemint, mintRequest, peer, policyFile, requestsFile, TOKEN_REQUEST } from './contenders.ts'
import { measureExtremes } from './extremes.ts'
import { startIdentity } from './identity.ts'
import { startBenchRedis } from './limits-redis.ts'
import type { LoadOrder, LoadReport } from './load.ts'
import { median, printReport, type Report, type Sample, summarize } from './report.ts'
import { type Running, startRunning } from './running.ts'

const flag = { type: 'boolean', default: false } as const
const { values: { quick, json, extremes, calls } } = parseArgs({
  options: { quick: flag, json: flag, extremes: flag, calls: flag }
})

const USERS = quick ? 500 : 2000
const ROUNDS = quick ? 3 : 9
const DELAY_ROUNDS = quick ? 1 : 5
const MINTS = quick ? 1000 : 3000
/** Enough for the compiler to optimize: the measured service is one that has run for a while. */
const WARM_UP_MINTS = quick ? 3000 : 12_000
const NEW_WARM_UP_MINTS = WARM_UP_MINTS / 4
/** V8 shrinks its young generation in a pause; these mints let it grow again before the measurement. */
const WAKING_MINTS = quick ? 500 : 1000
const CONNECTIONS = 64
const UPSTREAM_DELAY_MS = 20
const RATE = quick ? 500 : 1000
const OPEN_LOOP_MINTS = RATE * (quick ? 1 : 1.5)

const cores = availableParallelism()
const folder = mkdtempSync(join(tmpdir(), 'ephemint-bench-'))
const running: Running[] = []
const say = (text: string) => { if (!json) process.stderr.write(`${text}\n`) }

try {
  const report = extremes
    ? await measureExtremes(folder, begin, say)
    : calls ? await measureCalls(folder, begin, { quick, say }) : await measureContenders()
  if (json) console.log(JSON.stringify(report, null, 2))
  else printReport(report)
  process.exitCode = report.bars.every(({ met }) => met) ? 0 : 1
} finally {
  await Promise.all(running.map(({ stop }) => stop()))
  rmSync(folder, { recursive: true })
}

async function measureContenders (): Promise<Report> {
  const identity = await startIdentity()
  const upstreamPort = await freePort()
  const upstream = await begin('./recorded-upstream.ts', { PORT: String(upstreamPort) })
  const load = await begin('./load.ts', {})
  const redis = await startBenchRedis()
  const url = `http://127.0.0.1:${upstreamPort}`

  say('signing tokens')
  const tokens = (length: number) =>
    Promise.all(Array.from({ length }, async (_, i) => mintRequest(await identity.token(`user-${i % USERS}`))))
  const users = requestsFile(folder, 'users', await tokens(USERS))
  const strangers = requestsFile(
    folder, 'strangers', await tokens(NEW_WARM_UP_MINTS + ROUNDS * MINTS + DELAY_ROUNDS * OPEN_LOOP_MINTS)
  )
  const bare = requestsFile(folder, 'bare', [mintRequest(null)])
  const policy = policyFile(folder, 'policy', identity)
  const contenders: Contender[] = [
    peer('floor', 'floor.ts', url, bare),
    peer('console', 'console.ts', url, requestsFile(folder, 'token', [TOKEN_REQUEST])),
    peer('naive fastify', 'naive-fastify.ts', url, bare),
    ephemint('ephemint', folder, policy, url, users),
    ephemint('ephemint, all tokens new', folder, policy, url, strangers),
    ...(redis === null ? [] : [ephemint('ephemint, Redis', folder, policy, url, users, { REDIS_URL: redis.url })])
  ]
  if (redis === null) say('ephemint, Redis: skipped, no redis-server or valkey-server on the PATH')

  const started = new Map<string, { process: Running, port: number, from: number }>()
  for (const { name, file, env, args } of contenders) {
    const port = await freePort()
    started.set(name, { process: await begin(file, { ...env, PORT: String(port) }, args), port, from: 0 })
  }
  const order = async (name: string, requests: string, count: number, rate: number | null): Promise<LoadReport> => {
    const target = started.get(name)
    // A token is new only once.
    const from = requests === strangers ? target?.from ?? 0 : 0
    const report = await load.ask<LoadReport>({
      ports: [target?.port ??
        upstreamPort],
      requestsFile: requests,
      from,
      count,
      connections: CONNECTIONS * (rate === null ? 1 : 4),
      rate
    } satisfies LoadOrder)
    if (target !== undefined && requests === strangers) target.from += count
    const wrong = Object.keys(report.statuses).filter((status) => status !== '200')
    if (wrong.length > 0) throw new Error(`${name} answered ${JSON.stringify(report.statuses)}`)
    return report
  }

  const samples: Sample[] = []
  // Cost first, delay afterwards: pauses change a process.
  say('warming up')
  await upstream.ask({ delayMs: 0 })
  for (const { name, requestsFile: requests } of contenders) {
    await order(name, requests === strangers ? users : requests, WARM_UP_MINTS, null)
    if (requests === strangers) await order(name, strangers, NEW_WARM_UP_MINTS, null)
  }
  for (let round = 1; round <= ROUNDS; round++) {
    say(`cost, round ${round} of ${ROUNDS}`)
    for (const { name, requestsFile: requests } of contenders) {
      const { process: contender } = started.get(name) as { process: Running }
      await order(name, requests === strangers ? users : requests, WAKING_MINTS, null)
      const before = await contender.account()
      const closed = await order(name, requests, MINTS, null)
      const after = await contender.account()
      samples.push({
        name,
        cpuMicros: (after.cpuMicros - before.cpuMicros) / MINTS,
        // By CPU time, so that waiting for upstream or the load generator does not count.
        mintsPerCore: 1e6 * MINTS / (after.cpuMicros - before.cpuMicros),
        mintsPerSecond: MINTS / closed.seconds,
        loadCpuShare: closed.cpuMicros / 1e6 / closed.seconds
      })
    }
  }
  await upstream.ask({ delayMs: UPSTREAM_DELAY_MS })
  for (let round = 1; round <= DELAY_ROUNDS; round++) {
    say(`delay, round ${round} of ${DELAY_ROUNDS}`)
    for (const { name, requestsFile: requests } of contenders) {
      await order(name, requests === strangers ? users : requests, WAKING_MINTS, null)
      const { latencies } = await order(name, requests, OPEN_LOOP_MINTS, RATE)
      const { rssBytes } = await (started.get(name) as { process: Running }).process.account()
      samples.push({ name, p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99), rssBytes })
    }
    const direct = await order('upstream itself', bare, OPEN_LOOP_MINTS, RATE)
    samples.push(
      { name: 'upstream itself', p50: quantile(direct.latencies, 0.5), p99: quantile(direct.latencies, 0.99) }
    )
  }
  const notes: string[] = []
  if (redis !== null) {
    say('one replica, then two')
    const ports: number[] = []
    for (const n of [1, 2]) {
      const port = await freePort()
      const { file, env, args } = ephemint(`replica ${n}`, folder, policy, url, users, { REDIS_URL: redis.url })
      await begin(file, { ...env, PORT: String(port) }, args)
      ports.push(port)
    }
    await upstream.ask({ delayMs: 0 })
    const perSecond = async (asked: readonly number[]) => {
      const times: number[] = []
      for (let round = 0; round <= ROUNDS; round++) {
        const { seconds } = await load.ask<LoadReport>({
          ports: asked, requestsFile: users, from: 0, count: MINTS, connections: CONNECTIONS, rate: null
        } satisfies LoadOrder)
        if (round > 0) times.push(MINTS / seconds)
      }
      return median(times)
    }
    const [one, two] = [await perSecond(ports.slice(0, 1)), await perSecond(ports)]
    notes.push(`Two replicas on one Redis: ${(two / one).toFixed(2)} times the mints of one. They share ` +
      `${cores} cores with Redis, the upstream and the generator; five would be enough for 1.8.`)
  }
  identity.close()
  await redis?.stop()
  return summarize(samples, { cores, rounds: ROUNDS, quick, notes })
}

async function begin (file: string, env: Record<string, string>, args: string[] = []): Promise<Running> {
  const begun = await startRunning(file, env, args)
  running.push(begun)
  return begun
}

function quantile (sorted: number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] as number
}

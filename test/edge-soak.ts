// npm run soak -- --edge [--minutes N]: good clients at a fixed rate beside connections that never read, connections
// that drip, and floods of refusals. Every good mint is answered, 99 in 100 of them at once, and memory stays flat.

import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { type Counted, createClients, createScript, startCountingUpstream } from './support/counting.ts'
import type { Attack, Attacked } from './support/edge-attackers.ts'
import { endWith } from './support/processes.ts'
import { type Service, startService, tokenOf } from './support/service.ts'
import { until } from './support/until.ts'

const RATE = 100
const CALLERS = 50
const UPSTREAM_MS = 5
const P99_MS = 100
const MAX_GROWTH = 1.1
const SAMPLE_MS = 1000
/** In a shorter run the warm-up of allocator and compiler dominates. */
const MEASURED_MS = 60_000
const POLICY = `callers: [{ jwt: { issuer: 'https://auth.test/', audience: voice, secret_env: TOKEN_SECRET } }]
policies: [{ name: any, when: any, limits: none, realtime: { fixed: { model: gpt-realtime-2.1 } } }]
`

export type EdgeSoakOptions = Readonly<{ minutes: number, report: (line: string) => void }>

/**
 * The problems that were found: none, if all is well. Memory is flat where both grow by no more than a tenth: the heap
 * at rest, from before the attacks to after them, and the median of resident memory, from their second quarter to their
 * last.
 */
export async function edgeSoak ({ minutes, report }: EdgeSoakOptions): Promise<readonly string[]> {
  const script = createScript()
  try {
    const upstream = await startCountingUpstream(script, UPSTREAM_MS)
    const service = await startService(script, {
      upstreamUrl: upstream.url,
      policy: POLICY,
      // Memory as `npm start` bounds it.
      args: [
        '--max-semi-space-size=16', '--max-old-space-size=384', '--expose-gc', '--import',
        pathToFileURL(join(import.meta.dirname, 'support/memory-probe.ts')).href
      ],
      env: { AUDIT_FILE: 'audit.log', LOG_LEVEL: 'error', OPENAI_MINT_API: 'client_secrets' },
      spawning: { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] }
    })
    const clients = createClients(service.url, RATE)
    script.teardown(clients.close)
    const exp = Math.floor(Date.now() / 1000) + minutes * 60 + 3600
    const tokens = await Promise.all(Array.from({ length: CALLERS }, (_, i) => tokenOf({ sub: `caller-${i}`, exp })))
    const attack = { port: service.port, token: await tokenOf({ sub: 'mallory', exp }) }
    const ms = minutes * 60_000

    const mintFor = async (ms: number) => {
      const answers: Promise<Counted | null>[] = []
      const startedAt = performance.now()
      for (let i = 0; performance.now() - startedAt < ms; i++) {
        answers.push(clients.mint(tokens[i % CALLERS] as string))
        await wait(Math.max(0, startedAt + (i + 1) * 1000 / RATE - performance.now()))
      }
      return Promise.all(answers)
    }
    const besideAttacks = async (ms: number) => {
      const attackers = fork(join(import.meta.dirname, 'support/edge-attackers.ts'))
      const ended = endWith(script, attackers)
      attackers.send(attack satisfies Attack)
      const watched = new AbortController()
      const resident = watchResident(service, watched.signal)
      const answers = await mintFor(ms)
      watched.abort()
      attackers.send('report')
      const [attacked] = await once(attackers, 'message') as [Attacked]
      attackers.kill()
      await ended
      return { answers, attacked, resident: await resident }
    }

    await besideAttacks(Math.min(15_000, ms / 4))
    const before = await memoryAtRest(service)
    const { answers, attacked, resident } = await besideAttacks(ms)
    const after = await memoryAtRest(service)
    service.kill('SIGTERM')
    const { code } = await service.exited

    const good = answers.filter((answer) => answer?.status === 200) as Counted[]
    const delays = good.map(({ tookMs, ownLagMs }) => tookMs - ownLagMs).sort((a, b) => a - b)
    const p99 = delays[Math.floor(delays.length * 0.99)] ?? Infinity
    const quarter = Math.max(1, resident.length >> 2)
    const [early, late] = [median(resident.slice(quarter, 2 * quarter)), median(resident.slice(-quarter))]
    report(
      `good      ${answers.length} mints asked for, ${good.length} answered; p50 ${median(delays).toFixed(1)} ms, ` +
        `p99 ${p99.toFixed(1)} ms, worst ${delays.at(-1)?.toFixed(1)} ms`
    )
    report(`attackers ${attacked.refused} refusals, ${attacked.reopened} connections closed on them and opened again`)
    report(
      `memory    heap at rest ${megabytes(before.heapUsed)}, then ${megabytes(after.heapUsed)}; ` +
        `resident ${megabytes(early)} in the second quarter, ${megabytes(late)} in the last, ` +
        `at most ${megabytes(Math.max(...resident))}`
    )
    const bad = answers.filter((answer) => answer?.status !== 200)
    const codes = [...new Set(bad.map((answer) => answer?.code ?? 'none'))]
    const problems = [
      ...(bad.length === 0 ? [] : [`${bad.length} good mints were not answered with 200: ${codes}`]),
      ...(p99 < P99_MS ? [] : [`p99 is ${Math.round(p99)} ms`]),
      ...(after.heapUsed > before.heapUsed * MAX_GROWTH ? ['the heap grew by more than a tenth'] : []),
      ...(ms >= MEASURED_MS && late > early * MAX_GROWTH ? ['resident memory grew by more than a tenth'] : []),
      ...(code === 0 ? [] : [`exit code ${code}`]),
      ...(service.stderr() === '' ? [] : [`on stderr: ${service.stderr()}`])
    ]
    for (const problem of problems) report(`problem: ${problem}`)
    return problems
  } finally {
    await script.end()
  }
}

/** Samples resident memory in bytes, once a second, until the signal. */
async function watchResident ({ child }: Service, signal: AbortSignal): Promise<number[]> {
  const samples: number[] = []
  while (!signal.aborted) {
    child.send('resident')
    const [{ rss }] = await once(child, 'message')
    samples.push(rss)
    await wait(SAMPLE_MS, undefined, { signal }).catch(() => {})
  }
  return samples
}

/** Measures the heap once all connections of the attackers are closed and collected. */
async function memoryAtRest ({ child, ask }: Service): Promise<{ heapUsed: number }> {
  await until('the service to answer', async () => (await ask('/livez')).status === 200)
  // The service gives up answers to clients that have gone at its next periodic check.
  await wait(2000)
  child.send('memory')
  const [memory] = await once(child, 'message')
  return memory
}

function median (values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Infinity
}

function megabytes (bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MB`
}

// npm run drain-test [-- --rounds N]: stops a service under load, again and again. No mint of upstream may be lost.
// With --calls [--live N] [--replicas N] [--one]: replicas under live calls (drain-calls.ts), and rounds if asked for.

import { setTimeout as wait } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { drainCalls } from './drain-calls.ts'
import { type Counted, createClients, createScript, startCountingUpstream } from './support/counting.ts'
import { type ServiceOptions, startService, tokenOf } from './support/service.ts'

const CLIENTS = 16
const PROBLEMS_SHOWN = 20
const UPSTREAM_MS = 30
const EXIT_WITHIN_MS = 25_000
const POLICY = `callers: [{ jwt: { issuer: 'https://auth.test/', audience: voice, secret_env: TOKEN_SECRET } }]
policies: [{ name: any, when: any, limits: none, realtime: { fixed: { model: gpt-realtime-2.1 } } }]
`

export type Round = Readonly<{
  minted: number,
  delivered: number,
  inFlight: number,
  lost: number,
  exitCode: number | null,
  exitMs: number,
  problems: readonly string[]
}>

/** Starts a service and stops it under load after `afterMs`. */
export async function drainOnce (afterMs: number): Promise<Round> {
  const script = createScript()
  try {
    const upstream = await startCountingUpstream(script, UPSTREAM_MS)
    const options: ServiceOptions = { upstreamUrl: upstream.url, policy: POLICY, env: { DRAIN_SECONDS: '0' } }
    const service = await startService(script, options)
    const clients = createClients(service.url, CLIENTS)
    script.teardown(clients.close)
    const token = await tokenOf()

    const answers: Counted[] = []
    const exit = { isOver: false }
    const working = Array.from({ length: CLIENTS }, async () => {
      while (!exit.isOver) {
        const answer = await clients.mint(token)
        if (answer === null) await wait(5)
        else answers.push(answer)
      }
    })
    await wait(afterMs)
    const [asked, answered] = [upstream.minted.length, answers.length]
    service.kill('SIGTERM')
    const { code, afterMs: exitMs } = await service.exited
    exit.isOver = true
    await Promise.all(working)

    const delivered = new Set(answers.flatMap(({ secret }) => secret ?? []))
    const lost = upstream.minted.filter((secret) => !delivered.has(secret)).length
    const count = (event: string) => service.audit.filter((line) => line.event === event).length
    const problems = [
      ...(lost > 0 ? [`${lost} of ${upstream.minted.length} mints were lost`] : []),
      ...(code !== 0 ? [`exit code ${code}`] : []),
      ...(exitMs > EXIT_WITHIN_MS ? [`exit after ${exitMs} ms`] : []),
      ...(count('mint.granted') !== upstream.minted.length
        ? [`${count('mint.granted')} audited, ${upstream.minted.length} minted`]
        : []),
      ...(delivered.size !== answers.filter(({ secret }) => secret !== null).length
        ? ['a secret was delivered twice']
        : []),
      ...answers.filter(({ status, code }) => status !== 200 && code !== 'draining').map(
        ({ status, code }) => `${status} ${code}`
      )
    ]
    return {
      minted: upstream.minted.length,
      delivered: delivered.size,
      inFlight: Math.max(0, upstream.minted.length - asked, answers.length - answered),
      lost,
      exitCode: code,
      exitMs,
      problems
    }
  } finally {
    await script.end()
  }
}

export async function drainRounds (rounds: number, report: (line: string) => void): Promise<number> {
  let bad = 0
  const totals = { minted: 0, delivered: 0, inFlight: 0, lost: 0 }
  const exits: number[] = []
  for (let round = 1; round <= rounds; round++) {
    // A different moment in each round.
    const { problems, ...counts } = await drainOnce(100 + (round * 37) % 200)
    if (problems.length > 0) bad++
    for (const name of ['minted', 'delivered', 'inFlight', 'lost'] as const) totals[name] += counts[name]
    exits.push(counts.exitMs)
    for (const problem of problems) report(`round ${round}: ${problem}`)
  }
  report(`rounds ${rounds}, without a fault ${rounds - bad}`)
  const { minted, delivered, lost, inFlight } = totals
  report(`minted ${minted}, delivered ${delivered}, lost ${lost}; finished after the signal ${inFlight}`)
  report(`exit after ${Math.round(Math.min(...exits))} to ${Math.round(Math.max(...exits))} ms`)
  return bad
}

if (import.meta.main) {
  const { values: { calls, one, ...values } } = parseArgs({
    options: {
      rounds: { type: 'string' },
      calls: { type: 'boolean', default: false },
      live: { type: 'string', default: '100' },
      replicas: { type: 'string', default: '3' },
      one: { type: 'boolean', default: false }
    }
  })
  const report = (line: string) => console.log(line)
  const { rounds = calls ? '0' : '100', live, replicas } = values
  const bad = rounds === '0' ? 0 : await drainRounds(Number(rounds), report)
  const problems = calls
    ? await drainCalls({ live: Number(live), replicas: Number(replicas), isOne: one, report })
    : []
  for (const problem of problems.slice(0, PROBLEMS_SHOWN)) report(`fault: ${problem}`)
  if (calls) report(`faults ${problems.length}`)
  process.exit(bad === 0 && problems.length === 0 ? 0 : 1)
}

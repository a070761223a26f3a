// npm run soak [-- --seconds N --rate R | --edge --minutes N | --calls --minutes N [--local]]: mints at a fixed rate
// under changing faults, then reconciles answers, audit lines and upstream's mints.

import { hash, randomInt } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import type { JsonObject } from '../src/json.ts'
import { callsSoak } from './calls-soak.ts'
import { edgeSoak } from './edge-soak.ts'
import {
  type Counted, type CountingUpstream,
  createClients, createScript, startCountingUpstream
} from './support/counting.ts'
import { type Fault, type FaultProxy, startFaultProxy } from './support/fault-proxy.ts'
import { type Service, startService, tokenOf } from './support/service.ts'
import { until } from './support/until.ts'

const DEADLINE_MS = 1000
const GRACE_MS = 250
const CALLERS = 50
const CONNECTIONS = 200
/** Long enough for a client to hang up before its answer. */
const UPSTREAM_MS = 60
const WEATHER_MS = 2500
const MAX_GROWTH = 1.1
const POLICY = `callers: [{ jwt: { issuer: 'https://auth.test/', audience: voice, secret_env: TOKEN_SECRET } }]
policies:
  - name: any
    when: any
    limits: { minute: 1000000, total: { day: 100000000 } }
    realtime: { fixed: { model: gpt-realtime-2.1, instructions: You are Ada. } }
`

type Weather = Readonly<{ name: string, fault: Fault, status?: number }>

/** The faults, one after the other, with a healthy upstream between them. */
const WEATHER: readonly Weather[] = [
  { name: 'refuse', fault: 'refuse' },
  { name: 'slow', fault: { slow: 300 } },
  { name: 'reset', fault: 'reset' },
  { name: 'hang', fault: 'hang' },
  { name: '500', fault: 'pass', status: 500 },
  { name: 'drip', fault: { drip: 5 } },
  { name: 'cut', fault: { cut: 350 } },
  { name: '429', fault: 'pass', status: 429 },
  { name: 'garbage', fault: 'garbage' },
  { name: 'limit', fault: { limit: 2000 } },
  { name: '401', fault: 'pass', status: 401 },
  { name: 'too slow', fault: { slow: 3000 } }
]

export type SoakOptions = Readonly<{ seconds: number, rate: number, report: (line: string) => void }>

/** Resolves to the problems found. */
export async function soak ({ seconds, rate, report }: SoakOptions): Promise<readonly string[]> {
  const script = createScript()
  try {
    const upstream = await startCountingUpstream(script, UPSTREAM_MS)
    const proxy = await startFaultProxy(script, { host: '127.0.0.1', port: upstream.port })
    const service = await startService(script, {
      upstreamUrl: `http://${proxy.host}/v1`,
      policy: POLICY,
      // Memory as `npm start` bounds it.
      args: [
        '--max-semi-space-size=16', '--max-old-space-size=384', '--expose-gc', '--import',
        pathToFileURL(join(import.meta.dirname, 'support/memory-probe.ts')).href
      ],
      env: {
        AUDIT_FILE: 'audit.log',
        UPSTREAM_TIMEOUT_MS: String(DEADLINE_MS),
        LOG_LEVEL: 'error',
        OPENAI_MINT_API: 'client_secrets'
      },
      spawning: { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] }
    })
    return await run({ upstream, proxy, service, seconds, rate, report })
  } finally {
    await script.end()
  }
}

type Running = SoakOptions & Readonly<{ upstream: CountingUpstream, proxy: FaultProxy, service: Service }>

async function run ({ upstream, proxy, service, seconds, rate, report }: Running): Promise<readonly string[]> {
  const clients = createClients(service.url, CONNECTIONS)
  const tokens = await Promise.all(Array.from(
    { length: CALLERS }, (_, i) => tokenOf({ sub: `caller-${i}`, exp: Math.floor(Date.now() / 1000) + 3600 })
  ))
  const answers: Counted[] = []
  let [asked, left, unanswered] = [0, 0, 0]
  const pending = new Set<Promise<void>>()

  async function one (i: number): Promise<void> {
    const token = tokens[i % CALLERS] as string
    asked++
    // Some clients hang up before the answer.
    if (i % 25 === 24) {
      left++
      return clients.leave(token)
    }
    const answer = await clients.mint(token)
    if (answer === null) unanswered++
    else answers.push(answer)
  }

  /** Mints at a fixed rate, however long the answers take. */
  async function mintFor (ms: number): Promise<void> {
    const startedAt = performance.now()
    for (let i = 0; performance.now() - startedAt < ms; i++) {
      const minting = one(i)
      pending.add(minting)
      minting.then(() => pending.delete(minting))
      await wait(Math.max(0, startedAt + (i + 1) * 1000 / rate - performance.now()))
    }
  }

  const settle = async () => {
    await Promise.all(pending)
    await until(
      'the service to recover', async () => (await clients.mint(tokens[0] as string).then(count))?.status === 200
    )
    return memoryOf(service)
  }
  const count = (answer: Counted | null) => {
    asked++
    if (answer === null) unanswered++
    else answers.push(answer)
    return answer
  }

  // Warms up the compiler and the connection pools, faults included.
  const weather = async (ms: number) => {
    // Each fault lasts long enough to take effect and to recover from; a short soak leaves some out.
    const every = Math.max(1, Math.floor(WEATHER.length * WEATHER_MS / ms))
    const chosen = WEATHER.filter((_, i) => i % every === 0)
    const each = ms / chosen.length
    for (const { fault, status = null } of chosen) {
      upstream.behave(status)
      await proxy.inject(fault)
      await wait(each * 0.4)
      upstream.behave(null)
      await proxy.inject('pass')
      await wait(each * 0.6)
    }
  }
  const warmingMs = Math.min(10_000, seconds * 250)
  await Promise.all([mintFor(warmingMs), weather(warmingMs)])
  const before = await settle()

  const moved = join(service.folder, 'audit.log.1')
  const rotating = wait(seconds * 500).then(() => renameSync(join(service.folder, 'audit.log'), moved))
  await Promise.all([mintFor(seconds * 1000), weather(seconds * 1000), rotating])
  const after = await settle()
  await clients.close()
  service.kill('SIGTERM')
  const { code } = await service.exited

  const audit = ['audit.log.1', 'audit.log'].map((name) => join(service.folder, name)).filter(
    (path) => existsSync(path)
  )
    .flatMap((path) => readFileSync(path, 'utf8').trimEnd().split('\n')).map((line) => JSON.parse(line) as JsonObject)
  const books = { asked, left, unanswered, answers, audit, minted: upstream.minted }
  describe(books, report)
  const memory = [before, after].map(({ heapUsed, rss }) => `${megabytes(heapUsed)} heap, ${megabytes(rss)} resident`)
  report(`memory  before ${memory[0]}; after ${memory[1]}`)
  const problems = [
    ...compare(books),
    ...(after.heapUsed > before.heapUsed * MAX_GROWTH ? ['the heap grew by more than a tenth'] : []),
    // A short soak has warmed up too briefly to check resident memory.
    ...(seconds >= 60 && after.rss > before.rss * MAX_GROWTH ? ['resident memory grew by more than a tenth'] : []),
    ...(code === 0 ? [] : [`exit code ${code}`]),
    ...(service.stderr() === '' ? [] : [`stderr: ${service.stderr()}`])
  ]
  for (const problem of problems) report(`problem: ${problem}`)
  return problems
}

type Books = Readonly<{
  asked: number,
  left: number,
  unanswered: number,
  answers: readonly Counted[],
  audit: readonly JsonObject[],
  minted: readonly string[]
}>

function compare ({ asked, left, unanswered, answers, audit, minted }: Books): string[] {
  const lines = (event: string) => audit.filter((line) => line.event === event)
  const [granted, undelivered, unknown, allRefused] = [
    'mint.granted', 'mint.undelivered', 'mint.unknown', 'mint.refused'
  ].map(lines) as [JsonObject[], JsonObject[], JsonObject[], JsonObject[]]
  // More than ten refusals of one caller in a second are summed up, also for clients that have left.
  const [refused, sums] = [false, true].map((isSum) => allRefused.filter(({ count }) => (count !== undefined) === isSum)
  ) as [JsonObject[], JsonObject[]]
  const delivered = answers.filter(({ status }) => status === 200)
  const problems: string[] = []
  const expect = (holds: boolean, problem: string) => { if (!holds) problems.push(problem) }

  expect(
    delivered.length + undelivered.length === granted.length,
    `delivered ${delivered.length} + undelivered ${undelivered.length} is not granted ${granted.length}`
  )
  const lineOf = new Map(granted.map((line) => [line.request_id, line]))
  const unaudited = delivered.filter(
    ({ requestId, secret }) => lineOf.get(requestId)?.secret_sha256 !== hash('sha256', secret ?? '')
  )
  expect(unaudited.length === 0, `${unaudited.length} secrets were delivered without an audit line`)
  const upstreams = new Set(minted.map((secret) => hash('sha256', secret)))
  expect(granted.every(({ secret_sha256: sha }) => upstreams.has(String(sha))), 'granted what upstream did not mint')

  const decided = [...granted, ...unknown, ...refused].map(({ request_id: id }) => id)
  expect(
    new Set(decided).size === decided.length, `${decided.length - new Set(decided).size} requests were decided twice`
  )
  expect(new Set(delivered.map(({ secret }) => secret)).size === delivered.length, 'a secret was delivered twice')
  expect(new Set(granted.map(({ secret_sha256: sha }) => sha)).size === granted.length, 'a secret was granted twice')
  const codes = tally(answers.filter(({ status }) => status !== 200).map(({ code }) => String(code)))
  const audited = tally([...unknown, ...refused].filter(({ request_id: id }) =>
    answers.some(({ requestId }) => requestId === id)).map(({ code }) => String(code)))
  const summedUp = (code: string) =>
    sums.filter((sum) => sum.code === code).reduce((all, { count }) => all + Number(count), 0)
  for (const code of Object.keys({ ...codes, ...audited })) {
    const [answered, alone, summed] = [codes[code] ?? 0, audited[code] ?? 0, summedUp(code)]
    expect(
      alone <= answered && answered <= alone + summed && alone + summed <= answered + left,
      `refusals ${code}: ${answered} answered, ${alone} audited and ${summed} summed up`
    )
  }
  expect(
    asked === answers.length + left + unanswered,
    `asked ${asked}, but ${answers.length} answered, ${left} left, ${unanswered} unanswered`
  )
  expect(unanswered === 0, `${unanswered} got no answer`)
  const worst = Math.max(...answers.map(({ tookMs, ownLagMs }) => tookMs - ownLagMs))
  expect(worst <= DEADLINE_MS + GRACE_MS, `an answer took ${Math.round(worst)} ms`)
  return problems
}

function describe ({ asked, left, answers, audit, minted }: Books, report: SoakOptions['report']): void {
  const events = tally(audit.map(({ event }) => String(event)))
  const delivered = answers.filter(({ status }) => status === 200)
  const undelivered = events['mint.undelivered'] ?? 0
  const delays = answers.map(({ tookMs }) => tookMs).sort((a, b) => a - b)
  report(`asked   ${asked} (${left} of them hung up)`)
  report(`granted ${delivered.length + undelivered}; delivered ${delivered.length}, undelivered ${undelivered}`)
  report(
    `audited ${events['mint.granted'] ?? 0}; unknown ${events['mint.unknown'] ?? 0}; upstream minted ${minted.length}`
  )
  const refused = answers.filter(({ status }) => status !== 200).map(({ status, code }) => `${status} ${code}`)
  report(`refused ${JSON.stringify(tally(refused))}`)
  const own = Math.max(...answers.map(({ ownLagMs }) => ownLagMs))
  const [worst, median] = [delays.at(-1) ?? 0, delays[delays.length >> 1] ?? 0].map(Math.round)
  report(`delay   worst ${worst} ms (up to ${Math.round(own)} ms of it the clients' own lag), median ${median} ms; ` +
    `deadline ${DEADLINE_MS} ms`)
}

function tally (names: readonly string[]): Record<string, number> {
  const counts = new Map<string, number>()
  for (const name of [...names].sort()) counts.set(name, (counts.get(name) ?? 0) + 1)
  return Object.fromEntries(counts)
}

async function memoryOf ({ child }: Service): Promise<{ heapUsed: number, rss: number }> {
  child.send('memory')
  const [memory] = await once(child, 'message')
  return memory
}

function megabytes (bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MB`
}

if (import.meta.main) {
  const { values: { edge, calls, local, ...values } } = parseArgs({
    options: {
      seconds: { type: 'string' },
      rate: { type: 'string', default: '50' },
      edge: { type: 'boolean', default: false },
      calls: { type: 'boolean', default: false },
      local: { type: 'boolean', default: false },
      minutes: { type: 'string' },
      seed: { type: 'string', default: String(randomInt(2 ** 31)) }
    }
  })
  const report = (line: string) => console.log(line)
  const minutes = Number(values.minutes ?? (calls ? 10 : 60))
  const problems = calls
    ? await callsSoak({
      seconds: Number(values.seconds ?? 60 * minutes), seed: Number(values.seed), isLocal: local, report
    })
    : edge
      ? await edgeSoak({ minutes, report })
      : await soak({ seconds: Number(values.seconds ?? 60), rate: Number(values.rate), report })
  process.exit(problems.length === 0 ? 0 : 1)
}

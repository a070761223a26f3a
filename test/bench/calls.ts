// What brokered calls cost: 1,000 of them with 20 events a second each, in plain text and over TLS, beside bare ws
// clients that only count the same frames; their setup, their end, and 5,000 at a time.

import { setTimeout as wait } from 'node:timers/promises'
import type { Receiver } from './calls-upstream.ts'
import { type BenchWorld, type Length, startBenchWorld, type Transport } from './calls-world.ts'
import { startIdentity } from './identity.ts'
import { type Bar, bar, median, type Report } from './report.ts'
import type { Begin, Running } from './running.ts'

type Sizes = Readonly<{
  transports: readonly Transport[]
  calls: number,
  many: number,
  setups: number,
  rounds: number,
  roundSeconds: number,
  shortSeconds: number
}>
type Measured = Readonly<{
  addedMs: number
  eventsPerSecond: number
  /** CPU at the full pace, computed even if the upstream did not keep it. */
  coreShare: number
  /** CPU time of an event of the service, and of the floor. */
  micros: number
  floorMicros: number
  kibPerCall: number
  floorKib: number
  /** How late each call ended, sorted. */
  lateMs: readonly number[]
  missing: number
}>
type Cost = Readonly<{ micros: number, eventsPerSecond: number }>

const FULL: Sizes = {
  transports: ['plain text', 'TLS'],
  calls: 1000,
  many: 5000,
  setups: 500,
  rounds: 3,
  roundSeconds: 20,
  shortSeconds: 30
}
const QUICK: Sizes = {
  transports: ['TLS'], calls: 100, many: 0, setups: 50, rounds: 1, roundSeconds: 3, shortSeconds: 10
}
const EVENTS_PER_SECOND = 20
/** The pace for 5,000 calls: as many events in all as for 1,000 calls. */
const MANY_EVENTS_PER_SECOND = 4
/** Time in which freed memory is returned to the system. */
const SETTLE_MS = 1500
/** Time in which the last events arrive. */
const ARRIVE_MS = 100
const [MANY_SAMPLES, MANY_SAMPLE_MS] = [20, 2000]
const KIB = 1024

const BARS: Readonly<Record<Transport, Readonly<{ coreShare: number, kibPerCall: number }>>> = {
  'plain text': { coreShare: 0.5, kibPerCall: 64 },
  TLS: { coreShare: 0.6, kibPerCall: 112 }
}

export async function measureCalls (
  folder: string, begin: Begin, { quick, say }: { quick: boolean, say: (text: string) => void }
): Promise<Report> {
  const sizes = quick ? QUICK : FULL
  const identity = await startIdentity()
  say('signing tokens')
  const sign = (count: number, plan: Length) =>
    Promise.all(Array.from({ length: count }, (_, i) => identity.token(`user-${i}`, plan)))
  const users = Math.max(sizes.calls, sizes.many)
  const tokens = { long: await sign(users, 'long'), short: await sign(sizes.calls, 'short') }
  const start = (transport: Transport, callsMax: number) =>
    startBenchWorld({ folder, begin, identity, tokens, transport, callsMax, shortSeconds: sizes.shortSeconds })
  const measured: [Transport, Measured][] = []
  for (const transport of sizes.transports) {
    const world = await start(transport, 2000)
    measured.push([transport, await measure(world, sizes, (text) => say(`${transport}: ${text}`))])
    await world.stop()
  }
  const bars = measured.flatMap(([transport, one]) => barsOf(transport, one, quick))
  if (sizes.many > 0) {
    say(`${sizes.many} calls`)
    const world = await start('TLS', sizes.many)
    bars.push(bar(`resident with ${sizes.many} calls over TLS, MiB`, await residentWithMany(world, sizes.many), 768))
    await world.stop()
  }
  identity.close()
  return {
    title: `${sizes.calls} calls, ${EVENTS_PER_SECOND} events a second each, Node.js ${process.version}`,
    rows: [['', ...measured.map(([transport]) => transport)], ...COLUMNS.map(([name, cell]) =>
      [name, ...measured.map(([, one]) => cell(one))])],
    notes: ['Memory is what is resident, without a forced collection.'],
    bars
  }
}

const COLUMNS: readonly [string, (measured: Measured) => string][] = [
  ['events a second that the upstream sent', ({ eventsPerSecond }) => eventsPerSecond.toFixed(0)],
  ['share of a core, %', ({ coreShare }) => (100 * coreShare).toFixed(1)],
  ['CPU µs an event', ({ micros }) => micros.toFixed(1)],
  ['… of the floor', ({ floorMicros }) => floorMicros.toFixed(1)],
  ['KiB a call', ({ kibPerCall }) => kibPerCall.toFixed(1)],
  ['… a connection of the floor', ({ floorKib }) => floorKib.toFixed(1)],
  ['added to the setup, p50, ms', ({ addedMs }) => addedMs.toFixed(2)],
  ['late at the longest duration, p50, ms', ({ lateMs }) => quantile(lateMs, 0.5).toFixed(1)],
  ['late at the longest duration, p99, ms', ({ lateMs }) => quantile(lateMs, 0.99).toFixed(1)]
]

function barsOf (transport: Transport, measured: Measured, quick: boolean): Bar[] {
  const { coreShare, kibPerCall } = BARS[transport]
  const slack = quick ? 2 : 1
  const named = (text: string, value: number, atMost: number) => bar(`${transport}: ${text}`, value, atMost)
  return [
    named('share of a core', measured.coreShare, coreShare * slack),
    named('call : floor, CPU of an event', measured.micros / measured.floorMicros, 2 * slack),
    named('responses missing in the audit lines', measured.missing, 0),
    // Not in a quick run: delays depend on the load of the machine, and with few calls the heap itself dominates.
    ...(quick
      ? []
      : [
          named('memory of a call, KiB', measured.kibPerCall, kibPerCall),
          named('added to the setup of a call at the median, ms', measured.addedMs, 5),
          named('late at the end of max_seconds, p99, ms', quantile(measured.lateMs, 0.99), 250)
        ])
  ]
}

async function measure (world: BenchWorld, sizes: Sizes, say: (text: string) => void): Promise<Measured> {
  const { service, floor, upstream } = world
  const { calls, rounds, roundSeconds, shortSeconds } = sizes
  say('setup')
  const addedMs = await measureSetup(world, sizes)
  await wait(SETTLE_MS)
  const bytes = async (of: Running) => (await of.account()).rssBytes
  const before = { service: await bytes(service), floor: await bytes(floor) }

  say(`opening ${calls} calls`)
  const hangUp = await world.open(calls, 'long')
  await floor.ask({ open: calls })
  const samples: Record<Receiver, Cost[]> = { calls: [], floor: [] }
  for (let round = 0; round <= rounds; round++) {
    say(round === 0 ? 'warming up' : `round ${round} of ${rounds}`)
    for (const to of ['floor', 'calls'] as const) {
      const cost = await costOf(world, to, round === 0 ? roundSeconds / 2 : roundSeconds)
      if (round > 0) samples[to].push(cost)
    }
  }
  const kib = async (of: 'service' | 'floor') => (await bytes(world[of]) - before[of]) / calls / KIB
  const [kibPerCall, floorKib] = [await kib('service'), await kib('floor')]
  await hangUp()

  say(`${calls} calls of ${shortSeconds} s`)
  await upstream()
  await world.open(calls, 'short')
  const openedMs = performance.now()
  await upstream({ to: 'calls', eventsPerSecond: EVENTS_PER_SECOND })
  const lastedMs: number[] = []
  while (lastedMs.length < calls && performance.now() < openedMs + 2 * shortSeconds * 1000) {
    await wait(500)
    lastedMs.push(...(await upstream()).lastedMs)
  }
  if (lastedMs.length < calls) throw new Error(`${calls - lastedMs.length} calls of ${shortSeconds} s did not end`)
  await upstream({ to: null, eventsPerSecond: 0 })
  await wait(SETTLE_MS)
  const of = (to: Receiver, column: keyof Cost) => median(samples[to].map((cost) => cost[column]))
  return {
    addedMs,
    eventsPerSecond: of('calls', 'eventsPerSecond'),
    coreShare: of('calls', 'micros') * calls * EVENTS_PER_SECOND / 1e6,
    micros: of('calls', 'micros'),
    floorMicros: of('floor', 'micros'),
    kibPerCall,
    floorKib,
    lateMs: lastedMs.map((ms) => ms - shortSeconds * 1000).sort((a, b) => a - b),
    missing: (await upstream()).responses - world.responsesInBooks()
  }
}

/** Sets up calls one after the other, alternating with calls directly at the upstream. */
async function measureSetup ({ call, direct }: BenchWorld, { calls, setups }: Sizes): Promise<number> {
  const [alone, through]: [number[], number[]] = [[], []]
  for (let i = -Math.ceil(setups / 3); i < setups; i++) {
    for (const [times, one] of [[alone, await direct()], [through, await call(Math.abs(i) % calls)]] as const) {
      if (i >= 0) times.push(one.tookMs)
      await one.hangUp()
    }
  }
  return median(through) - median(alone)
}

/** The CPU cost of the service or of the floor while its calls are sent events. */
async function costOf ({ service, floor, upstream }: BenchWorld, to: Receiver, seconds: number): Promise<Cost> {
  const account = async () => (await (to === 'calls' ? service : floor).account()).cpuMicros
  const [cpuBefore, before, startedMs] = [
    await account(), await upstream({ to, eventsPerSecond: EVENTS_PER_SECOND }), performance.now()
  ]
  await wait(seconds * 1000)
  const [after, tookMs] = [await upstream({ to: null, eventsPerSecond: 0 }), performance.now() - startedMs]
  await wait(ARRIVE_MS)
  const cpuMicros = await account() - cpuBefore
  const events = after.events[to] - before.events[to]
  return { micros: cpuMicros / events, eventsPerSecond: 1000 * events / tookMs }
}

async function residentWithMany ({ service, upstream, open }: BenchWorld, count: number): Promise<number> {
  await open(count, 'long')
  await upstream({ to: 'calls', eventsPerSecond: MANY_EVENTS_PER_SECOND })
  let most = 0
  for (let i = 0; i < MANY_SAMPLES; i++) {
    await wait(MANY_SAMPLE_MS)
    most = Math.max(most, (await service.account()).rssBytes / KIB / KIB)
  }
  return most
}

function quantile (sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] as number
}

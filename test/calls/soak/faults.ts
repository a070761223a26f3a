// Faults, one at a time, drawn from a bag that holds each of them once.

import { setTimeout as wait } from 'node:timers/promises'
import { accept, cutBody, opened, stalledBody } from '../../support/call-replies.ts'
import { failure, hang, reset } from '../../support/upstream.ts'
import type { Random } from './random.ts'
import type { Slot, SoakWorld } from './world.ts'

/** A fault that may have an effect until `untilMs`. */
export type Happened = { readonly name: string, readonly fromMs: number, untilMs: number }

type Scene = Readonly<{ world: SoakWorld, random: Random, /** The replica that it happens to. */ slot: Slot }>
type Fault = Readonly<{
  name: string
  /** Whether the fault ends a process. */
  isEnd?: boolean
  /** Whether the fault lasts longer than a lease. */
  isLong?: boolean
  /** How long its effect lasts: another replica adopts calls, or lost requests are tried again. */
  afterMs: number
  run: (scene: Scene) => Promise<unknown>
}>

const ADOPTED_MS = 45_000
/** The longest pause between tries of a hang-up or of a sideband. */
const TRIED_AGAIN_MS = 25_000
const CLOSES = [1000, 1001, 1006, 1011]

const during = async (ms: number, begin: () => unknown, end: () => unknown) => {
  await begin()
  await wait(ms)
  await end()
}

const pause = (leastMs: number, mostMs: number) => ({ slot: { service }, random }: Scene) => during(
  random.between(leastMs, mostMs), () => service.kill('SIGSTOP'), () => service.kill('SIGCONT')
)
const cutOff = (leastMs: number, mostMs: number) => ({ slot: { proxy }, random }: Scene) => during(
  random.between(leastMs, mostMs), () => proxy.inject('refuse'), () => proxy.inject('pass')
)

const KILL: Fault = {
  name: 'killed', isEnd: true, afterMs: ADOPTED_MS, run: ({ world, slot }) => world.restart(slot, 'SIGKILL')
}
const STOP: Fault = {
  name: 'stopped', isEnd: true, afterMs: TRIED_AGAIN_MS, run: ({ world, slot }) => world.restart(slot, 'SIGTERM')
}

const FAULTS: readonly Fault[] = [
  KILL,
  STOP,
  { name: 'paused', afterMs: TRIED_AGAIN_MS, run: pause(500, 8000) },
  { name: 'paused for 40 s', isLong: true, afterMs: ADOPTED_MS, run: pause(40_000, 40_000) },
  { name: 'cut off', afterMs: TRIED_AGAIN_MS, run: cutOff(500, 8000) },
  { name: 'cut off for long', isLong: true, afterMs: ADOPTED_MS, run: cutOff(21_000, 35_000) },
  {
    name: 'Redis restarted',
    afterMs: TRIED_AGAIN_MS,
    run: ({ world: { redis }, random }) => during(random.between(0, 3000), redis.kill, redis.start)
  },
  {
    name: 'Redis paused',
    afterMs: TRIED_AGAIN_MS,
    run: ({ world: { redis }, random }) => during(random.between(300, 5000), redis.pause, redis.resume)
  },
  {
    name: 'Redis slow',
    afterMs: TRIED_AGAIN_MS,
    run: ({ slot: { proxy }, random }) =>
      during(4000, () => proxy.inject({ slow: random.between(100, 400) }), () => proxy.inject('pass'))
  },
  {
    name: 'sidebands closed',
    afterMs: TRIED_AGAIN_MS,
    run: async ({ world: { seen }, random }) => {
      for (const { call } of seen.values()) {
        const code = random.of(CLOSES)
        if (call.isLive()) code === 1006 ? call.drop() : call.close(code)
      }
    }
  },
  {
    name: 'hang-ups refused',
    afterMs: TRIED_AGAIN_MS,
    run: ({ world: { behave }, random }) =>
      during(random.between(2000, 7000), () => behave({ refusesHangUps: true }), () => behave(null))
  },
  {
    name: 'creations fail',
    afterMs: TRIED_AGAIN_MS,
    run: ({ world: { behave }, random }) => {
      const replies = [
        accept(), failure(500), failure(429), reset(), opened(reset()), accept({ location: null }), cutBody, hang,
        opened(hang), stalledBody
      ]
      return during(random.between(2000, 6000), () => behave({ create: () => random.of(replies) }), () => behave(null))
    }
  },
  {
    name: 'upstream away',
    afterMs: TRIED_AGAIN_MS,
    run: ({ world: { upstreamProxy }, random }) => during(
      random.between(300, 4000), () => upstreamProxy.inject('refuse'), () => upstreamProxy.inject('pass')
    )
  },
  {
    name: 'upstream slow',
    afterMs: TRIED_AGAIN_MS,
    run: ({ world: { upstreamProxy }, random }) => during(
      random.between(2000, 5000), () => upstreamProxy.inject({ slow: random.between(50, 800) }),
      () => upstreamProxy.inject('pass')
    )
  }
]

const KILL_AT_MS = 10_000
const STOP_AT_MS = 30_000
/** A shorter soak leaves out faults of half a minute. */
const LONG_MS = 180_000
const HEALTHY_MS = [500, 2500] as const
/** Time in which a replica writes down the calls that it began without Redis. */
const HEALTHY_LOCAL_MS = [3000, 5000] as const

export type Weather = Readonly<{
  happened: readonly Happened[]
  /** Injects faults for `ms`, with healthy time between them. */
  storm: (ms: number) => Promise<void>
}>

/** One kill and one stop come early; no fault ends the process of `spared`. */
export function createWeather ({ world, random, totalMs, spared, report }: Readonly<{
  world: SoakWorld, random: Random, totalMs: number, spared: () => Slot | null, report: (line: string) => void
}>): Weather {
  const happened: Happened[] = []
  const startedAtMs = performance.now()
  const early = [{ fault: KILL, atMs: KILL_AT_MS }, { fault: STOP, atMs: STOP_AT_MS }]
  let bag: Fault[] = []

  function next (): Fault {
    const nowMs = performance.now() - startedAtMs
    if (early[0] !== undefined && early[0].atMs <= nowMs) return (early.shift() as { fault: Fault }).fault
    if (bag.length === 0) {
      bag = FAULTS.filter(({ isLong = false, isEnd = false }) => totalMs >= LONG_MS || (!isLong && !isEnd))
    }
    return bag.splice(random.between(0, bag.length - 1), 1)[0] as Fault
  }

  return {
    happened,
    storm: async (ms) => {
      const endsAtMs = performance.now() + ms
      while (performance.now() < endsAtMs) {
        const { name, isEnd = false, afterMs, run } = next()
        const slot = random.of(world.slots.filter((one) => !isEnd || one !== spared()))
        const one = { name, fromMs: performance.now(), untilMs: Infinity }
        happened.push(one)
        await run({ world, random, slot })
        await world.ready()
        one.untilMs = performance.now() + afterMs
        const [atS, tookMs] = [(one.fromMs - startedAtMs) / 1000, performance.now() - one.fromMs]
        report(`fault   ${atS.toFixed(1)} s: ${name} (${slot.name}), healthy after ${(tookMs / 1000).toFixed(1)} s`)
        const [leastMs, mostMs] = world.isLocal ? HEALTHY_LOCAL_MS : HEALTHY_MS
        await wait(random.between(leastMs, mostMs))
      }
    }
  }
}

// npm run soak -- --calls [--minutes N | --seconds N] [--seed N] [--local]: 300 calls at a time over two replicas and
// Redis, while faults of every kind come at random. Afterwards the books agree, nothing is left, and memory has not
// grown. `--local`: with ON_REDIS_LOSS=local.

import { copyFileSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import type { JsonObject } from '../src/json.ts'
import { checkBooks, countBy, type Line, readLines } from './calls/soak/books.ts'
import { createWeather } from './calls/soak/faults.ts'
import { type AnsweredCall, type CallsLoad, startCallsLoad } from './calls/soak/load.ts'
import { CALLERS_COUNT } from './calls/soak/plan.ts'
import { createRandom } from './calls/soak/random.ts'
import { memoryOf, type Slot, type SoakWorld, startSoakWorld } from './calls/soak/world.ts'
import { createScript } from './support/counting.ts'
import { until } from './support/until.ts'

export type CallsSoakOptions = Readonly<{
  seconds: number, seed: number, isLocal: boolean, report: (line: string) => void
}>

const ALIVE = 300
const MAX_GROWTH = 1.1
/** The memory that an ended call takes for the five minutes for which it can be read. */
const ENDED_BYTES = 2048
const ENDED_KEPT_MS = 300_000
/** A shorter run does not check resident memory: allocator and compiler have not warmed up. */
const RESIDENT_SECONDS = 180
/** A kill is noticed within 35 s, and a hang-up is tried again within a minute. */
const REST_MS = 150_000
/** How long the place of a call whose creation has no known outcome is kept. */
const PLACES_KEPT_MS = 110_000
const AT_ONCE = 30
const SAMPLE_MS = 500
const PATIENCE_MS = 60_000

/** Resolves to the problems found. */
export async function callsSoak ({ seconds, seed, isLocal, report }: CallsSoakOptions): Promise<readonly string[]> {
  report(`seed    ${seed}`)
  const script = createScript()
  try {
    const world = await startSoakWorld(script, createRandom(seed ^ 1), isLocal)
    const load = await startCallsLoad(world, createRandom(seed ^ 2), ALIVE)
    return await run({ world, load, seconds, seed, isLocal, report })
  } finally {
    await script.end()
  }
}

type Running = CallsSoakOptions & Readonly<{ world: SoakWorld, load: CallsLoad }>

async function run ({ world, load, seconds, seed, isLocal, report }: Running): Promise<readonly string[]> {
  const random = createRandom(seed)
  const endsAtMs = performance.now() + 1000 * seconds
  let spared: Slot | null = null
  const weather = createWeather({ world, random, totalMs: 1000 * seconds, spared: () => spared, report })
  const watching = new AbortController()
  const alive = watchAlive(world, watching.signal)
  load.resume()
  await weather.storm(Math.min(60_000, 1000 * seconds / 6))
  spared = random.of(world.slots)
  const early = await rest(world, load)
  const before = await memoryOf(spared.service)
  load.resume()
  await weather.storm(endsAtMs - performance.now())
  watching.abort()
  const unended = [...early, ...await rest(world, load)]
  const left = await leftInRedis(world)
  const [seen, answers] = [[...world.seen.values()], [...load.answers]]
  const after = await Promise.all(world.slots.map(async (slot) => ({
    slot, isOld: slot === spared, kept: keptBy(slot), memory: await memoryOf(slot.service)
  })))
  const files = world.slots.map(({ auditFile }) => readLines(auditFile))
  const taken = await load.secondsTaken()
  const refused = await beginAgain(load)
  const exits = await Promise.all(world.slots.map(async ({ service }) => {
    service.kill('SIGTERM')
    return (await service.exited).code
  }))

  const lines = files.flatMap((file) => file.lines)
  const { happened } = weather
  const kills = happened.filter(({ name }) => name === 'killed').length
  const torn = files.reduce((sum, file) => sum + file.torn, 0)
  describe({ lines, answers, seen: seen.length, alive: await alive, report })
  report(`memory  before: ${megabytes(before.heapUsed)} heap, ${megabytes(before.rss)} resident`)
  for (const { slot, isOld, kept, memory: { heapUsed, rss } } of after) {
    const since = isOld ? 'the same process' : `after ${slot.restarts} restarts`
    report(`memory  ${slot.name}, ${since}: ${megabytes(heapUsed)} heap, ${megabytes(rss)} resident; ` +
      `${kept} ended calls kept`)
  }
  const problems = [
    ...checkBooks({ seen, answers, lines, torn, kills, happened, taken, isLocal }),
    ...unended.length === 0 ? [] : [`${unended.length} calls did not end, such as ${unended.slice(0, 5)}`],
    ...load.lost() === 0 ? [] : [`${load.lost()} calls were not known to their callers`],
    ...left.length === 0 ? [] : [`left in Redis: ${left.slice(0, 5)}, ${left.length} in all`],
    ...refused.length === 0 ? [] : [`no new call for ${refused.length} callers, such as ${refused.slice(0, 5)}`],
    // A replica that was restarted has no baseline of its own: it may need no more than the one that was not.
    ...(['heapUsed', 'rss'] as const).flatMap((part) => part === 'rss' && seconds < RESIDENT_SECONDS
      ? []
      : after.filter(({ kept, memory }) => memory[part] > MAX_GROWTH * before[part] + kept * ENDED_BYTES)
        .map(({ slot }) => `memory (${part}) of replica ${slot.name} grew by more than a tenth`)),
    ...exits.every((code) => code === 0) ? [] : [`exit codes ${exits}`],
    ...world.replicas.replicas.map(({ stderr }) => stderr()).filter((text) => text !== '')
      .map((text) => `stderr: ${text}`)
  ]
  for (const problem of problems) report(`problem: ${problem}`)
  if (problems.length > 0) report(`kept    ${keepEvidence(world)}`)
  return problems
}

/** Keeps the logs and the audit lines of all replicas, because a run cannot be repeated exactly. */
function keepEvidence ({ slots, replicas: { replicas }, seen }: SoakWorld): string {
  const folder = mkdtempSync(join(tmpdir(), 'ephemint-soak-'))
  for (const { auditFile } of slots) copyFileSync(auditFile, join(folder, `audit-${basename(auditFile)}`))
  const logs = replicas.flatMap(({ log, pid }) => log.map((line) => JSON.stringify({ pid, ...line })))
  writeFileSync(join(folder, 'service.log'), logs.join('\n'))
  const calls = [...seen].map(([id, { plan, bornMs, overMs, sent, hangUps }]) =>
    JSON.stringify({ id, bornMs, overMs, sent, hangUps, plan }))
  writeFileSync(join(folder, 'upstream.log'), calls.join('\n'))
  return folder
}

/** Samples the number of live calls at upstream, twice a second, until the signal. */
async function watchAlive ({ upstream }: SoakWorld, signal: AbortSignal): Promise<number[]> {
  const samples: number[] = []
  while (!signal.aborted) {
    samples.push(upstream.live())
    await wait(SAMPLE_MS)
  }
  return samples.sort((a, b) => a - b)
}

/** Lets an operator end every call. Resolves to those that are left. */
async function rest (
  { slots: [{ service }], replicas: { operate } }: SoakWorld, load: CallsLoad
): Promise<readonly string[]> {
  const paused = load.pause()
  const untilMs = performance.now() + REST_MS
  for (;;) {
    const { data } = await operate(service, '/calls').catch((): JsonObject => ({}))
    const left = data as readonly { id: string }[] | undefined
    if (left?.length === 0) break
    if (performance.now() > untilMs) return left?.map(({ id }) => id) ?? ['all']
    await operate(service, '/calls/hangup', { all: true }).catch(() => {})
    await wait(SAMPLE_MS)
  }
  await paused
  return []
}

/** The keys that remain for longer than any place is kept. */
async function leftInRedis ({ redis: { control } }: SoakWorld): Promise<readonly string[]> {
  const look = async () => {
    const keys = await control.keys('{ephemint}:calls:*')
    const states = await Promise.all(keys.map((key) => key.includes(':call:') ? control.hget(key, 'state') : ''))
    // A key without a state has expired between the two commands.
    return keys.filter((key, i) => !['done', null].includes(states[i] ?? null) && !key.endsWith(':leases'))
  }
  await until('places to be free', async () => (await look()).length === 0, PLACES_KEPT_MS).catch(() => {})
  return look()
}

/** How many ended calls a replica still holds, by its audit lines. */
function keptBy ({ auditFile }: Slot): number {
  const fromMs = Date.now() - ENDED_KEPT_MS
  return readLines(auditFile).lines
    .filter(({ event, time }) => event === 'call.ended' && Date.parse(time) > fromMs).length
}

/** Begins a call of every caller. Resolves to those who get none. */
async function beginAgain (load: CallsLoad): Promise<readonly string[]> {
  const left = Array.from({ length: CALLERS_COUNT }, (_, caller) => caller)
  const refused: string[] = []
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (let caller = left.shift(); caller !== undefined; caller = left.shift()) {
      const answered = await beginPatiently(load, caller)
      if (answered.status === 201) await load.hangUp(answered)
      else refused.push(`${caller}: ${answered.status} ${answered.code}`)
    }
  }))
  return refused
}

/** Tries again: on a busy machine Redis may answer too late, and the place is given back a little later. */
async function beginPatiently (load: CallsLoad, caller: number): Promise<AnsweredCall> {
  const untilMs = performance.now() + PATIENCE_MS
  for (;;) {
    const answered = await load.begin(caller)
    if (answered.status === 201 || performance.now() > untilMs) return answered
    await wait(SAMPLE_MS)
  }
}

type Described = Readonly<{
  lines: readonly Line[]
  answers: readonly AnsweredCall[]
  seen: number
  alive: readonly number[]
  report: CallsSoakOptions['report']
}>

function describe ({ lines, answers, seen, alive, report }: Described): void {
  const tally = (names: readonly string[]) => JSON.stringify(Object.fromEntries([...countBy(names)].sort()))
  const ended = lines.filter(({ event }) => event === 'call.ended')
  const [complete, repeated, unfenced] = (['complete', 'repeated', 'unfenced'] as const)
    .map((is) => `${ended.filter((line) => line[is]).length} ${is}`)
  const at = (share: number) => alive[Math.floor(share * (alive.length - 1))]
  const answered = answers.map(({ status, code }) => status === null ? 'none' : [status, code ?? ''].join(' ').trim())
  report(`calls   ${seen} created by upstream; alive at a time ${at(0.1)}..${at(1)}, ${at(0.5)} in the median`)
  report(`answers ${tally(answered)}`)
  report(`audited ${tally(lines.map(({ event }) => event))}`)
  report(`ended   ${tally(ended.map(({ reason }) => reason))}; ${complete}, ${repeated}, ${unfenced}`)
}

function megabytes (bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MB`
}

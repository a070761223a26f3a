// The books of a soak: what the upstream, the clients and the audit lines say of each call.

import { readFileSync } from 'node:fs'
import { safetyIdentifier } from '../../../src/callers/safety-identifier.ts'
import { APP_ISSUER, CANARIES } from '../../support/app.ts'
import type { Happened } from './faults.ts'
import type { AnsweredCall } from './load.ts'
import { MAX_SECONDS, type Plan, policyNameOf, subjectOf } from './plan.ts'
import type { Seen } from './world.ts'

export type Line = Readonly<
  Record<'event' | 'time' | 'call_id' | 'upstream_call_id' | 'subject' | 'reason', string> & {
    seconds: number
    started: boolean
    usage: Readonly<{ responses: number, input_tokens: number, output_tokens: number }>
    complete: boolean
    hangup_confirmed: boolean
    max_seconds?: number
    repeated?: true
    unfenced?: true
  }
>

export type Books = Readonly<{
  seen: readonly Seen[]
  answers: readonly AnsweredCall[]
  lines: readonly Line[]
  torn: number
  kills: number
  happened: readonly Happened[]
  /** Seconds taken from the limits, by caller. */
  taken: readonly number[]
  /** Whether replicas count alone while Redis is away. */
  isLocal: boolean
}>

/** Bound for a timer, its hang-up and the delay of the test where no fault disturbs them. */
const LATE_MS = 5000
/** Bound with faults: half a minute until another replica adopts a call, then the pauses of the hang-up. */
const LATEST_MS = 90_000
const LEAST_PAUSE_MS = 900

/** The audit lines of a file; a replica that was killed may have left half a line. */
export function readLines (path: string): { lines: Line[], torn: number } {
  const texts = readFileSync(path, 'utf8').split('\n').filter((text) => text !== '')
  const lines = texts.flatMap((text): Line[] => {
    try {
      return [JSON.parse(text)]
    } catch {
      return []
    }
  })
  return { lines, torn: texts.length - lines.length }
}

export function checkBooks ({ seen, answers, lines, torn, kills, happened, taken, isLocal }: Books): string[] {
  const problems: string[] = []
  const expect = (wrong: readonly string[], law: string) => {
    if (wrong.length > 0) problems.push(`${law}: ${wrong.length}, such as ${wrong.slice(0, 3).join('; ')}`)
  }
  const ended = lines.filter(({ event }) => event === 'call.ended')
  const byId = Map.groupBy(ended, ({ call_id: id }) => id)
  const byUpstream = Map.groupBy(ended, ({ upstream_call_id: id }) => id)
  const linesOf = ({ call }: Seen) => byUpstream.get(call.id) ?? []
  const started = lines.filter(({ event }) => event === 'call.started')
  const isDisturbed = (fromMs: number, toMs: number) =>
    happened.some((one) => one.fromMs <= toMs && one.untilMs >= fromMs)
  const isCalm = ({ bornMs, overMs }: Seen) => !isDisturbed(bornMs, (overMs ?? Infinity) + 2000)

  expect(torn > kills ? [`${torn} torn lines after ${kills} kills`] : [], 'only a kill tears a line')

  const unknown = countBy(lines.filter(({ event }) => event === 'call.unknown').map(({ subject }) => subject))
  const unnamed = Map.groupBy(seen.filter((one) => linesOf(one).length === 0), ({ plan }) => identifierOf(plan))
  expect([...unnamed].filter(([identifier, calls]) => calls.length > (unknown.get(identifier) ?? 0))
    .map(([, calls]) => calls.map(nameOf).join()), 'a call of upstream has a line call.ended or call.unknown')
  const startedIds = new Map(started.map((line) => [line.call_id, line]))
  expect([...startedIds.keys()].filter((id) => !byId.has(id)), 'what started has ended')
  expect(answers.filter(({ status, id }) => status === 201 && !startedIds.has(id ?? '')).map(({ id }) => String(id)),
    'what was answered has started')
  expect(started.length === startedIds.size ? [] : [String(started.length - startedIds.size)], 'a start has one line')
  const knownIds = new Set(seen.map(({ call }) => call.id))
  expect([...byUpstream.keys()].filter((id) => !knownIds.has(id)), 'what ended was a call of upstream')

  const plain = (of: readonly Line[]) => of.filter(({ repeated, unfenced }) => !repeated && !unfenced)
  expect([...byId].filter(([, of]) => plain(of).length > 1 || new Set(of.map((line) => line.upstream_call_id)).size > 1)
    .map(([id, of]) => `${id} ${of.map(({ reason }) => reason)}`),
  'a call ends once, but for repeated and unfenced lines')
  expect([...byId].filter(([, of]) => of.some(({ repeated }) => repeated) &&
    new Set(of.filter(({ unfenced }) => !unfenced).map(({ repeated: _, ...line }) => summaryOf(line))).size > 1)
    .map(([id, of]) => `${id} ${of.map(summaryOf).join(' | ')}`), 'a repeated line has the same facts')
  expect(ended.filter((line) => !line.hangup_confirmed).map((line) => line.call_id), 'each hang-up was confirmed')

  for (const [law, isWrong] of LAWS_OF_USAGE) {
    expect(seen.flatMap((one) => linesOf(one).filter((line) => isWrong(line, one))
      .map((line) => `${nameOf(one)} ${summaryOf(line)}, sent ${JSON.stringify(one.sent)}`)), law)
  }

  const over = seen.filter(({ overMs }) => overMs !== null)
  const lasted = ({ bornMs, overMs }: Seen) => (overMs as number) - bornMs
  const lateMs = (one: Seen) => lasted(one) - 1000 * MAX_SECONDS[policyNameOf(one.plan.caller)]
  expect(over.filter((one) => lateMs(one) > (isCalm(one) ? LATE_MS : LATEST_MS))
    .map((one) => `${nameOf(one)} ${lateMs(one)} ms late`), 'none lives past its longest end')
  expect(seen.filter((one) => one.call.isLive() && linesOf(one).length > 0).map(nameOf), 'what has ended is over')
  const calm = over.filter(isCalm)
  expect(calm.flatMap((one) => linesOf(one).filter(({ seconds }) => Math.abs(seconds - lasted(one) / 1000) > 2)
    .map(({ seconds }) => `${nameOf(one)} ${seconds} s for ${lasted(one)} ms`)), 'seconds are as they were')
  // A replica that is suspended at that time reads the answer to the creation later.
  const born = over.filter(({ bornMs }) => !isDisturbed(bornMs, bornMs + 2000))
  expect(born.flatMap((one) => linesOf(one).filter(({ seconds, unfenced }) =>
    unfenced !== true && seconds < Math.floor(lasted(one) / 1000) - 1)
    .map(({ seconds }) => `${nameOf(one)} ${seconds} s for ${lasted(one)} ms`)), 'seconds are no fewer than they were')
  expect(calm.filter(({ hangUps }) => hangUps.filter(({ wasLive }) => !wasLive).length > 0).map(nameOf),
    'what is over is not hung up')
  expect(calm.filter(({ hangUps }) =>
    hangUps.some(({ atMs }, i) => i > 0 && atMs - (hangUps[i - 1]?.atMs ?? 0) < LEAST_PAUSE_MS)).map(nameOf),
  'no two hang-ups at once')

  const bySubject = Map.groupBy(byId.values(), ([line]) => String(line?.subject))
  const usedIn = ({ started, reason, seconds }: Line, most: number) =>
    started || reason === 'client_gone' ? Math.min(seconds, most) : 0
  // If the replica was cut off from Redis, another one may have given all seconds back.
  const unknownIds = new Set(lines.filter(({ event }) => event === 'call.unknown').map(({ call_id: id }) => id))
  const used = (caller: number, pick: (...seconds: number[]) => number) =>
    (bySubject.get(identifierOf({ caller })) ?? []).reduce((sum, of) => {
      const seconds = of.map((line) => usedIn(line, MAX_SECONDS[policyNameOf(caller)]))
      return sum + pick(...seconds, ...of.some(({ call_id: id }) => unknownIds.has(id)) ? [0] : [])
    }, 0)
  // Seconds that cannot be given back while Redis is away stay taken, and are counted in a metric.
  const refused = Map.groupBy(lines.filter(({ event }) => ['call.refused', 'call.unknown'].includes(event)),
    ({ subject }) => subject)
  const undone = (caller: number) =>
    (refused.get(identifierOf({ caller })) ?? []).reduce((sum, { max_seconds: most = 0 }) => sum + most, 0)
  expect(taken.flatMap((seconds, caller) => {
    const [least, most] = [used(caller, Math.min), used(caller, Math.max)]
    if (isLocal && seconds < least) return []
    if (seconds === least || (seconds > least && seconds <= most + undone(caller))) return []
    return [`${subjectOf(caller)} (${identifierOf({ caller })}) ${seconds} s, used ${least}`]
  }), 'the limits count the seconds that were used')
  return problems
}

type Law = readonly [name: string, isWrong: (line: Line, seen: Seen) => boolean]
const LAWS_OF_USAGE: readonly Law[] = [
  ['usage is never more than upstream sent', ({ usage }, { sent }) =>
    usage.responses > sent.responses || usage.input_tokens > sent.input || usage.output_tokens > sent.output],
  ['a complete receipt counts all that upstream sent', ({ usage, complete }, { sent }) => complete &&
    (usage.responses !== sent.responses || usage.input_tokens !== sent.input || usage.output_tokens !== sent.output)]
]

export function countBy (names: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>()
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1)
  return counts
}

export const identifierOf = ({ caller }: Pick<Plan, 'caller'>) =>
  safetyIdentifier(APP_ISSUER, subjectOf(caller), CANARIES.SAFETY_IDENTIFIER_SECRET)

const nameOf = ({ call, plan }: Seen) => `${call.id} (${plan.end})`
const summaryOf = ({ reason, seconds, complete, usage }: Omit<Line, 'repeated'>) =>
  `${reason} ${seconds} s, ${complete ? 'complete' : 'incomplete'}, ${JSON.stringify(usage)}`

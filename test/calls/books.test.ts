// Many calls at a time with random ends: the books agree afterwards, and nothing is left of them. A run that
// fails prints its seed.
// Rounds: two hundred calls in each.

import assert from 'node:assert/strict'
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { safetyIdentifier } from '../../src/callers/safety-identifier.ts'
import type { JsonObject } from '../../src/json.ts'
import { APP_ISSUER, CANARIES } from '../support/app.ts'
import { audioTurn, responseCreated } from '../support/call-events.ts'
import { accept, confirm, cutBody, open, rejecting } from '../support/call-replies.ts'
import { OFFER } from '../support/sdp.ts'
import { times } from '../support/times.ts'
import { until } from '../support/until.ts'
import { failure } from '../support/upstream.ts'
import { type CallsApp, startCalls } from './harness.ts'

const CALLS = 200
const CALLERS = 20
const [CONCURRENT, TOTAL] = [2, 24]
const [CALLS_A_DAY, SECONDS_A_DAY] = [1000, 700]
const STARTS_A_STEP = 10
const MAX_STEP_SECONDS = 10
/** Less than an attempt to hang up may take: in a longer jump of the clock it times out before it is sent. */
const MAX_JUMP_SECONDS = 4
/** A time that is longer than any timer of a call. */
const ALL_OVER_SECONDS = 300

const plan = fc.record({
  caller: fc.nat(CALLERS - 1),
  creation: fc.constantFrom(...Array(6).fill('served'), 'gone', 'gone', 'refused', 'cut', 'unwatched'),
  /** For a client that disconnects: after how many turns of the event loop. */
  goneAfter: fc.constantFrom('the request', 'the creation', 'the creation'),
  turns: fc.nat(15),
  talks: fc.constantFrom('never', 'once', 'always', 'within a response'),
  end: fc.constantFrom('client', 'timers', 'upstream', 'upstream, in silence'),
  /** Counted from the start of the call. */
  steps: fc.nat(15),
  drops: fc.constantFrom(0, 0, 1, 2),
  failedHangUps: fc.nat(2)
})
type Plan = typeof plan extends fc.Arbitrary<infer T> ? T : never

const rounds = fc.tuple(
  fc.array(plan, { minLength: CALLS, maxLength: CALLS }),
  fc.array(fc.integer({ min: 1, max: MAX_STEP_SECONDS }), { minLength: 5, maxLength: 5 })
)

/** A call as the test sees it. */
type Seen = { plan: Plan, bornMs: number, overMs: number | null, hangUps: number }
type Live = { readonly plan: Plan, readonly path: string, readonly id: string, steps: number }

type Line = JsonObject & Readonly<
  Record<'event' | 'call_id' | 'upstream_call_id' | 'subject' | 'reason', string> &
  { started: boolean, seconds: number, max_seconds: number }
>

const subjectOf = ({ caller }: Pick<Plan, 'caller'>) => `user-${caller}`
const identifierOf = (plan: Pick<Plan, 'caller'>) =>
  safetyIdentifier(APP_ISSUER, subjectOf(plan), CANARIES.SAFETY_IDENTIFIER_SECRET)

/**
 * Whether the service learns later that a call is over: no event reports it, or the sideband is just being opened
 * again, while time passes too fast for the answer to a hang-up.
 */
const isSeenLate = ({ end, drops }: Plan) => end === 'upstream, in silence' || drops > 0

/** The offer carries the index of its plan. */
const offerOf = (index: number) => `${OFFER}a=x-plan:${index}\r\n`
const indexIn = (offer = '') => Number(/a=x-plan:(\d+)/.exec(offer)?.[1])

async function play (
  app: CallsApp, plans: readonly Plan[], stepSeconds: readonly number[]
): Promise<Map<string, Seen>> {
  const { upstream, clock } = app
  const seen = new Map<string, Seen>()
  const planOf = (id: string | undefined) => seen.get(id ?? '')?.plan as Plan
  const created = plans.map(() => Promise.withResolvers<void>())
  upstream.onCreate((request, response) => {
    const index = indexIn(request.parts.sdp?.text)
    const plan = plans[index] as Plan
    created[index]?.resolve()
    const before = upstream.calls.length
    const reply = plan.creation === 'refused' ? failure(400, 'bad') : plan.creation === 'cut' ? cutBody : accept()
    reply(request, response)
    const call = upstream.calls[before]
    if (call !== undefined) seen.set(call.id, { plan, bornMs: clock.monotonicMs(), overMs: null, hangUps: 0 })
  })
  upstream.onAttach((attach) => {
    const reply = planOf(attach.call?.id).creation === 'unwatched' ? rejecting() : open
    reply(attach)
  })
  upstream.onHangUp((request, response) => {
    const known = seen.get(request.callId) as Seen
    if (known.hangUps++ < known.plan.failedHangUps) return failure(500)(request, response)
    known.overMs ??= clock.monotonicMs()
    confirm(request, response)
  })

  const queue = plans.map((_, index) => index)
  const hangingUp: Promise<unknown>[] = []
  let live: Live[] = []

  async function begin (index: number): Promise<void> {
    const plan = plans[index] as Plan
    const client = new AbortController()
    const asked = app.begin({
      offer: offerOf(index), claims: { sub: subjectOf(plan) }, signal: client.signal
    }).catch(() => null)
    if (plan.creation === 'gone') {
      if (plan.goneAfter === 'the creation') await Promise.race([created[index]?.promise, asked])
      for (let i = 0; i < plan.turns; i++) await turn()
      client.abort()
    }
    const answer = await asked
    // Another call of the caller, or of the policy, has to end first.
    if (answer?.status === 409 || answer?.status === 503) queue.push(index)
    if (answer?.status !== 201) return
    const path = answer.headers.get('location') as string
    const id = [...seen].find(([, { plan: of }]) => of === plan)?.[0] as string
    live.push({ plan, path, id, steps: 0 })
  }

  function act ({ plan, path, id, steps }: Live): void {
    const call = upstream.calls.find((one) => one.id === id)
    if (call?.isLive() !== true) return
    if (plan.talks === 'always' || (plan.talks === 'once' && steps === 0)) call.push(...audioTurn(steps + 1))
    if (plan.talks === 'within a response' && steps === 0) call.push(responseCreated())
    if (steps >= 1 && steps <= plan.drops) call.drop()
    if (steps !== plan.steps || plan.end === 'timers') return
    if (plan.end === 'client') {
      hangingUp.push(app.hangUp(path, {}, { sub: subjectOf(plan) }))
      return
    }
    call.end(plan.end === 'upstream' ? 1000 : null);
    (seen.get(id) as Seen).overMs = clock.monotonicMs()
  }

  /** Whether everything that upstream did has arrived and is audited. */
  function isQuiet (): boolean {
    const lines = app.auditLines() as Line[]
    const idsOf = (...events: string[]) =>
      new Set(lines.filter(({ event }) => events.includes(event)).map((line) => line.upstream_call_id))
    const [answered, ended] = [idsOf('call.started', 'call.refused'), idsOf('call.ended')]
    return [...seen].every(([id, { plan, overMs }]) =>
      answered.has(id) && (overMs === null || isSeenLate(plan) || ended.has(id)))
  }

  async function pass (seconds: number): Promise<void> {
    await app.settle()
    await until('all that happened to be written down', isQuiet)
    for (let left = seconds; left > 0; left -= MAX_JUMP_SECONDS) {
      await app.pass(1000 * Math.min(left, MAX_JUMP_SECONDS))
      await until('all that was due to be written down', isQuiet)
    }
  }

  for (let step = 0; queue.length > 0 || live.length > 0; step++) {
    await Promise.all(queue.splice(0, STARTS_A_STEP).map(begin))
    for (const one of live) {
      act(one)
      one.steps++
    }
    live = live.filter(({ id }) => upstream.calls.some((call) => call.id === id && call.isLive()))
    await pass(stepSeconds[step % stepSeconds.length] as number)
  }
  for (let left = ALL_OVER_SECONDS; left > 0; left -= MAX_STEP_SECONDS) await pass(MAX_STEP_SECONDS)
  await Promise.all(hangingUp)
  return seen
}

function checkBooks ({ auditLines, upstream }: CallsApp): readonly Line[] {
  const lines = auditLines() as Line[]
  const started = lines.filter(({ event }) => event === 'call.started')
  const ended = lines.filter(({ event }) => event === 'call.ended')
  assert.deepEqual(
    ended.map((line) => line.upstream_call_id).sort(), upstream.calls.map(({ id }) => id).sort(), 'each has one end'
  )
  assert.deepEqual(
    ended.filter((line) => line.started).map((line) => line.call_id).sort(),
    started.map((line) => line.call_id).sort(), 'each start has one end'
  )
  for (const line of started) {
    const end = ended.find((other) => other.call_id === line.call_id) as Line
    assert.ok(lines.indexOf(line) < lines.indexOf(end), 'which comes later')
  }
  assert.ok(ended.every((line) => line.hangup_confirmed === true))
  assert.equal(upstream.live(), 0)
  return ended
}

/** Compares the audited seconds with the test's own measurement. */
function checkSeconds (seen: ReadonlyMap<string, Seen>, ended: readonly Line[]): void {
  for (const { upstream_call_id: id, seconds } of ended) {
    const { plan, bornMs, overMs } = seen.get(id) as Seen
    const lasted = ((overMs as number) - bornMs) / 1000
    if (isSeenLate(plan)) assert.ok(seconds >= lasted, `${id}: ${seconds} s`)
    else assert.equal(seconds, Math.ceil(lasted), id)
  }
}

/** Checks that the limits count what was used, and no more. */
async function checkLimits (app: CallsApp, ended: readonly Line[]): Promise<void> {
  const taken = new Map((app.auditLines() as Line[]).map((line) => [line.call_id, line.max_seconds] as const)
    .filter(([, seconds]) => typeof seconds === 'number'))
  for (let caller = 0; caller < CALLERS; caller++) {
    const own = ended.filter(({ subject }) => subject === identifierOf({ caller }))
      // A failure that the client did not cause is given back in full.
      .filter(({ started, reason }) => started || reason === 'client_gone')
    const used = own.map(({ call_id: id, seconds }) => Math.min(seconds, taken.get(id) as number))
    const { day, call_seconds: { day: seconds } } = await app.limits({ sub: subjectOf({ caller }) })
    assert.equal(CALLS_A_DAY - day.remaining, own.length)
    assert.equal(SECONDS_A_DAY - seconds.remaining, used.reduce((sum, one) => sum + one, 0), subjectOf({ caller }))
  }
}

async function checkPlaces (app: CallsApp): Promise<void> {
  const { upstream, begin, hangUp } = app
  assert.ok(upstream.maxLive() <= TOTAL)
  for (let caller = 0; caller < CALLERS; caller++) {
    assert.ok(upstream.maxLive(identifierOf({ caller })) <= CONCURRENT)
  }
  upstream.onCreate(accept())
  upstream.onAttach(open)
  upstream.onHangUp(confirm)
  const fresh = Array.from({ length: TOTAL }, (_, i) => ({ sub: `fresh-${Math.floor(i / CONCURRENT)}` }))
  const answers = await Promise.all(fresh.map((claims) => begin({ claims })))
  assert.deepEqual(answers.map(({ status }) => status), answers.map(() => 201), 'no place is taken')
  await Promise.all(answers.map(({ headers }, i) => hangUp(headers.get('location') as string, {}, fresh[i])))
}

t.test(`call: ${CALLS} calls with random ends: the books agree, and nothing is left`, async (t) => {
  const reasons = new Map<string, number>()
  await fc.assert(fc.asyncProperty(fc.integer(), async (seed) => {
    const [[plans, stepSeconds]] = fc.sample(rounds, { seed, numRuns: 1 }) as [[Plan[], number[]]]
    const app = await startCalls(t, {
      calls: `{ max_seconds: 120, idle_seconds: 30, concurrent: ${CONCURRENT}, total: ${TOTAL} }`,
      limits: `{ day: ${CALLS_A_DAY}, call_seconds: { day: ${SECONDS_A_DAY} } }`
    })
    const seen = await play(app, plans, stepSeconds)
    const ended = checkBooks(app)
    checkSeconds(seen, ended)
    await checkLimits(app, ended)
    await checkPlaces(app)
    for (const { reason } of ended) reasons.set(reason, (reasons.get(reason) ?? 0) + 1)
  }), { numRuns: Math.ceil(times(0.3)), endOnFailure: true })
  t.comment([...reasons].map(([reason, count]) => `${reason} ${count}`).join(', '))
  t.ok(reasons.size >= 6, 'calls end in many ways')
})

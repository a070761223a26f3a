// One call: from the moment its place is taken until its end is confirmed.
//
// | state    | what comes                            | then                                              |
// |----------|---------------------------------------|---------------------------------------------------|
// | creating | upstream names it                     | setup; ending where an end was wished before      |
// |          | it is known that there is no call     | ended, without a line                             |
// | setup    | the answer goes out                   | live                                              |
// | setup,   | a wish to end: timer, owner, stop,    | ending; the first reason wins, all wishes have    |
// | live     | policy, supervision, failure          | the same promise                                  |
// |          | upstream knows it no more             | ended                                             |
// | ending   | hang-up confirmed, or the longest end | ended: limits, place, line                        |

import type { Clock } from '../clock.ts'
import { ApiError } from '../errors.ts'
import type { JsonObject } from '../json.ts'
import type { LimitStore, Reserved } from '../limits/limits.ts'
import type { Granted } from '../policy/apply.ts'
import type { CallRules } from '../policy/compile.ts'
import type { Judge } from '../policy/judge.ts'
import type { CallProtocol, Signal } from '../realtime/call-protocol.ts'
import type { Kind } from '../realtime/session.ts'
import type { Audit } from '../records/audit.ts'
import type { CallMetrics } from '../records/call-metrics.ts'
import type { PlainLog } from '../records/log.ts'
import type { CreatedCall, UpstreamCalls } from '../upstream/calls.ts'
import type { Dial } from '../upstream/sideband.ts'
import { createChanges } from './changes.ts'
import { lifeOf } from './expiry.ts'
import { createGuard, type Guard } from './guard.ts'
import { type HangUp, startHangUp } from './hang-up.ts'
import { writeLastLine } from './last-line.ts'
import { createLeash, type Leash, type LeashReason } from './leash.ts'
import type { Place } from './place.ts'
import { createReceipt, type Usage } from './receipt.ts'
import { type Loss, type Lost, supervise, type Supervision } from './supervision.ts'

export type EndReason =
  | LeashReason | 'client' | 'client_gone' | 'setup_failed' | 'policy_change' | 'blocked' | 'replaced' | 'operator'
  | 'ended' | 'upstream_expired' | 'supervision_lost' | 'shutdown'

export type Wish = Readonly<{ reason: EndReason, error: ApiError | null }>

/** Who asked for it, and what was granted. */
export type CallFacts = Readonly<{
  /** Ours. */
  id: string
  issuer: string
  subject: string
  claims: JsonObject
  safetyIdentifier: string
  policy: string
  kind: Kind
  granted: Granted
  rules: CallRules
  /** The values of the session that the policy fixes. */
  fixed: JsonObject
  hasDataChannel: boolean
  judge: Judge
}>

export type CallView = Readonly<{
  id: string
  object: 'realtime.call'
  status: 'live' | 'ending' | 'ended'
  created_at: number
  ends_at: number
  end_reason: EndReason | null
  seconds: number
  usage: Usage
}>

export type CallState = 'creating' | 'setup' | 'live' | 'ending' | 'ended'

export type Call = Readonly<{
  facts: CallFacts
  place: Place
  state: () => CallState
  /** Why it ends or ended; null while that is not wished. */
  wish: () => Wish | null
  /** Resolves at the first wish. */
  whenWished: Promise<Wish>
  /** Resolves once upstream has created it, or it is known that this will not happen. */
  whenCreated: Promise<void>
  /** Resolves when it is over, confirmed or given up, and its line is written or was refused once. Never rejects. */
  over: Promise<void>
  /** What was taken from the limits for it. */
  hold: (reserved: Reserved) => void
  /** Upstream has created it. */
  created: (call: CreatedCall) => void
  /** There is no call, or none that can be found. `keepPlace`: it may be there all the same. */
  abandon: (keepPlaceMs: number) => void
  /** Opens the sideband; resolves at the answer to the first read. Throws ApiError. */
  open: () => Promise<void>
  /** The answer goes out once the line that says so is written. */
  started: (line: Promise<void>) => Promise<void>
  /** The first reason wins. `error`: what a request that still waits for the call is refused with. */
  end: (reason: EndReason, error?: ApiError) => void
  /** The first attempt to hang it up has an outcome. */
  hangUpTried: () => Promise<void>
  giveUp: () => void
  /** Everything is given back, also what was used. */
  refund: () => Promise<void>
  /** What would be given back if it ended now. */
  credit: () => Readonly<{ slots: Reserved['slots'], seconds: number }>
  maxSeconds: () => number
  upstreamId: () => string | null
  /** The policy now says less. */
  shorten: (rules: Pick<CallRules, 'maxSeconds' | 'idleSeconds'>) => void
  /** Null until upstream has created it. */
  view: () => CallView | null
  isHangingUp: () => boolean
  /** Tries again at once, where a hang-up is under way. */
  hangUpAgain: () => void
}>

export type CallDeps = Readonly<{
  clock: Clock
  protocol: CallProtocol
  upstream: UpstreamCalls
  dial: Dial
  limits: Pick<LimitStore, 'giveSecondsBack'>
  audit: Pick<Audit, 'conclude' | 'change'>
  metrics: Pick<CallMetrics, 'ended' | 'reopened' | 'changed'>
  log: PlainLog
}>

const EXPIRES_EARLY_MS = 5000
/** A response that was cancelled still says what it cost. */
const CANCEL_MS = 2000
const CANCEL_BLOCKED_MS = 500

type Born = Readonly<{ call: CreatedCall, atMs: number, createdAt: number, leash: Leash, guard: Guard }>

export function createCall (deps: CallDeps, facts: CallFacts, place: Place, onOver: () => void): Call {
  const { clock, protocol, upstream, dial, limits, metrics, log } = deps
  const wished = Promise.withResolvers<Wish>()
  const over = Promise.withResolvers<void>()
  const tried = Promise.withResolvers<void>()
  const bornOrNot = Promise.withResolvers<void>()
  const receipt = createReceipt()
  const changes = createChanges(deps, facts)
  let state: CallState = 'creating'
  let wish: Wish | null = null
  let reserved: Reserved | null = null
  let isRefunded = false
  let wasStarted = false
  let starting = Promise.resolve()
  let born: Born | null = null
  let longestMs = Infinity
  let supervision: Supervision | null = null
  let hangUp: HangUp | null = null
  let closeReason = ''
  /** Something may have been said that was not seen, since the sideband was lost and is not open again. */
  let isBlind = false
  /** It was lost without a close of upstream's, which comes after all that it had to say. */
  let isCut = false
  let lastError: string | null = null
  let onResponsesDone = () => {}
  let events = 0
  let endedAt: { ms: number, unix: number } | null = null
  let isGivenUp = false

  const newEventId = () => `ephemint_${++events}`
  const maxSeconds = () => reserved?.seconds ?? facts.rules.maxSeconds
  const lastedMs = ({ atMs }: Born) => (endedAt?.ms ?? clock.monotonicMs()) - atMs
  const seconds = () => Math.ceil(lastedMs(born as Born) / 1000)
  const unused = () => Math.max(0, maxSeconds() - seconds())

  function created (call: CreatedCall): void {
    const atMs = clock.monotonicMs()
    const leash = createLeash({
      clock,
      bornMs: atMs,
      maxSeconds: maxSeconds(),
      idleSeconds: facts.rules.idleSeconds,
      onEnd: (reason) => end(reason)
    })
    const guard = createGuard({
      ...facts,
      clock,
      protocol,
      newEventId,
      send: (event) => supervision?.send(event),
      leash,
      onChange: (did, paths) => changes.record(did, paths, call.id),
      onEnd: () => end('policy_change'),
      onFault: (err) => supervision?.fail(err)
    })
    born = { call, atMs, createdAt: unixNow(), leash, guard }
    longestMs = atMs + protocol.longestMs
    state = 'setup'
    bornOrNot.resolve()
    if (wish !== null) finish(born, wish)
  }

  function end (reason: EndReason, error: ApiError | null = null): void {
    if (state === 'ended' || wish !== null) return
    wish = { reason, error }
    wished.resolve(wish)
    // Before that there is nothing to end: it ends as soon as its id is known.
    if (born !== null) finish(born, wish)
  }

  async function finish ({ call, leash, guard }: Born, { reason }: Wish): Promise<void> {
    state = 'ending'
    leash.stop()
    guard.stop()
    if (reason === 'ended' || reason === 'upstream_expired') return conclude(true)
    await cancelResponses(leash, reason === 'blocked' ? CANCEL_BLOCKED_MS : CANCEL_MS)
    hangUp = startHangUp({
      clock, attempt: () => upstream.hangUp(call, facts.safetyIdentifier), untilMs: longestMs
    })
    hangUp.first.then(tried.resolve)
    if (isGivenUp) hangUp.giveUp()
    conclude(await hangUp.done)
  }

  /** Resolves when none is open any more, or after a while. */
  async function cancelResponses (leash: Leash, withinMs: number): Promise<void> {
    const open = leash.openResponses()
    if (open.length === 0) return
    for (const id of open) supervision?.send(protocol.cancelEvent(newEventId(), id))
    await new Promise<void>((resolve) => {
      const stop = clock.after(withinMs, resolve)
      onResponsesDone = () => {
        stop()
        resolve()
      }
    })
  }

  function conclude (isConfirmed: boolean): void {
    state = 'ended'
    endedAt = { ms: clock.monotonicMs(), unix: unixNow() }
    const { call } = born as Born
    if ((isBlind && wasStarted) || !isConfirmed) receipt.miss()
    supervision?.stop()
    tried.resolve()
    if (!isRefunded) limits.giveSecondsBack((reserved as Reserved).slots, unused())
    place.release()
    onOver()
    const [usage, { reason }] = [receipt.usage(), wish as Wish]
    metrics.ended({ policy: facts.policy, reason, seconds: seconds(), usage })
    // Not before the line of its start, which may be on its way.
    starting.catch(() => {}).then(() => writeLastLine(deps, facts, {
      upstream_call_id: call.id,
      reason,
      seconds: seconds(),
      started: wasStarted,
      usage,
      changes: changes.count(),
      complete: receipt.isComplete(),
      hangup_confirmed: isConfirmed
    })).finally(over.resolve)
  }

  /** Every event comes through here. `isOurs`: an answer to one of ours. */
  function hear (signal: Signal | null, isOurs: boolean): void {
    const { leash, guard } = born as Born
    if (!isOurs && state !== 'ending') leash.join()
    if (signal === null) return
    leash.hear(signal)
    receipt.hear(signal)
    if (signal.is === 'session') readExpiry(signal)
    if (signal.is === 'error') lastError = signal.code
    if (leash.openResponses().length === 0) onResponsesDone()
    guard.hear(signal)
  }

  function readExpiry ({ expiresAtSeconds }: Signal & { is: 'session' }): void {
    const { call: { dateMs }, atMs, leash } = born as Born
    const lifeMs = lifeOf(expiresAtSeconds, dateMs)
    if (lifeMs === null) return
    longestMs = atMs + lifeMs
    if (state !== 'ending') leash.endBy(longestMs - EXPIRES_EARLY_MS)
  }

  function lost (loss: Loss): void {
    onResponsesDone()
    isBlind = loss !== 'gone' || isCut
    if (loss === 'gone') {
      const wasExpired = protocol.isExpired(closeReason, lastError)
      end(wasExpired ? 'upstream_expired' : 'ended')
      return hangUp?.confirm()
    }
    end(loss === 'refused' ? 'policy_change' : 'supervision_lost')
  }

  /** A close may be the end of the call: most are. */
  function logLoss ({ isClean, error: err }: Lost): void {
    const line = { err, call_id: facts.id, reason: isClean ? 'closed' : 'lost' }
    log[isClean ? 'info' : 'warn'](line, 'the sideband of a call is lost')
  }

  async function open (): Promise<void> {
    const { call, leash, guard } = born as Born
    const ready = Promise.withResolvers<void>()
    const path = protocol.sidebandPath(call.id)
    supervision = supervise({
      clock,
      protocol,
      dial: (handlers) => dial(path, call.key, handlers),
      newEventId,
      fixed: facts.fixed,
      onReady: (session) => {
        hear(session, true)
        ready.resolve()
      },
      onEvent: hear,
      onLost: (closing) => {
        closeReason = closing.reason
        isCut ||= !closing.isClean
        isBlind ||= hangUp === null || isCut
        leash.forget()
        guard.miss()
        onResponsesDone()
        if (state !== 'ending') logLoss(closing)
      },
      onReopened: () => {
        metrics.reopened()
        // The call lived on.
        if (wasStarted) receipt.miss()
        isBlind = isCut = false
      },
      ending: () => hangUp?.underWay() ?? null,
      onOver: (loss) => {
        if (supervision?.isReady() === true) return lost(loss)
        const code = loss === 'silent' ? 'upstream_timeout' : 'upstream_error'
        ready.reject(new ApiError(code, { reason: `sideband_${loss}`, retryCannotHelp: true }))
      }
    })
    await ready.promise
  }

  function unixNow (): number {
    return Math.floor(clock.wallMs() / 1000)
  }

  return {
    facts,
    place,
    state: () => state,
    wish: () => wish,
    whenWished: wished.promise,
    whenCreated: bornOrNot.promise,
    over: over.promise,
    hold: (taken) => { reserved = taken },
    created,
    abandon: (keepPlaceMs) => {
      state = 'ended'
      if (keepPlaceMs > 0) clock.after(keepPlaceMs, place.release)
      else place.release()
      onOver()
      for (const { resolve } of [bornOrNot, tried, over]) resolve()
    },
    open,
    started: async (line) => {
      starting = line.then(() => { wasStarted = true })
      await starting
      place.offer()
      if (state !== 'setup') return
      state = 'live'
      born?.leash.begin()
    },
    end,
    hangUpTried: () => tried.promise,
    giveUp: () => {
      isGivenUp = true
      onResponsesDone()
      hangUp?.giveUp()
    },
    refund: async () => {
      isRefunded = true
      await (reserved as Reserved).refund()
    },
    credit: () => ({ slots: (reserved as Reserved).slots, seconds: unused() }),
    maxSeconds,
    upstreamId: () => born?.call.id ?? null,
    shorten: ({ maxSeconds: most, idleSeconds }) => {
      if (state === 'setup' || state === 'live') born?.leash.shorten(most, idleSeconds)
    },
    view: () => born === null
      ? null
      : {
          id: facts.id,
          object: 'realtime.call',
          status: state === 'ended' || state === 'ending' ? state : 'live',
          created_at: born.createdAt,
          ends_at: endedAt?.unix ?? born.createdAt + Math.round((born.leash.endsAtMs() - born.atMs) / 1000),
          end_reason: wish?.reason ?? null,
          seconds: seconds(),
          usage: receipt.usage()
        },
    isHangingUp: () => state === 'ending',
    hangUpAgain: () => hangUp?.again()
  }
}

// One call: from the moment its place is taken until its end is confirmed.
//
// | state    | what comes                            | then                                              |
// |----------|---------------------------------------|---------------------------------------------------|
// | creating | upstream answers with its id          | setup; ending if an end was asked for before      |
// |          | there is certainly no call            | ended, without a line                             |
// | setup    | the answer goes out                   | live                                              |
// | setup,   | asked to end: timer, owner, stop,     | ending; the first reason counts, and all that     |
// | live     | policy, supervision, failure          | asked wait for the same end                       |
// |          | upstream has ended it                 | ended                                             |
// | any      | another replica has the call          | gone: nothing more is done about it here          |
// | ending   | hang-up confirmed, or the longest end | ended: limits, place, line                        |

import { atMost, type Clock } from '../clock.ts'
import { ApiError } from '../errors.ts'
import type { Reservation, Reserved } from '../limits/limits.ts'
import type { CallRules } from '../policy/compile.ts'
import { baselineOf, redactSecrets } from '../policy/redacted.ts'
import type { CallProtocol, Signal } from '../realtime/call-protocol.ts'
import type { Audit } from '../records/audit.ts'
import type { CallMetrics } from '../records/call-metrics.ts'
import type { PlainLog } from '../records/log.ts'
import type { CreatedCall, UpstreamCalls } from '../upstream/calls.ts'
import type { Dial } from '../upstream/sideband.ts'
import { createChanges } from './changes.ts'
import { lifeOf } from './expiry.ts'
import type { CallFacts } from './facts.ts'
import { createGaps } from './gaps.ts'
import { createGuard, type Guard } from './guard.ts'
import { type HangUp, startHangUp } from './hang-up.ts'
import { type Holding, type Snapshot, UNKNOWN_KEPT_MS } from './holding.ts'
import { lastLineOf } from './last-line.ts'
import { createLeash, type Leash, type LeashReason } from './leash.ts'
import { createReceipt } from './receipt.ts'
import { type CallRecord, type CreatedRecord, keyDigest, writeRecord } from './record.ts'
import type { CallStatus } from './shared.ts'
import { type Loss, type Lost, supervise, type Supervision } from './supervision.ts'
import type { CallView } from './view.ts'

export type EndReason =
  | LeashReason | 'client' | 'client_gone' | 'setup_failed' | 'policy_change' | 'blocked' | 'replaced' | 'operator'
  | 'ended' | 'upstream_expired' | 'supervision_lost' | 'shutdown'

export type Wish = Readonly<{ reason: EndReason, error: ApiError | null }>

export type CallState = 'creating' | 'setup' | 'live' | 'ending' | 'ended' | 'gone'

/** Used by the request that creates the call, in this order. */
type Creation = Readonly<{
  /** Takes a place, and takes from the limits. Throws ApiError; `taken` is false where a window has nothing left. */
  reserve: (windows: Omit<Reservation, 'credit' | 'place'>) => Promise<Reserved>
  maxSeconds: () => number
  /** To be called as soon as upstream has created the call. */
  created: (call: CreatedCall) => void
  /** Resolves once upstream has created the call, or has certainly not. */
  whenCreated: Promise<void>
  upstreamId: () => string | null
  /** Writes the record for other replicas. Rejects with ApiError if that fails. */
  write: () => Promise<void>
  /** Opens the sideband; resolves at the answer to the first read. Throws ApiError. */
  open: () => Promise<void>
  /** Makes the call live once `line`, the audit line of its start, is written. */
  started: (line: Promise<void>) => Promise<void>
  /** For a creation that failed: resolves once the first attempt to hang up has an outcome. */
  hangUpTried: () => Promise<void>
  /** Gives everything back to the limits, also what was used. */
  refund: () => Promise<void>
  /** Tells other replicas, before the limits are given back, that the call may exist under an unknown id. */
  noteUnknown: () => Promise<unknown>
  /** Ends a call that was not created. One that may exist keeps a shared place for UNKNOWN_KEPT_MS. */
  abandon: (mayExist: boolean) => void
}>

/** Used from the beginning of the call to its end. */
type Life = Readonly<{
  state: () => CallState
  /** Null until upstream has created the call. */
  view: () => CallView | null
  /** Applies a changed policy: shorter times take effect at once, longer ones do not. */
  shorten: (rules: Pick<CallRules, 'maxSeconds' | 'idleSeconds'>) => void
  /** The first reason wins. `error`: what a request that still waits for the call is refused with. */
  end: (reason: EndReason, error?: ApiError) => void
  /** Why the call ends or ended; null while nothing wants it to. */
  wish: () => Wish | null
  /** Resolves when an end is first asked for. */
  whenWished: Promise<Wish>
  isHangingUp: () => boolean
  /** Tries again at once if a hang-up is under way. */
  hangUpAgain: () => void
  /** Ends the call unconfirmed: hanging up has taken too long. */
  giveUp: () => void
  /** Seconds that would be given back if the call ended now. */
  credit: () => Readonly<{ slots: Reserved['slots'], seconds: number }>
  /** Resolves when the call is over, confirmed or not, and its line is written or was refused once. Never rejects. */
  over: Promise<void>
}>

/** Moves a call from one replica to another. */
type Handover = Readonly<{
  /** Takes over a call of another replica. `ageMs`: since upstream created it. */
  resume: (record: CreatedRecord, now: Readonly<{ ageMs: number, maxSeconds: number, key: CreatedCall['key'] }>) => void
  snapshot: (state?: CallStatus) => Snapshot
  /** Grows with each change that belongs into the record. */
  revision: () => number
  /** Drops a call that another replica has or may have: nothing more is done about it here. */
  letGo: () => void
}>

export type Call = Readonly<{ facts: CallFacts, holding: Holding }> & Creation & Life & Handover

export type CallDeps = Readonly<{
  clock: Clock
  protocol: CallProtocol
  upstream: UpstreamCalls
  dial: Dial
  audit: Pick<Audit, 'conclude' | 'change'>
  metrics: Pick<CallMetrics, 'ended' | 'reopened' | 'changed'>
  log: PlainLog
  /** The claims that a policy reads: the record has no others. */
  claimsRead: () => ReadonlySet<string>
  /** False once other replicas may have this one's calls. */
  mayAct: () => boolean
}>

const EXPIRES_EARLY_MS = 5000
/** Time for a cancelled response to report its cost. */
const CANCEL_MS = 2000
const CANCEL_BLOCKED_MS = 500
/** How long a confirmed hang-up waits for the sideband to close. */
const LAST_EVENTS_MS = 800

/** The parts of a call that upstream has created. */
type Born = Readonly<{ call: CreatedCall, atMs: number, createdAt: number, leash: Leash, guard: Guard }>

export function createCall (deps: CallDeps, facts: CallFacts, holding: Holding, onOver: () => void): Call {
  const { clock, protocol, upstream, dial, metrics, log, mayAct } = deps
  const wished = Promise.withResolvers<Wish>()
  const over = Promise.withResolvers<void>()
  const tried = Promise.withResolvers<void>()
  const creation = Promise.withResolvers<void>()
  const gaps = createGaps(protocol)
  let receipt = createReceipt()
  let changes = createChanges(deps, facts)
  let state: CallState = 'creating'
  let wish: Wish | null = null
  let reserved: Reserved | null = null
  let isRefunded = false
  /** The record of another replica whose call goes on here. */
  let inherited: CreatedRecord | null = null
  let wasStarted = false
  let starting = Promise.resolve()
  let born: Born | null = null
  let longestMs = Infinity
  let supervision: Supervision | null = null
  let hangUp: HangUp | null = null
  let onResponsesDone = () => {}
  let onSidebandLost = () => {}
  let events = 0
  let endedAt: { ms: number, unix: number } | null = null
  let isGivenUp = false
  let revision = 0
  let mostSeconds = facts.rules.maxSeconds

  const newEventId = () => `ephemint_${++events}`
  const maxSeconds = () => mostSeconds
  const lastedMs = ({ atMs }: Born) => (endedAt?.ms ?? clock.monotonicMs()) - atMs
  const seconds = () => Math.ceil(lastedMs(born as Born) / 1000)
  const unused = () => Math.max(0, maxSeconds() - seconds())
  /** Whether the client may have got its answer. */
  const mayHaveTalked = () => wasStarted || inherited !== null

  function created (call: CreatedCall): void {
    follow(call, clock.monotonicMs(), null)
    state = 'setup'
    creation.resolve()
    if (wish !== null) finish(born as Born, wish)
  }

  /** Starts timers and guard of a call that upstream has created. `before`: the record of another replica. */
  function follow (call: CreatedCall, atMs: number, before: CreatedRecord | null): void {
    const leash = createLeash({
      clock,
      bornMs: atMs,
      maxSeconds: maxSeconds(),
      idleSeconds: facts.rules.idleSeconds,
      before: before?.leash ?? null,
      onEnd: (reason) => end(reason)
    })
    const { baseline = null } = before ?? {}
    const guard = createGuard({
      ...facts,
      clock,
      protocol,
      baselineBefore: baseline === null ? null : (latest) => baselineOf(baseline, latest, facts.granted.session),
      newEventId,
      send: (event) => supervision?.send(event),
      leash,
      onChange: (did, paths) => changes.record(did, paths, call.id),
      onEnd: () => end('policy_change'),
      onFault: (err) => supervision?.fail(err)
    })
    born = { call, atMs, createdAt: before?.createdAt ?? unixNow(), leash, guard }
    longestMs = atMs + (before?.longestMs ?? protocol.longestMs)
  }

  function resume (before: CreatedRecord, { ageMs, maxSeconds: most, key }: Parameters<Call['resume']>[1]): void {
    mostSeconds = most
    receipt = createReceipt(before.receipt)
    changes = createChanges(deps, facts, before.changes)
    isRefunded = before.isRefunded
    wasStarted = before.wasStarted
    follow({ id: before.id, key, dateMs: before.dateMs }, clock.monotonicMs() - ageMs, before)
    const { guard, leash } = born as Born
    guard.noteGap()
    gaps.noteAdopted()
    state = wasStarted ? 'live' : 'setup'
    creation.resolve()
    inherited = before
    const reason = (before.reason ?? (wasStarted ? null : 'setup_failed')) as EndReason | null
    if (reason !== null) return end(reason)
    leash.begin()
    superviseAgain()
  }

  function end (reason: EndReason, error: ApiError | null = null): void {
    if (state === 'ended' || state === 'gone' || wish !== null || !mayAct()) return
    wish = { reason, error }
    revision++
    wished.resolve(wish)
    // Without an id there is nothing to hang up yet: `created` does it.
    if (born !== null) finish(born, wish)
  }

  async function finish ({ call, leash, guard }: Born, { reason }: Wish): Promise<void> {
    state = 'ending'
    revision++
    leash.stop()
    guard.stop()
    if (reason === 'ended' || reason === 'upstream_expired') return conclude(true)
    await cancelResponses(leash, reason === 'blocked' ? CANCEL_BLOCKED_MS : CANCEL_MS)
    if (isGone()) return
    hangUp = startHangUp({
      clock,
      attempt: (signal) => {
        if (supervision?.isOpen() === false) gaps.noteStillLost()
        return upstream.hangUp(call, facts.safetyIdentifier, signal)
      },
      untilMs: longestMs
    })
    hangUp.first.then(tried.resolve)
    if (isGivenUp) hangUp.giveUp()
    const isConfirmed = await hangUp.done
    // The answer may overtake the last events, which the sideband brings before it closes.
    if (isConfirmed && mayHaveTalked() && supervision?.isOpen() === true) {
      await atMost(clock, LAST_EVENTS_MS, new Promise<void>((resolve) => { onSidebandLost = resolve }))
    }
    if (!isGone()) conclude(isConfirmed)
  }

  /** Resolves when no response is open any more, or after `withinMs`. */
  async function cancelResponses (leash: Leash, withinMs: number): Promise<void> {
    const open = leash.openResponses()
    if (open.length === 0) return
    for (const id of open) supervision?.send(protocol.cancelEvent(newEventId(), id))
    await atMost(clock, withinMs, new Promise<void>((resolve) => { onResponsesDone = resolve }))
  }

  function backAtEnd (): number {
    if (isRefunded) return 0
    // The client never got its answer, and did not cause the end.
    const isForNothing = inherited !== null && !inherited.wasStarted && inherited.reason === null
    return isForNothing ? maxSeconds() : unused()
  }

  function conclude (isConfirmed: boolean): void {
    state = 'ended'
    endedAt = { ms: clock.monotonicMs(), unix: unixNow() }
    const { call } = born as Born
    // A sideband that has not closed may still have had events under way.
    const mayHaveMissed = gaps.isOpen() || supervision?.isOpen() === true
    if ((mayHaveMissed && mayHaveTalked()) || !isConfirmed) receipt.noteGap()
    supervision?.stop()
    tried.resolve()
    onOver()
    const [usage, { reason }] = [receipt.usage(), wish as Wish]
    metrics.ended({ policy: facts.policy, reason, seconds: seconds(), usage })
    const line = () => lastLineOf(facts, {
      upstream_call_id: call.id,
      reason,
      seconds: seconds(),
      started: wasStarted,
      usage,
      changes: changes.count(),
      complete: receipt.isComplete(),
      hangup_confirmed: isConfirmed
    })
    const view = viewOf(born as Born)
    holding.conclude({ line, starting, view, record: recordOf, unusedSeconds: backAtEnd() }).finally(over.resolve)
  }

  /** Handles each event. `isOurs`: the answer to an event that we sent. */
  function handle (signal: Signal | null, isOurs: boolean): void {
    const { leash, guard } = born as Born
    /* c8 ignore next -- an event after a lapse: test/calls/replica-faults.test.ts */
    if (!mayAct()) return
    revision++
    if (!isOurs && state !== 'ending') leash.join()
    if (signal === null) return
    leash.handle(signal)
    receipt.handle(signal)
    if (signal.is === 'session') readExpiry(signal)
    if (signal.is === 'error') gaps.noteError(signal.code)
    if (leash.openResponses().length === 0) onResponsesDone()
    guard.handle(signal)
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
    gaps.noteOver(loss)
    if (loss === 'gone') {
      end(gaps.wasExpired() ? 'upstream_expired' : 'ended')
      return hangUp?.confirm()
    }
    end(loss === 'refused' ? 'policy_change' : 'supervision_lost')
  }

  /** Logs a clean close as information only: most are the end of the call. */
  function logLoss ({ isClean, error: err }: Lost): void {
    const line = { err, call_id: facts.id, reason: isClean ? 'closed' : 'lost' }
    log[isClean ? 'info' : 'warn'](line, 'the sideband of a call is lost')
  }

  async function open (): Promise<void> {
    const ready = Promise.withResolvers<void>()
    superviseWith((session) => {
      handle(session, true)
      ready.resolve()
    }, (loss) => {
      const code = loss === 'silent' ? 'upstream_timeout' : 'upstream_error'
      ready.reject(new ApiError(code, { reason: `sideband_${loss}`, retryCannotHelp: true }))
    })
    await ready.promise
  }

  function superviseAgain (): void {
    superviseWith(() => {}, () => {}, true)
  }

  function superviseWith (
    onReady: (session: Signal & { is: 'session' }) => void, onUnready: (loss: Loss) => void, isResumed = false
  ): void {
    const { call, leash, guard } = born as Born
    const path = protocol.sidebandPath(call.id)
    supervision = supervise({
      isResumed,
      clock,
      protocol,
      dial: (handlers) => dial(path, call.key, handlers),
      newEventId,
      fixed: facts.fixed,
      onReady,
      onEvent: handle,
      onLost: (closing) => {
        gaps.noteLost(closing, hangUp !== null)
        leash.forget()
        guard.noteGap()
        onResponsesDone()
        onSidebandLost()
        if (state !== 'ending') logLoss(closing)
      },
      onReopened: () => {
        metrics.reopened()
        // The call went on while events were missed.
        if (wasStarted) receipt.noteGap()
        gaps.noteReopened()
      },
      onGoneSince: gaps.noteGoneSince,
      ending: () => hangUp?.underWay() ?? null,
      onOver: (loss) => {
        if (isResumed || supervision?.isReady() === true) lost(loss)
        else onUnready(loss)
      }
    })
  }

  function viewOf ({ createdAt, atMs, leash }: Born): CallView {
    return {
      id: facts.id,
      object: 'realtime.call',
      status: state === 'ended' || state === 'ending' ? state : 'live',
      created_at: createdAt,
      ends_at: endedAt?.unix ?? createdAt + Math.round((leash.endsAtMs() - atMs) / 1000),
      end_reason: wish?.reason ?? null,
      seconds: seconds(),
      usage: receipt.usage()
    }
  }

  function snapshot (status?: CallStatus): Snapshot {
    return {
      state: status ?? state as CallStatus,
      ageMs: born === null ? 0 : lastedMs(born),
      record: recordOf(status),
      view: born === null ? null : viewOf(born)
    }
  }

  function recordOf (status?: CallStatus): CallRecord {
    return writeRecord(facts, {
      claimsRead: deps.claimsRead(),
      maxSeconds: maxSeconds(),
      created: born === null ? null : createdRecord(born, status === 'live' || wasStarted)
    })
  }

  function createdRecord ({ call, atMs, createdAt, leash, guard }: Born, isStarted: boolean): CreatedRecord {
    const baseline = guard.baseline()
    return {
      id: call.id,
      key: keyDigest(call.key),
      dateMs: call.dateMs,
      createdAt,
      longestMs: longestMs - atMs,
      wasStarted: isStarted,
      isRefunded,
      reason: wish?.reason ?? null,
      leash: leash.state(),
      receipt: receipt.state() as CreatedRecord['receipt'],
      changes: changes.count(),
      baseline: baseline === null ? null : redactSecrets(baseline, facts.conceal)
    }
  }

  function letGo (): void {
    state = 'gone'
    born?.leash.stop()
    born?.guard.stop()
    supervision?.stop()
    hangUp?.abort()
    onResponsesDone()
    for (const { resolve } of [creation, tried, over]) resolve()
    wished.resolve({ reason: 'supervision_lost', error: new ApiError('limits_unavailable', { reason: 'let_go' }) })
  }

  function isGone (): boolean {
    return state === 'gone'
  }

  function unixNow (): number {
    return Math.floor(clock.wallMs() / 1000)
  }

  return {
    facts,
    holding,
    state: () => state,
    wish: () => wish,
    whenWished: wished.promise,
    whenCreated: creation.promise,
    over: over.promise,
    reserve: async (windows) => {
      const taken = await holding.reserve(windows, snapshot)
      if (!taken.taken) return taken
      reserved = taken
      mostSeconds = taken.seconds
      return taken
    },
    created,
    resume,
    write: () => holding.write(snapshot()),
    snapshot,
    revision: () => revision,
    letGo,
    noteUnknown: () => holding.note(snapshot('unknown')),
    abandon: (mayExist) => {
      state = 'ended'
      holding.release(mayExist ? UNKNOWN_KEPT_MS : 0)
      onOver()
      for (const { resolve } of [creation, tried, over]) resolve()
    },
    open,
    started: async (line) => {
      starting = line.then(() => { wasStarted = true })
      await starting
      holding.offer()
      if (state !== 'setup') return
      /* c8 ignore next 4 -- Redis goes between two writes of one request: no test can hit the moment */
      await holding.write(snapshot('live')).catch((error) => {
        wasStarted = false
        throw error
      })
      /* c8 ignore next -- it ends between two writes of one request: no test can hit the moment */
      if (state !== 'setup') return
      state = 'live'
      born?.leash.begin()
    },
    end,
    hangUpTried: () => tried.promise,
    giveUp: () => {
      isGivenUp = true
      onResponsesDone()
      hangUp?.abort()
    },
    refund: async () => {
      // The end has given back what was not used, or the replica that has the call now does.
      if (state === 'ended' || state === 'gone') return
      isRefunded = true
      // The record first: a replica that takes the call over then gives nothing back again.
      if (state === 'ending') await holding.note(snapshot())
      await (reserved as Reserved).refund()
    },
    credit: () => ({ slots: (reserved as Reserved).slots, seconds: unused() }),
    maxSeconds,
    upstreamId: () => born?.call.id ?? null,
    shorten: ({ maxSeconds: most, idleSeconds }) => {
      if (state === 'setup' || state === 'live') born?.leash.shorten(most, idleSeconds)
    },
    view: () => born === null ? null : viewOf(born),
    isHangingUp: () => state === 'ending',
    hangUpAgain: () => hangUp?.again()
  }
}

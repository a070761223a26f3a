// The calls of this replica: being created, live, and for a while those that have ended. If replicas share calls, those
// of other replicas can be found and ended here too.

import { randomBytes } from 'node:crypto'
import { type Clock, pause } from '../clock.ts'
import { ApiError } from '../errors.ts'
import type { LimitStore } from '../limits/limits.ts'
import type { CallRules } from '../policy/compile.ts'
import { adoptCall, type AdoptionDeps, type Held } from './adoption.ts'
import { type Call, type CallDeps, createCall, type EndReason } from './call.ts'
import type { CallFacts } from './facts.ts'
import { type Holding, holdInMemory, type WriteLine } from './holding.ts'
import { writeLastLine } from './last-line.ts'
import type { Places } from './place.ts'
import { createRemoteCalls, type KnownCall } from './remote.ts'
import { createReplica, type Replica } from './replica.ts'
import type { Adopted, SharedCalls } from './shared.ts'
import { holdShared, type SharedHolding } from './shared-holding.ts'

/** A call, with the bounds of its place. */
type Bounded = Pick<CallFacts, 'id' | 'safetyIdentifier' | 'policy'> & Readonly<{
  rules: Pick<CallRules, 'concurrent' | 'whenFull' | 'total'>
}>

type Owner = Readonly<{ issuer: string, subject: string, safetyIdentifier: string }>

/** The rules of the current policy for the caller of a call. Throws ApiError if it grants none. */
export type CurrentRules = (facts: CallFacts) => Pick<CallRules, 'maxSeconds' | 'idleSeconds'>

export type Calls = Readonly<{
  start: () => void
  /** Takes a place of this replica, synchronously. Throws ApiError. */
  begin: (facts: Omit<CallFacts, 'id'>) => Call
  /** Hangs up the call that this one replaces, if any, and waits for its place. Throws ApiError `call_in_progress`. */
  replace: (call: Call) => Promise<void>
  /** A call of this owner that upstream has created, live or ended. */
  find: (owner: Owner, id: string) => Promise<KnownCall | undefined>
  live: (owner: Owner) => Promise<readonly KnownCall[]>
  /** As `find`, for any caller. */
  get: (id: string) => Promise<KnownCall | undefined>
  /** Whether a call that has not ended has this id at upstream. */
  hasUpstream: (upstreamId: string) => boolean
  /** The calls of all callers that have not ended, also those that upstream has yet to create. */
  all: () => Promise<readonly KnownCall[]>
  /** Checks the calls of this replica by the current policy. */
  recheck: (currentRules: CurrentRules) => void
  /**
   * Ends all calls of this replica, or leaves them to others. `drained`: no more are begun. Resolves at most 10 s after
   * that and `withinMs` after the start, or later while a creation has no outcome.
   */
  stop: (drained: Promise<unknown>, withinMs: number) => Promise<void>
  /** Live calls by policy. */
  countLive: () => ReadonlyMap<string, number>
  countHangingUp: () => number
}>

/** Calls that replicas share. `isLocal`: they go on without Redis. */
export type Sharing = Readonly<{
  shared: SharedCalls
  /** For leases, which Redis measures in real time. */
  clock: Clock
  isLocal: boolean
  currentRules: CurrentRules
  /** Loads what calls need, before the first is taken over. */
  load: () => Promise<unknown>
  /** Called for each call of another replica that goes on here. */
  onAdopted: () => void
}> & Pick<AdoptionDeps, 'regrant' | 'key'>

export type CallsDeps = Omit<CallDeps, 'mayAct'> & Pick<AdoptionDeps, 'audit'> & Readonly<{
  limits: Pick<LimitStore, 'reserve' | 'giveSecondsBack'>
  places: Places
  sharing: Sharing | null
}>

/** Not used: an adopted call has its place already. */
const NO_BOUNDS = { concurrent: 1, whenFull: 'refuse', total: null } as const
const ENDED_KEPT_MS = 300_000
const REPLACED_WITHIN_MS = 5000
const HUNG_UP_WITHIN_MS = 10_000
/** How long other replicas may take calls over: from the stop on, and at least after new calls are refused. */
const TAKEN_WITHIN_MS = 5000
const LAST_TAKEN_WITHIN_MS = 2000
const LOOK_MS = 100

export function createCalls (deps: CallsDeps): Calls {
  const { clock, places, limits, sharing, log } = deps
  const current = new Map<string, Call>()
  const ended = new Map<string, KnownCall>()
  const held = new Map<string, SharedHolding>()
  let isStopping = false

  const writeLine: WriteLine = (line, onWritten) => writeLastLine(deps, line, onWritten)
  const replica = sharing === null ? null : replicaFor(sharing)
  const remoteCall = sharing === null ? null : createRemoteCalls(sharing)
  const mayAct = () => replica?.mayAct() ?? true
  // After a lapse of the lease no timer or event may act on a call.
  const gated: Clock = {
    ...clock, after: (ms, callback) => clock.after(ms, () => { if (mayAct()) callback() })
  }
  const callDeps: CallDeps = { ...deps, clock: gated, mayAct }

  function replicaFor (own: Sharing): Replica {
    const { clock: leaseClock, shared, isLocal, currentRules, load, onAdopted, regrant, key } = own
    return createReplica({
      clock: leaseClock,
      shared,
      isLocal,
      log,
      load,
      own: () => [...current.values()].flatMap((call) => {
        const holding = held.get(call.facts.id)
        /* c8 ignore next -- a call that was let go while it was created: test/calls/replica-faults.test.ts */
        return holding === undefined ? [] : [{ call, holding }]
      }),
      holds: (id) => held.has(id),
      countHeld: () => held.size,
      /* c8 ignore next -- half a minute without Redis: test/calls/replica-faults.test.ts */
      endAll: () => { for (const call of current.values()) call.end('supervision_lost') },
      letGo,
      hear: (id, text) => {
        const call = current.get(id)
        call?.end(text as EndReason, endedBy(text))
        if (text === 'operator') call?.hangUpAgain()
      },
      adopt: (adopted, data) => {
        adoptCall({
          ...deps,
          clock: gated,
          regrant,
          key,
          writeLine,
          take: (facts, fence) => {
            onAdopted()
            return takeOver(facts, fence)
          },
          hold: holdLeft,
          longestMs: deps.protocol.longestMs
        }, adopted, data)
        const call = current.get(adopted.id)
        if (call !== undefined) recheckOne(call, currentRules)
      }
    })
  }

  function letGo (call: Call): void {
    const { id } = call.facts
    held.delete(id)
    // Without an id at upstream no other replica could end the call.
    /* c8 ignore next -- a replica that lapses while it creates a call: no test can hit the moment */
    if (call.state() === 'creating') return call.end('supervision_lost', new ApiError('limits_unavailable'))
    current.delete(id)
    call.letGo()
  }

  function add (facts: CallFacts, holding: Holding, release = () => {}): Call {
    const { id } = facts
    const call = createCall(callDeps, facts, holding, () => {
      release()
      current.delete(id)
      if (call.view() !== null) keepEnded(id, remainsOf(call))
    })
    current.set(id, call)
    call.over.then(release)
    return call
  }

  function begin (asked: Omit<CallFacts, 'id'>): Call {
    if (isStopping) throw new ApiError('draining', { retryAfterSeconds: 1 })
    const { issuer, subject, policy, rules: { concurrent, whenFull, total } } = asked
    const facts = { ...asked, id: `${deps.protocol.idPrefix}${randomBytes(16).toString('base64url')}` }
    const { id } = facts
    const bounds = { policy, concurrent, whenFull, total }
    if (sharing !== null) {
      const place = places.take({ ...bounds, call: id, caller: id, concurrent: 1, total: null })
      return add(facts, holdFor(facts, null), place.release)
    }
    // A subject contains no NUL, so two different pairs never have the same key.
    const place = places.take({ ...bounds, call: id, caller: `${issuer}\0${subject}` })
    let slots: Awaited<ReturnType<LimitStore['reserve']>>['slots'] = []
    return add(facts, holdInMemory({
      place,
      reserve: async (windows) => {
        const credit = current.get(place.replaces ?? '')?.credit() ?? null
        const reserved = await limits.reserve({ ...windows, credit })
        slots = reserved.slots
        return reserved
      },
      giveBack: (seconds) => limits.giveSecondsBack(slots, seconds),
      after: clock.after,
      writeLine
    }))
  }

  function holdFor (facts: Bounded, adopted: number | null): SharedHolding {
    const { id, safetyIdentifier: caller, policy, rules: { concurrent, whenFull, total } } = facts
    const { clock: leaseClock, shared, isLocal } = sharing as Sharing
    const holding = holdShared({
      clock: leaseClock,
      shared,
      limits,
      replica: replica as Replica,
      isLocal,
      replacedAlone: () => replacedAlone(facts),
      writeLine,
      onReleased: () => {
        // A replica whose lease lapsed may have adopted its own call: then another holding has the place.
        if (held.get(id) === holding) held.delete(id)
      }
    }, { call: id, caller, policy, concurrent, whenFull, total }, adopted)
    held.set(id, holding)
    return holding
  }

  function holdLeft ({ id, fence, fields: { caller, policy } }: Adopted): Held {
    const { releaseLeft, isMine } = holdFor({ id, safetyIdentifier: caller, policy, rules: NO_BOUNDS }, fence)
    return { isMine, release: (seconds, afterMs = 0) => { clock.after(afterMs, () => releaseLeft(seconds)) } }
  }

  /** Adopted calls may exceed the bounds of new ones. */
  function takeOver (facts: CallFacts, fence: number): Call {
    return add(facts, holdFor(facts, fence))
  }

  /** Counts the calls of this replica only. Throws ApiError. */
  function replacedAlone ({ id, safetyIdentifier, policy, rules: { concurrent, whenFull, total } }: Bounded) {
    const others = [...current.values()].filter((call) => call.facts.id !== id)
    const own = others.filter(({ facts }) => facts.safetyIdentifier === safetyIdentifier)
    const old = own.length < concurrent ? null : own.find(({ state }) => state() === 'live')
    if (old === undefined || (old !== null && whenFull === 'refuse')) throw new ApiError('call_in_progress')
    const ofPolicy = others.filter((call) => call !== old && call.facts.policy === policy).length
    if (ofPolicy >= (total ?? Infinity)) throw new ApiError('calls_full', { reason: 'total', retryAfterSeconds: 5 })
    return old === null ? null : { id: old.facts.id, over: old.over }
  }

  /** A function of its own, so that the timer keeps only these values in memory. */
  function keepEnded (id: string, call: KnownCall): void {
    ended.set(id, call)
    clock.after(ENDED_KEPT_MS, () => ended.delete(id))
  }

  async function replace ({ holding }: Call): Promise<void> {
    const old = holding.replaces()
    if (old === null) return
    current.get(old)?.end('replaced')
    const late = Promise.withResolvers<true>()
    const stop = clock.after(REPLACED_WITHIN_MS, () => late.resolve(true))
    const isLate = await Promise.race([holding.whenPassed(), late.promise]).finally(stop)
    if (isLate === true) {
      throw new ApiError('call_in_progress', { reason: 'not_replaced', retryCannotHelp: true })
    }
  }

  function getOwn (id: string): KnownCall | undefined {
    const own = current.get(id)
    return [own && followed(own), ended.get(id)].find((call) => (call?.view() ?? null) !== null)
  }

  /** Waits for the end of a call, also if another replica takes it over meanwhile. */
  function followed (call: Call): KnownCall {
    let wish: EndReason | null = null
    return {
      ...call,
      end: (reason, error) => {
        wish = reason
        call.end(reason, error)
      },
      get over () {
        return call.over.then(async () => {
          if (wish === null || call.state() !== 'gone') return
          const there = await get(call.facts.id)
          there?.end(wish)
          await there?.over
        })
      }
    }
  }

  async function remotes (ids: readonly string[]): Promise<readonly KnownCall[]> {
    const others = ids.filter((id) => !current.has(id) && !ended.has(id))
    const found = await (sharing as Sharing).shared.read(others)
    return others.flatMap((id, i) => {
      const one = found[i]
      return one ? remoteCall?.(id, one) ?? [] : []
    })
  }

  async function get (id: string): Promise<KnownCall | undefined> {
    const own = getOwn(id)
    if (own !== undefined || sharing === null || current.has(id)) return own
    // Another replica may have the call.
    if (!sharing.shared.isUp()) throw new ApiError('limits_unavailable', { reason: 'redis_unavailable' })
    return (await remotes([id])).find(({ view }) => view() !== null)
  }

  function recheckOne (call: Call, currentRules: CurrentRules): void {
    try {
      call.shorten(currentRules(call.facts))
    } catch (error) {
      call.end('blocked', error as ApiError)
    }
  }

  async function endOne (call: Call, stoppedByMs: number): Promise<void> {
    call.end('shutdown')
    // A call that was ending already may wait a minute for its next attempt.
    call.hangUpAgain()
    await call.whenCreated
    const withinMs = Math.min(HUNG_UP_WITHIN_MS, stoppedByMs - clock.monotonicMs())
    // Other replicas have the second half to take over a call whose hang-up fails.
    const stops = [clock.after(withinMs / 2, () => replica?.offer(call)), clock.after(withinMs, call.giveUp)]
    await call.over
    for (const stop of stops) stop()
  }

  /** Resolves when other replicas have taken all calls, or none is there to take them. */
  async function offerAll (others: Replica, { clock }: Sharing, untilMs: number): Promise<void> {
    const isLeft = () => [...current.values()].some(({ state }) => state() !== 'ending')
    while (isLeft() && others.hasOthers() && clock.monotonicMs() < untilMs) {
      await pause(clock, LOOK_MS)
    }
    // A call that is still being created would go live while the offers are withdrawn.
    for (const call of current.values()) if (call.state() !== 'live') call.end('shutdown')
    await others.withdraw()
  }

  return {
    start: () => replica?.start(),
    begin,
    replace,
    find: async ({ issuer, subject, safetyIdentifier }, id) => {
      const call = await get(id)
      const isOwn = getOwn(id) !== undefined
      if (isOwn) return call?.facts.issuer === issuer && call.facts.subject === subject ? call : undefined
      return call?.facts.safetyIdentifier === safetyIdentifier ? call : undefined
    },
    live: async ({ issuer, subject, safetyIdentifier }) => {
      const own = [...current.values()].filter(({ facts, view }) =>
        facts.issuer === issuer && facts.subject === subject && view() !== null)
      if (sharing === null || !sharing.shared.isUp()) return own
      const others = await remotes(await sharing.shared.list({ caller: safetyIdentifier }))
      return [...own, ...others.filter(({ view }) => view() !== null)]
    },
    get,
    hasUpstream: (id) => [...current.values()].some(({ upstreamId }) => upstreamId() === id),
    all: async () => {
      const own = [...current.values()].map(followed)
      return sharing === null || !sharing.shared.isUp()
        ? own
        : [...own, ...await remotes(await sharing.shared.list(null))]
    },
    recheck: (currentRules) => { for (const call of current.values()) recheckOne(call, currentRules) },
    stop: async (drained, withinMs) => {
      const stoppedByMs = clock.monotonicMs() + withinMs
      if (replica === null || sharing === null) isStopping = true
      else {
        const untilMs = sharing.clock.monotonicMs() + TAKEN_WITHIN_MS
        await Promise.all([replica.leave(), drained])
        isStopping = true
        await offerAll(replica, sharing, Math.max(untilMs, sharing.clock.monotonicMs() + LAST_TAKEN_WITHIN_MS))
      }
      await Promise.all([...current.values()].map((call) => endOne(call, stoppedByMs)))
      await replica?.stop()
    },
    countLive: () => {
      const counts = new Map<string, number>()
      for (const { facts: { policy }, state } of current.values()) {
        if (state() === 'live') counts.set(policy, (counts.get(policy) ?? 0) + 1)
      }
      return counts
    },
    countHangingUp: () => [...current.values()].filter(({ isHangingUp }) => isHangingUp()).length
  }
}

function endedBy (text: string): ApiError | undefined {
  return text === 'operator' ? new ApiError('policy_violation', { reason: 'operator' }) : undefined
}

function remainsOf ({ facts, view, over }: Call): KnownCall {
  const { issuer, subject, safetyIdentifier, policy, kind } = facts
  const seen = view()
  const nothing = () => {}
  return {
    facts: { issuer, subject, safetyIdentifier, policy, kind },
    view: () => seen,
    over,
    end: nothing,
    hangUpAgain: nothing
  }
}

// The calls of this replica: those that are being created, those that live, and for a while those that have ended.

import { randomBytes } from 'node:crypto'
import type { Clock } from '../clock.ts'
import { ApiError } from '../errors.ts'
import type { CallRules } from '../policy/compile.ts'
import { type Call, type CallDeps, type CallFacts, createCall } from './call.ts'
import type { Places } from './place.ts'

type Owner = Readonly<{ issuer: string, subject: string }>

/** The rules of the current policy for the caller of a call. Throws ApiError if it grants none. */
export type Review = (facts: CallFacts) => Pick<CallRules, 'maxSeconds' | 'idleSeconds'>

/** One that upstream has created. What an ended one no longer needs, its sessions above all, is let go. */
export type KnownCall = Pick<Call, 'view' | 'end' | 'over' | 'hangUpAgain'> & Readonly<{
  facts: Pick<CallFacts, 'issuer' | 'subject' | 'safetyIdentifier' | 'policy' | 'kind'>
}>

export type Calls = Readonly<{
  /** Takes a place, synchronously. Throws ApiError. */
  begin: (facts: Omit<CallFacts, 'id'>) => Call
  /** Hangs up the call that this one replaces, if any, and waits for its place. Throws ApiError `call_in_progress`. */
  replace: (call: Call) => Promise<void>
  /** Seconds that the replaced call will give back; null if none is replaced. */
  creditOf: (call: Call) => ReturnType<Call['credit']> | null
  /** A call of this owner that upstream has created, live or ended. */
  find: (owner: Owner, id: string) => KnownCall | undefined
  live: (owner: Owner) => readonly Call[]
  /** As `find`, of any caller. */
  get: (id: string) => KnownCall | undefined
  /** Whether a call that has not ended has this id at upstream. */
  hasUpstream: (upstreamId: string) => boolean
  /** The calls of all callers that have not ended, also those that upstream has yet to create. */
  current: () => readonly Call[]
  /** Checks all of them by the current policy. */
  review: (review: Review) => void
  /** Hangs up all of them and begins no more. Resolves within 10 s of the last creation. */
  stop: () => Promise<void>
  /** Live calls by policy. */
  countLive: () => ReadonlyMap<string, number>
  countHangingUp: () => number
}>

const ENDED_KEPT_MS = 300_000
const REPLACED_WITHIN_MS = 5000
const STOPPED_WITHIN_MS = 10_000

export function createCalls (deps: CallDeps & Readonly<{ clock: Clock, places: Places }>): Calls {
  const { clock, places } = deps
  const current = new Map<string, Call>()
  const ended = new Map<string, KnownCall>()
  let isStopping = false

  function begin (asked: Omit<CallFacts, 'id'>): Call {
    if (isStopping) throw new ApiError('draining', { retryAfterSeconds: 1 })
    const { issuer, subject, policy, rules: { concurrent, whenFull, total } } = asked
    const facts = { ...asked, id: `${deps.protocol.idPrefix}${randomBytes(16).toString('base64url')}` }
    const { id } = facts
    // A subject contains no NUL, so two different pairs never have the same key.
    const place = places.take({ call: id, caller: `${issuer}\0${subject}`, policy, concurrent, whenFull, total })
    const call = createCall(deps, facts, place, () => {
      current.delete(id)
      if (call.view() !== null) keepEnded(id, remainsOf(call))
    })
    current.set(id, call)
    return call
  }

  /** Its timer holds no more of the call than that. */
  function keepEnded (id: string, call: KnownCall): void {
    ended.set(id, call)
    clock.after(ENDED_KEPT_MS, () => ended.delete(id))
  }

  async function replace ({ place: { replaces, passed } }: Call): Promise<void> {
    if (replaces === null) return
    current.get(replaces)?.end('replaced')
    const late = Promise.withResolvers<true>()
    const stop = clock.after(REPLACED_WITHIN_MS, () => late.resolve(true))
    const isLate = await Promise.race([passed, late.promise])
    stop()
    if (isLate === true) {
      throw new ApiError('call_in_progress', { reason: 'not_replaced', retryCannotHelp: true })
    }
  }

  function get (id: string): KnownCall | undefined {
    return [current.get(id), ended.get(id)].find((call) => (call?.view() ?? null) !== null)
  }

  return {
    begin,
    replace,
    creditOf: ({ place: { replaces } }) => current.get(replaces ?? '')?.credit() ?? null,
    find: ({ issuer, subject }, id) => {
      const call = get(id)
      return call?.facts.issuer === issuer && call.facts.subject === subject ? call : undefined
    },
    live: ({ issuer, subject }) => [...current.values()].filter(({ facts, view }) =>
      facts.issuer === issuer && facts.subject === subject && view() !== null),
    get,
    hasUpstream: (id) => [...current.values()].some(({ upstreamId }) => upstreamId() === id),
    current: () => [...current.values()],
    review: (review) => {
      for (const call of current.values()) {
        try {
          call.shorten(review(call.facts))
        } catch (error) {
          call.end('blocked', error as ApiError)
        }
      }
    },
    stop: async () => {
      isStopping = true
      await Promise.all([...current.values()].map(async (call) => {
        call.end('shutdown')
        await call.whenCreated
        const stop = clock.after(STOPPED_WITHIN_MS, call.giveUp)
        await call.over
        stop()
      }))
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

// The plan of one call: how it is created, how long it lasts, what is spoken, who ends it.

import { CALLERS } from '../../support/app.ts'
import { accept, cutBody, opened } from '../../support/call-replies.ts'
import type { CreateReply } from '../../support/calls-upstream.ts'
import { OFFER } from '../../support/sdp.ts'
import { failure, reset } from '../../support/upstream.ts'
import type { Random } from './random.ts'

export type PolicyName = 'long' | 'short' | 'quiet'
export type End = 'client' | 'operator' | 'upstream' | 'replaced' | 'timer'

export type Plan = Readonly<{
  index: number
  caller: number
  reply: CreateReply
  latencyMs: number
  /** When the client disconnects before its answer; null: it does not. */
  goneAfterMs: number | null
  lifeMs: number
  end: End
}>

export const CALLERS_COUNT = 600
export const MAX_SECONDS: Readonly<Record<PolicyName, number>> = { long: 70, short: 10, quiet: 70 }
/** A limit that no caller reaches. */
export const SECONDS_A_DAY = 1_000_000

const LIMITS = `{ minute: 100000, call_seconds: { day: ${SECONDS_A_DAY} } }`
const policy = (name: PolicyName, more = '') => `
  - name: ${name}
    when: { plan: ${name} }
    limits: ${LIMITS}
    realtime:
      fixed: { model: gpt-realtime-2.1, instructions: 'You are Ada.' }
      calls: { max_seconds: ${MAX_SECONDS[name]}, when_full: replace${more} }`
export const SOAK_POLICY = `${CALLERS}
policies:${policy('long')}${policy('short')}${policy('quiet', ', idle_seconds: 5')}
`

const POLICIES: readonly PolicyName[] = ['long', 'long', 'short', 'long', 'quiet']
/** The policy of a caller, which never changes. */
export const policyNameOf = (caller: number) => POLICIES[caller % POLICIES.length] as PolicyName
const ENDS: readonly End[] = ['client', 'client', 'client', 'operator', 'upstream', 'upstream', 'replaced']
const BAD: readonly CreateReply[] =
  [failure(500), failure(400, 'bad'), reset(), opened(reset()), accept({ location: null }), cutBody]

export function planOf (random: Random, index: number, caller: number): Plan {
  const policy = policyNameOf(caller)
  const hasTimer = policy === 'short' || (policy === 'quiet' && random.isIn(50))
  return {
    index,
    caller,
    reply: random.isIn(4) ? random.of(BAD) : accept(),
    latencyMs: random.between(5, 150),
    goneAfterMs: random.isIn(5) ? random.between(0, 250) : null,
    lifeMs: random.between(2000, random.isIn(20) ? 60_000 : 25_000),
    end: hasTimer ? 'timer' : random.of(ENDS)
  }
}

/** Parts of a plan for a call that nothing disturbs. */
export const SERVED = { reply: accept(), latencyMs: 0, goneAfterMs: null } as const

export const subjectOf = (caller: number) => `caller-${caller}`
/** The offer carries the index of its plan. */
export const offerOf = (index: number) => `${OFFER}a=x-plan:${index}\r\n`
export const indexIn = (offer = '') => Number(/a=x-plan:(\d+)/.exec(offer)?.[1])

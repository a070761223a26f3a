// Selects a caller's policy: the first whose `when` matches. Without a match the request is refused.

import { type Caller, GUEST_ISSUER } from '../callers/caller.ts'
import { claimMatcher } from '../callers/claims.ts'
import { ApiError } from '../errors.ts'
import type { Matches, Policies, Policy } from './policy.ts'
import type { PolicyEntry } from './schema.ts'

/** `safetyIdentifier` is the caller's. Throws ApiError `caller_blocked` or `no_policy`. */
export function selectPolicy (policies: Policies, caller: Caller, safetyIdentifier: string): Policy {
  if (policies.isBlocked(caller, safetyIdentifier)) throw new ApiError('caller_blocked')
  const policy = policies.policies.find(({ matches }) => matches(caller))
  if (policy === undefined || policy.denies) throw new ApiError('no_policy', { reason: policy?.name ?? 'none_matches' })
  return policy
}

export function compileWhen (when: PolicyEntry['when']): Matches {
  if (when === 'guest') return ({ issuer }) => issuer === GUEST_ISSUER
  if (when === 'any') return ({ issuer }) => issuer !== GUEST_ISSUER
  const matches = claimMatcher(when)
  return ({ issuer, claims, hasUnknownClaims }) => issuer !== GUEST_ISSUER && matches(claims, hasUnknownClaims)
}

/** Whether every caller that `later` is for is one of `earlier` too. */
export function covers (earlier: PolicyEntry['when'], later: PolicyEntry['when']): boolean {
  if (earlier === 'guest' || later === 'guest') return earlier === later
  if (earlier === 'any' || later === 'any') return earlier === 'any'
  return Object.entries(earlier).every(([reference, values]) => {
    const wanted = later[reference]
    return wanted !== undefined && [wanted].flat().every((value) => [values].flat().includes(value))
  })
}

export type Blocked = readonly Readonly<{
  issuer?: string | undefined, subject?: string | undefined, safety_identifier?: string | undefined
}>[]

/** The cost of a check does not grow with the list. */
export function compileBlocked (blocked: Blocked): (caller: Caller, safetyIdentifier: string) => boolean {
  // A subject contains no NUL, so two different pairs never have the same key.
  const callers = new Set(
    blocked.flatMap(({ issuer, subject }) => subject === undefined ? [] : [`${issuer ?? ''}\0${subject}`])
  )
  const identifiers = new Set(blocked.flatMap(({ safety_identifier: identifier }) => identifier ?? []))
  return ({ issuer, subject }, safetyIdentifier) =>
    callers.has(`\0${subject}`) || callers.has(`${issuer}\0${subject}`) || identifiers.has(safetyIdentifier)
}

// The current rules for a call that is live or being created.

import { createCaller } from '../callers/caller.ts'
import { ApiError } from '../errors.ts'
import type { JsonObject } from '../json.ts'
import { type AdoptableCall, type CallTerms, termsOfAdopted } from '../policy/call-terms.ts'
import type { CallRules } from '../policy/compile.ts'
import { selectPolicy } from '../policy/select.ts'
import type { Kind } from '../realtime/session.ts'
import type { Rulebook } from './rulebook.ts'

/** A call's caller as it was authenticated, and the call's kind. */
export type CallOwner = Readonly<{
  issuer: string, subject: string, claims: JsonObject, safetyIdentifier: string, kind: Kind
}>

/** A call that another replica has left, by the policies of now. */
export function adoptedTerms (
  { policies: { policies } }: Pick<Rulebook, 'policies'>, call: AdoptableCall & Readonly<{ policy: string, kind: Kind }>
): CallTerms {
  const policy = policies.find(({ name }) => name === call.policy)
  return termsOfAdopted(policy?.sessions[call.kind], call)
}

/** Throws ApiError: blocked, without a policy, or without calls. */
export function callRulesOf (
  { policies }: Pick<Rulebook, 'policies'>, { issuer, subject, claims, safetyIdentifier, kind }: CallOwner
): CallRules {
  const policy = selectPolicy(policies, createCaller({ issuer, subject, claims }), safetyIdentifier)
  const calls = policy.sessions[kind]?.calls ?? null
  if (calls === null) throw new ApiError('policy_violation', { reason: 'no_calls' })
  return calls
}

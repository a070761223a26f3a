// The current rules for a call that is live or being created.

import { createCaller } from '../callers/caller.ts'
import { ApiError } from '../errors.ts'
import type { JsonObject } from '../json.ts'
import type { CallRules } from '../policy/compile.ts'
import { selectPolicy } from '../policy/select.ts'
import type { Kind } from '../realtime/session.ts'
import type { Rulebook } from './rulebook.ts'

export type Talking = Readonly<{
  issuer: string, subject: string, claims: JsonObject, safetyIdentifier: string, kind: Kind
}>

/** Throws ApiError: blocked, without a policy, or without calls. */
export function reviewCall (
  { policies }: Pick<Rulebook, 'policies'>, { issuer, subject, claims, safetyIdentifier, kind }: Talking
): CallRules {
  const policy = selectPolicy(policies, createCaller(issuer, subject, claims), safetyIdentifier)
  const calls = policy.sessions[kind]?.calls ?? null
  if (calls === null) throw new ApiError('policy_violation', { reason: 'no_calls' })
  return calls
}

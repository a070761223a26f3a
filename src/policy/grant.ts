// The grant: one function for secrets and one for calls, for every route and command.

import { ApiError } from '../errors.ts'
import { getIn, type JsonObject, omitIn } from '../json.ts'
import type { Kind } from '../realtime/session.ts'
import { applyPolicy, type Asked, type Granted } from './apply.ts'
import { type CallRules, type SessionRules, TURN_DETECTION } from './compile.ts'
import type { Policy } from './policy.ts'

/** A caller, and the policy that applies to it. */
export type Grantee = Readonly<{ policy: Pick<Policy, 'sessions'>, claims: JsonObject }>

export type CallGrant = Readonly<{ granted: Granted, rules: CallRules }>

/** Throws ApiError `policy_violation`. */
export function grantSecret (grantee: Grantee, kind: Kind, asked: Asked): Granted {
  const rules = rulesOf(grantee, kind)
  if (!rules.hasSecrets) throw new ApiError('policy_violation', { reason: 'no_secrets' })
  return applyPolicy(rules, grantee.claims, asked)
}

/** Throws ApiError `policy_violation`. */
export function grantCall (grantee: Grantee, kind: Kind, asked: Asked): CallGrant {
  const rules = rulesOf(grantee, kind)
  if (rules.calls === null) throw new ApiError('policy_violation', { reason: 'no_calls' })
  const granted = applyPolicy(rules, grantee.claims, asked)
  // Not every schema under allow shows at load whether it admits this.
  if (!rules.calls.hasDataChannel && getIn(granted.session, TURN_DETECTION) === null) {
    throw new ApiError('policy_violation', { param: asked.sessionParam(TURN_DETECTION), reason: 'turn_detection_off' })
  }
  // The GA API has no temperature, and calls are of no other.
  return { granted: { ...granted, session: omitIn(granted.session, ['temperature']) }, rules: rules.calls }
}

function rulesOf ({ policy }: Grantee, kind: Kind): SessionRules {
  const rules = policy.sessions[kind]
  if (rules === undefined) throw new ApiError('policy_violation', { reason: 'kind_not_named' })
  return rules
}

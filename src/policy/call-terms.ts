// The part of a policy that a call is held to for its whole life, at its creation or at a replica that goes on with it.

import type { JsonObject } from '../json.ts'
import { applyPolicy, type Asked, askedFor, type Granted } from './apply.ts'
import type { CallRules, SessionRules } from './compile.ts'
import type { Conceal } from './conceal.ts'
import { type RedactedSession, reportOnlyIn, restoreSecrets } from './redacted.ts'
import { type CheckSession, createSessionCheck } from './session-check.ts'

export type CallTerms = Readonly<{
  granted: Pick<Granted, 'session' | 'model' | 'prompt'>
  /** The values of the session that the policy fixes; none where it only reports. */
  fixed: JsonObject
  checkSession: CheckSession
  conceal: Conceal | null
}>

export function termsOfCall (
  sessionRules: SessionRules,
  { claims, asked, granted, rules }: Readonly<{ claims: JsonObject, asked: Asked, granted: Granted, rules: CallRules }>
): CallTerms {
  return {
    granted,
    fixed: rules.onChange === 'report' ? {} : fixedOf(sessionRules, granted.session),
    checkSession: createSessionCheck(sessionRules, { claims, asked, granted }),
    conceal: sessionRules.conceal
  }
}

/** A call as another replica has left it; `asked` is the session of its request. */
export type AdoptableCall = Readonly<{
  claims: JsonObject
  asked: JsonObject
  sent: RedactedSession
  model: string | null
  prompt: string | null
  rules: CallRules
}>

/** `sessionRules` are of its policy as it is now; undefined where that grants no such session any more. */
export function termsOfAdopted (sessionRules: SessionRules | undefined, call: AdoptableCall): CallTerms {
  const { claims, model, prompt, rules } = call
  if (sessionRules === undefined) return withoutRules(call)
  try {
    const asked = askedFor(call.asked)
    const now = applyPolicy(sessionRules, claims, asked)
    const { session, missing } = restoreSecrets(call.sent, now.session)
    const granted = { ...now, session, model, prompt }
    const { checkSession, ...rest } = termsOfCall(sessionRules, { claims, asked, granted, rules })
    return { ...rest, checkSession: reportOnlyIn(missing, checkSession) }
  // A refusal, or a record that another version wrote: the call goes on either way, and its duration is still held.
  } catch {
    return withoutRules(call)
  }
}

/** Nothing can be checked, and nothing is shown: a value may be a secret of the policy. */
function withoutRules ({ sent, model, prompt }: AdoptableCall): CallTerms {
  const granted = { session: sent.shown, model, prompt }
  return { granted, fixed: {}, checkSession: acceptAll, conceal: () => ({}) }
}

const acceptAll: CheckSession = (_baseline, session) =>
  ({ baseline: session, refused: [], ignored: [], reportedOnly: [], corrections: [] })

function fixedOf ({ fixed: { source } }: SessionRules, session: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(session).filter(([name]) => Object.hasOwn(source, name)))
}

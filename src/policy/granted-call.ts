// What of a policy a call is held to for as long as it lasts, when it is created or another replica goes on with it.

import type { JsonObject } from '../json.ts'
import { applyPolicy, type Asked, type Granted } from './apply.ts'
import type { CallRules, SessionRules } from './compile.ts'
import type { Conceal } from './conceal.ts'
import { type Hidden, reportOnlyIn, revealSecrets } from './hidden.ts'
import { createJudge, type Judge } from './judge.ts'

export type GrantedCall = Readonly<{
  granted: Pick<Granted, 'session' | 'model' | 'prompt'>
  /** The values of the session that the policy fixes; none where it only reports. */
  fixed: JsonObject
  judge: Judge
  conceal: Conceal | null
}>

export function grantedOf (
  sessionRules: SessionRules,
  { claims, asked, granted, rules }: Readonly<{ claims: JsonObject, asked: Asked, granted: Granted, rules: CallRules }>
): GrantedCall {
  return {
    granted,
    fixed: rules.onChange === 'report' ? {} : fixedOf(sessionRules, granted.session),
    judge: createJudge(sessionRules, { claims, asked, granted }),
    conceal: sessionRules.conceal
  }
}

/** A call as another replica has left it; `asked` is the session of its request. */
export type Left = Readonly<{
  claims: JsonObject
  asked: JsonObject
  sent: Hidden
  model: string | null
  prompt: string | null
  rules: CallRules
}>

/** `sessionRules` are of its policy as it is now; undefined where that grants no such session any more. */
export function regrantedOf (sessionRules: SessionRules | undefined, left: Left): GrantedCall {
  const { claims, model, prompt, rules } = left
  try {
    if (sessionRules === undefined) throw new Error('not granted any more')
    const asked = askedAgain(left.asked)
    const now = applyPolicy(sessionRules, claims, asked)
    const { session, missing } = revealSecrets(left.sent, now.session)
    const granted = { ...now, session, model, prompt }
    const { judge, ...rest } = grantedOf(sessionRules, { claims, asked, granted, rules })
    return { ...rest, judge: reportOnlyIn(missing, judge) }
  } catch {
    // Its rules are gone: nothing of it can be judged, and nothing written down be told from a secret.
    return { granted: { session: left.sent.shown, model, prompt }, fixed: {}, judge: acceptAll, conceal: () => ({}) }
  }
}

const acceptAll: Judge = (_baseline, session) =>
  ({ baseline: session, refused: [], ignored: [], remarkable: [], corrections: [] })

function askedAgain (session: JsonObject): Asked {
  return {
    session,
    expiresAfter: undefined,
    added: [],
    dropped: [],
    // Names the field of a refusal, and there is none to whom it could be reported.
    sessionParam: String,
    expiresAfterParam: 'expires_after'
  }
}

function fixedOf ({ fixed: { source } }: SessionRules, session: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(session).filter(([name]) => Object.hasOwn(source, name)))
}

// Facts of a call that do not change while it lives: who asked for it, and what was granted.

import type { JsonObject } from '../json.ts'
import type { Granted } from '../policy/apply.ts'
import type { CallRules } from '../policy/compile.ts'
import type { Conceal } from '../policy/conceal.ts'
import type { CheckSession } from '../policy/session-check.ts'
import type { Kind } from '../realtime/session.ts'

export type CallFacts = Readonly<{
  /** The service's own id of the call. */
  id: string
  /** The id of the request that asked for the call. */
  requestId: string
  issuer: string
  subject: string
  claims: JsonObject
  safetyIdentifier: string
  policy: string
  kind: Kind
  /** The session that the client asked for, and what it was granted. */
  asked: JsonObject
  granted: Pick<Granted, 'session' | 'model' | 'prompt'>
  /** Leaves the secrets of the policy out of a session. */
  conceal: Conceal | null
  rules: CallRules
  /** The values of the session that the policy fixes; none where it only reports. */
  fixed: JsonObject
  hasDataChannel: boolean
  checkSession: CheckSession
}>

// The type of a compiled policy: the callers that it is for, their limits, and the sessions that it grants.

import type { Caller } from '../callers/caller.ts'
import type { Limits } from '../limits/limits.ts'
import type { Kind } from '../realtime/session.ts'
import type { SessionRules } from './compile.ts'

export type Matches = (caller: Caller) => boolean

export type Policy = Readonly<{
  name: string
  matches: Matches
  denies: boolean
  /** Null for `limits: none`. */
  limits: Limits | null
  sessions: Readonly<Partial<Record<Kind, SessionRules>>>
}>

export type Policies = Readonly<{
  policies: readonly Policy[]
  isBlocked: (caller: Caller, safetyIdentifier: string) => boolean
  /** The top-level claims that a `when` or a template reads. */
  claimsRead: ReadonlySet<string>
}>

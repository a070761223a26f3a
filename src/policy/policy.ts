// What a policy is once it is compiled: whom it is for, how much they get, and of what.

import type { Caller } from '../callers/caller.ts'
import type { Limits } from '../limits/limits.ts'
import type { Kind } from '../realtime/session.ts'
import type { SessionRules } from './compile.ts'

export type Matches = (caller: Caller) => boolean

export type Policy = Readonly<{
  name: string
  matches: Matches
  denies: boolean
  /** Null where the file says `limits: none`. */
  limits: Limits | null
  sessions: Readonly<Partial<Record<Kind, SessionRules>>>
}>

export type Policies = Readonly<{
  policies: readonly Policy[]
  isBlocked: (caller: Caller, safetyIdentifier: string) => boolean
  /** Values of `$env` and `$file`: never shown. */
  secrets: ReadonlySet<string>
}>

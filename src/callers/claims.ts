// Reading claims by name, or nested ones by JSON Pointer (RFC 6901), and matching them. Own properties only.

import { isObject, type Json, type JsonObject, type Path, pointerPath } from '../json.ts'

export type ReadClaim = (claims: JsonObject) => Json | undefined

/** Metadata that users of Supabase, Auth0 and Clerk can write themselves, so it must not grant anything. */
const USER_WRITABLE = ['user_metadata', 'unsafe_metadata', 'unsafeMetadata', 'userMetadata']

export function isUserWritable (reference: string): boolean {
  return keysOf(reference).some((key) => USER_WRITABLE.includes(key))
}

export const USER_WRITABLE_SUBJECT = 'is in metadata that users can write themselves: each could become any other'

/** The top-level claim that a reference reads. */
export function claimOf (reference: string): string {
  return keysOf(reference)[0] as string
}

/** Whether a reference reads this top-level claim, and all of it. */
export function readsClaim (reference: string, name: string): boolean {
  const [key, ...below] = keysOf(reference)
  return key === name && below.length === 0
}

export function claimReader (reference: string): ReadClaim {
  const keys = keysOf(reference)
  return (claims) => {
    let at: Json | undefined = claims
    for (const key of keys) {
      if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined
      if (Array.isArray(at) && !/^(0|[1-9]\d*)$/.test(key)) return undefined
      at = (at as JsonObject)[key]
    }
    return at
  }
}

/** Claim reference → accepted value or values; null, alone or in a list, accepts a claim that is absent. */
export type Conditions = Readonly<Record<string, Scalar | null | readonly (Scalar | null)[]>>
type Scalar = string | number | boolean

/** `hasUnknownClaims`: only `iss` and `sub` are known, so a condition on any other claim fails. */
export type MatchClaims = (claims: JsonObject, hasUnknownClaims?: boolean) => boolean

/** Matches if every condition holds. */
export function claimMatcher (conditions: Conditions): MatchClaims {
  const matchers = Object.entries(conditions).map(([reference, expected]): MatchClaims => {
    const read = claimReader(reference)
    const accepted = new Set<Json>([expected].flat())
    const isAlwaysKnown = isIssuerOrSubject(reference)
    const matches = isScope(reference) ? matchesScope : matchesClaim
    return (claims, hasUnknownClaims = false) => {
      if (hasUnknownClaims && !isAlwaysKnown) return false
      const claim = read(claims) ?? null
      return claim === null ? accepted.has(null) : matches(claim, accepted)
    }
  })
  return (claims, hasUnknownClaims) => matchers.every((matches) => matches(claims, hasUnknownClaims))
}

/** An array matches by one of its members, an object by a name that is set there. */
function matchesClaim (claim: Json, accepted: ReadonlySet<Json>): boolean {
  if (Array.isArray(claim)) return claim.some((one) => one !== null && accepted.has(one))
  if (!isObject(claim)) return accepted.has(claim)
  return Object.entries(claim).some(([name, value]) => value !== null && value !== false && accepted.has(name))
}

/** A text is a list of words between spaces (RFC 8693, section 4.2). */
function matchesScope (claim: Json, accepted: ReadonlySet<Json>): boolean {
  return matchesClaim(typeof claim === 'string' ? claim.split(' ') : claim, accepted)
}

/** The claims that every caller has, as text. */
function isIssuerOrSubject (reference: string): boolean {
  return ['iss', 'sub'].some((name) => readsClaim(reference, name))
}

function isScope (reference: string): boolean {
  return ['scope', 'scp'].some((name) => readsClaim(reference, name))
}

/** Conditions that no claim can meet: no scope is empty or contains white space, and `iss` and `sub` are text. */
export function impossibleConditions (conditions: Conditions): { reference: string, problem: string }[] {
  return Object.entries(conditions).flatMap(([reference, expected]) => {
    const values = [expected].flat()
    if (isScope(reference)) return values.some(isNoScope) ? [{ reference, problem: SCOPE_ADVICE }] : []
    return isIssuerOrSubject(reference) && values.some((value) => ['number', 'boolean'].includes(typeof value))
      ? [{ reference, problem: 'can never match: this claim is text, so write the value in quotes' }]
      : []
  })
}

const isNoScope = (value: Json) => typeof value === 'string' && /^$|\s/.test(value)
const SCOPE_ADVICE = 'can never match: a scope is one word without white space; a list means one of several'

function keysOf (reference: string): Path {
  return reference.startsWith('/') ? pointerPath(reference) : [reference]
}

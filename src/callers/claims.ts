// Reading claims by name, or nested ones by JSON Pointer (RFC 6901), and matching them. Own properties only.

import { type Json, type JsonObject, type Path, pointerPath } from '../json.ts'

export type ReadClaim = (claims: JsonObject) => Json | undefined

/** Metadata that users of Supabase, Auth0 and Clerk can write themselves, so it must not grant anything. */
const USER_WRITABLE = ['user_metadata', 'unsafe_metadata', 'unsafeMetadata', 'userMetadata']

export function isUserWritable (reference: string): boolean {
  return keysOf(reference).some((key) => USER_WRITABLE.includes(key))
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

/** Claim reference → accepted value or values; null means that the claim must be absent. */
export type Conditions = Readonly<Record<string, Scalar | null | readonly Scalar[]>>
type Scalar = string | number | boolean

/** True if every condition holds. An array claim matches if one of its members does. */
export function claimMatcher (conditions: Conditions): (claims: JsonObject) => boolean {
  const matchers = Object.entries(conditions).map(([reference, expected]) => {
    const read = claimReader(reference)
    if (expected === null) return (claims: JsonObject) => (read(claims) ?? null) === null
    const accepted: ReadonlySet<Json> = new Set([expected].flat())
    return (claims: JsonObject) => {
      const claim = read(claims)
      return claim !== undefined &&
        (Array.isArray(claim) ? claim.some((one) => accepted.has(one)) : accepted.has(claim))
    }
  })
  return (claims) => matchers.every((matches) => matches(claims))
}

function keysOf (reference: string): Path {
  return reference.startsWith('/') ? pointerPath(reference) : [reference]
}

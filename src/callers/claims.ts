// Reading one claim: by its name, or by a JSON Pointer (RFC 6901) where it lies deeper. Own properties only.

import type { Json, JsonObject } from '../json.ts'

export type ReadClaim = (claims: JsonObject) => Json | undefined

/** Metadata that users of Supabase, Auth0 and Clerk can write themselves: no ground for granting anything. */
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

function keysOf (reference: string): string[] {
  if (!reference.startsWith('/')) return [reference]
  return reference.slice(1).split('/').map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'))
}

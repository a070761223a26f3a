// Removes a policy's secrets from the session that upstream returns: at the paths where the policy has them, and
// wherever else a text or a name contains one.

import { isObject, type Json, type JsonObject } from '../json.ts'

/** The name of a member, or null for every item of a list: upstream may reorder and extend lists. */
export type Step = string | null

export type Secret = Readonly<{ path: readonly Step[], value: string }>

/** A session whose `$env` and `$file` are replaced by their secrets, and the paths of these. */
export type Inlined = Readonly<{ session: JsonObject, secrets: readonly Secret[] }>

export type Conceal = (session: JsonObject) => JsonObject

/** Shorter values are removed only if they are the whole text: almost every text contains them. */
const MIN_SEARCHED_LENGTH = 4
/** Deeper than any session. Anything deeper is not searched, and so removed. */
const MAX_DEPTH = 64

/** Null if there is nothing to conceal, as in most policies. */
export function compileConceal (secrets: readonly Secret[]): Conceal | null {
  if (secrets.length === 0) return null
  const paths = secrets.map(({ path }) => path.slice(0, path.findLastIndex((step) => step !== null) + 1))
  const values = [...new Set(secrets.map(({ value }) => value))]
  const reveals = (text: string) =>
    values.some((value) => value.length < MIN_SEARCHED_LENGTH ? text === value : text.includes(value))
  return (session) => search(paths.reduce<Json>(omitAt, session), reveals, 0) as JsonObject
}

function omitAt (value: Json, [step, ...rest]: readonly Step[]): Json {
  if (step === null) return Array.isArray(value) ? value.map((item) => omitAt(item, rest)) : value
  if (step === undefined || !isObject(value) || !Object.hasOwn(value, step)) return value
  const { [step]: inner, ...others } = value
  return rest.length === 0 ? others : { ...value, [step]: omitAt(inner as Json, rest) }
}

/** Undefined if nothing of the value may be shown. */
function search (value: Json, reveals: (text: string) => boolean, depth: number): Json | undefined {
  if (typeof value === 'string') return reveals(value) ? undefined : value
  if (typeof value !== 'object' || value === null) return value
  if (depth === MAX_DEPTH) return undefined
  if (Array.isArray(value)) {
    return value.map((item) => search(item, reveals, depth + 1)).filter((item) => item !== undefined)
  }
  return Object.fromEntries(Object.entries(value).flatMap(([key, inner]) => {
    const shown = reveals(key) ? undefined : search(inner, reveals, depth + 1)
    return shown === undefined ? [] : [[key, shown]]
  }))
}

// Templates in fixed, default and prompt values: {{claim}}, {{/json/pointer}}, {{variables.x}}, each with |default text.
// One pass: what a claim says is never read as a template again.

import { claimReader } from '../callers/claims.ts'
import { isObject, type Json, type JsonObject, type Path } from '../json.ts'

/** What a template may read: the caller's claims, and the variables that the client gave to a prompt. */
export type Scope = Readonly<{ claims: JsonObject, variables: JsonObject }>

/** Thrown where a value is missing and the template has no default. */
export class MissingValue extends Error {}

export type Template = Readonly<{
  /** As written. */
  source: JsonObject
  /** Where nothing is a template this is `source` itself: shared by all requests, free at each. */
  render: (scope: Scope) => JsonObject
  /** Where strings are templates, indices of arrays included. */
  paths: Path[]
  /** Where braces are left over that no placeholder explains: a slip of the pen, not a text. */
  malformed: Path[]
  references: string[]
}>

const PLACEHOLDER = /\{\{([^{}|]*[^{}|\s][^{}|]*)(?:\|([^{}]*))?\}\}/g
// Control characters, bidirectional overrides and line separators: what could break out of the sentence it is put into.
const UNPRINTABLE = /[\p{Cc}\p{Cs}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u
const MAX_LENGTH = 256

/** `secrets` are strings that stand for themselves, whatever is in them. */
export function compileTemplate (source: JsonObject, secrets: ReadonlySet<string>): Template {
  const found: Found = { paths: [], malformed: [], references: [], secrets }
  const render = compileValue(source, [], found) ?? (() => source)
  return {
    source,
    render: render as (scope: Scope) => JsonObject,
    paths: found.paths,
    malformed: found.malformed,
    references: found.references
  }
}

type Render = (scope: Scope) => Json
type Found = { paths: Path[], malformed: Path[], references: string[], secrets: ReadonlySet<string> }

/** Null where nothing below is a template: such values are shared by all requests, not copied. */
function compileValue (value: Json, path: Path, found: Found): Render | null {
  if (typeof value === 'string') return found.secrets.has(value) ? null : compileString(value, path, found)
  if (Array.isArray(value)) {
    const items = value.map((item, i) => compileValue(item, [...path, String(i)], found))
    return items.some(Boolean) ? (scope) => value.map((item, i) => items[i]?.(scope) ?? item) : null
  }
  if (!isObject(value)) return null
  const members = Object.entries(value).map(
    ([key, inner]) => [key, inner, compileValue(inner, [...path, key], found)] as const
  )
  if (!members.some(([, , render]) => render)) return null
  return (scope) => Object.fromEntries(members.map(([key, inner, render]) => [key, render?.(scope) ?? inner]))
}

function compileString (text: string, path: Path, { paths, malformed, references }: Found): Render | null {
  // `}}` alone is how JSON in a text ends.
  if (text.replaceAll(PLACEHOLDER, '').includes('{{')) malformed.push(path)
  const parts: Render[] = []
  let end = 0
  for (const match of text.matchAll(PLACEHOLDER)) {
    const [whole, reference = '', fallback] = match
    const before = text.slice(end, match.index)
    const read = readerOf(reference.trim())
    references.push(reference.trim())
    parts.push(() => before, (scope) => insertable(read(scope)) ?? fallback ?? missing())
    end = match.index + whole.length
  }
  if (parts.length === 0) return null
  paths.push(path)
  const rest = text.slice(end)
  return (scope) => parts.map((part) => part(scope)).join('') + rest
}

function readerOf (reference: string): (scope: Scope) => Json | undefined {
  const variable = /^variables\.(.+)$/.exec(reference)?.[1]
  if (variable !== undefined) {
    return ({ variables }) => Object.hasOwn(variables, variable) ? variables[variable] : undefined
  }
  const read = claimReader(reference)
  return ({ claims }) => read(claims)
}

function insertable (value: Json | undefined): string | undefined {
  if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') return undefined
  const text = String(value)
  return text.length > MAX_LENGTH || UNPRINTABLE.test(text) ? undefined : text
}

function missing (): never {
  throw new MissingValue()
}

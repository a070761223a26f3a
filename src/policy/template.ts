// Templates in fixed, default and prompt values: {{claim}}, {{/json/pointer}}, {{variables.x}}, each with |default.
// Rendered in one pass: the value of a claim is never parsed as a template.

import { claimReader } from '../callers/claims.ts'
import { isObject, type Json, type JsonObject, type Path } from '../json.ts'

/** The values that a template may read: the caller's claims, and the client's variables for a prompt. */
export type Scope = Readonly<{ claims: JsonObject, variables: JsonObject }>

/** A value is missing, and the template has no default. */
export class MissingValue extends Error {}

export type Template = Readonly<{
  /** As written. */
  source: JsonObject
  /** Returns `source` itself if it has no templates: shared by all requests. */
  render: (scope: Scope) => JsonObject
  /** Paths of the strings that are templates, including indices of arrays. */
  paths: Path[]
  /** Paths of strings with a `{{` that does not begin a placeholder: probably a typo. */
  malformed: Path[]
  references: string[]
}>

const PLACEHOLDER = /\{\{([^{}|]*[^{}|\s][^{}|]*)(?:\|([^{}]*))?\}\}/g
// Control characters, bidirectional overrides and line separators could break out of the surrounding sentence.
const UNPRINTABLE = /[\p{Cc}\p{Cs}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u
const MAX_LENGTH = 256

/** `secrets` are never parsed as templates. */
export function compileTemplate (source: JsonObject, secrets: ReadonlySet<string>): Template {
  const found: Scan = { paths: [], malformed: [], references: [], secrets }
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
type Scan = { paths: Path[], malformed: Path[], references: string[], secrets: ReadonlySet<string> }

/** Null if the value has no templates: it is shared by all requests, not copied. */
function compileValue (value: Json, path: Path, found: Scan): Render | null {
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

function compileString (text: string, path: Path, { paths, malformed, references }: Scan): Render | null {
  // `}}` alone is no typo: JSON in a text ends with it.
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

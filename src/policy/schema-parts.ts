// The parts of a JSON Schema, for reading one without compiling it.

import { isObject, type Json, type JsonObject, pointerPath } from '../json.ts'

const ONE = [
  'additionalProperties', 'contains', 'else', 'if', 'items', 'not', 'propertyNames', 'then', 'unevaluatedItems',
  'unevaluatedProperties'
]
const LISTS = ['allOf', 'anyOf', 'oneOf', 'prefixItems']
const MAPS = ['$defs', 'definitions', 'dependencies', 'dependentSchemas', 'patternProperties', 'properties']

/** Whether `has` is true of a schema inside this one. Values under `enum` and `const` are not schemas. */
export function someSubschema (schema: Json, has: (part: JsonObject) => boolean): boolean {
  if (!isObject(schema)) return false
  const parts = [
    ...ONE.map((key) => schema[key]),
    ...LISTS.flatMap((key) => list(schema[key])),
    ...MAPS.flatMap((key) => values(schema[key]))
  ]
  return parts.some((part) => isObject(part) && (has(part) || someSubschema(part, has)))
}

/** The target of a reference inside `root`; `{}`, an open schema, for any other reference. */
export function resolve (reference: string, root: Json): Json {
  // Ajv decodes percent-encoded references: avoid a second reading that may differ.
  if ((reference !== '#' && !reference.startsWith('#/')) || reference.includes('%')) return {}
  const member = (at: Json, key: string): Json =>
    typeof at === 'object' && at !== null && Object.hasOwn(at, key) ? (at as JsonObject)[key] as Json : {}
  return pointerPath(reference.slice(1)).reduce(member, root)
}

/** The check of `uniqueItems`, in linear time. */
export function isDistinct (items: readonly Json[]): boolean {
  return new Set(items.map(canonical)).size === items.length
}

/** The same text for equal values, whatever the order of their members. */
function canonical (value: Json): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (!isObject(value)) return JSON.stringify(value)
  const members = Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical(value[key] as Json)}`)
  return `{${members.join(',')}}`
}

export function values (members: Json | undefined): Json[] {
  return isObject(members) ? Object.values(members) : []
}

export function list (items: Json | undefined): Json[] {
  return Array.isArray(items) ? items : []
}

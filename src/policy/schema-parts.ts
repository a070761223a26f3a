// What a JSON Schema is made of, as far as reading one without compiling it needs that.

import { isObject, type Json, type JsonObject } from '../json.ts'

const ONE = [
  'additionalProperties', 'contains', 'else', 'if', 'items', 'not', 'propertyNames', 'then', 'unevaluatedItems', 'unevaluatedProperties'
]
const LISTS = ['allOf', 'anyOf', 'oneOf', 'prefixItems']
const MAPS = ['$defs', 'definitions', 'dependencies', 'dependentSchemas', 'patternProperties', 'properties']

/** Whether `has` is true of a schema inside this one. Values under `enum` and `const` are no schemas. */
export function someSubschema (schema: Json, has: (part: JsonObject) => boolean): boolean {
  if (!isObject(schema)) return false
  const parts = [
    ...ONE.map((key) => schema[key]),
    ...LISTS.flatMap((key) => list(schema[key])),
    ...MAPS.flatMap((key) => values(schema[key]))
  ]
  return parts.some((part) => isObject(part) && (has(part) || someSubschema(part, has)))
}

/** Follows a reference into the schema itself; what it leads to elsewhere is not known to be closed: `{}`. */
export function resolve (reference: string, root: Json): Json {
  // Ajv decodes what is percent-encoded: two readings of one name are one too many.
  if ((reference !== '#' && !reference.startsWith('#/')) || reference.includes('%')) return {}
  const keys = reference.split('/').slice(1).map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'))
  const member = (at: Json, key: string): Json =>
    typeof at === 'object' && at !== null && Object.hasOwn(at, key) ? (at as JsonObject)[key] as Json : {}
  return keys.reduce(member, root)
}

/** As `uniqueItems` asks, in a time that grows with the list and not with its square. */
export function isDistinct (items: readonly Json[]): boolean {
  return new Set(items.map(canonical)).size === items.length
}

/** One text for equal values: the order of members does not count. */
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

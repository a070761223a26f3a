// A value reduced to what its schema names. As Fastify's serializer it keeps whatever upstream adds from leaking, where
// fast-json-stringify would throw or coerce once upstream's value departs from its documented type.

import type { TSchema } from 'typebox'
import { isObject } from '../json.ts'

/** Never throws, never coerces. Undefined: nothing of the value may be shown. */
export type Project = (value: unknown) => unknown

type Node = TSchema & {
  anyOf?: Node[]
  items?: Node
  properties?: Record<string, Node>
  patternProperties?: Record<string, Node>
}

const ANNOTATIONS = ['title', 'description', 'default', 'examples', 'deprecated']

/**
 * Objects keep the members that the schema names, of a union those of all its variants. Scalars pass as they are, `Unknown`
 * passes whole. An object or array where the schema has none is left out: nobody vouched for what is inside.
 */
export function projector (schema: TSchema): Project {
  return compile([schema])
}

function compile (schemas: Node[]): Project {
  const variants = schemas.flatMap(variantsOf)
  if (variants.some(isOpen)) return (value) => value
  const takesObjects = variants.some(({ properties, patternProperties }) => properties ?? patternProperties)
  const members = compileMembers(variants)
  const records = variants.flatMap(({ patternProperties }) => Object.values(patternProperties ?? {}))
  const others = records.length > 0 ? compile(records) : null
  const items = variants.flatMap((variant) => variant.items ?? [])
  const item = items.length > 0 ? compile(items) : null

  return (value) => {
    if (Array.isArray(value)) return item === null ? undefined : value.map(item).filter((inner) => inner !== undefined)
    if (!isObject(value)) return value
    if (!takesObjects) return undefined
    // A loop, because every answer passes here.
    const kept: Record<string, unknown> = {}
    for (const key of Object.keys(value)) {
      const inner = (members.get(key) ?? others)?.(value[key])
      if (inner !== undefined) kept[key] = inner
    }
    return kept
  }
}

function compileMembers (variants: Node[]): Map<string, Project> {
  const named = Map.groupBy(variants.flatMap(({ properties }) => Object.entries(properties ?? {})), ([key]) => key)
  return new Map([...named].map(([key, entries]) => [key, compile(entries.map(([, schema]) => schema))]))
}

function variantsOf (schema: Node): Node[] {
  return schema.anyOf ? schema.anyOf.flatMap(variantsOf) : [schema]
}

/** Only a schema that says nothing lets everything through; one that says it in words we do not read lets through no object. */
function isOpen (schema: Node): boolean {
  return Object.keys(schema).every((keyword) => ANNOTATIONS.includes(keyword))
}

// A value reduced to what its schema names. As Fastify's serializer it keeps whatever upstream adds from leaking, where
// fast-json-stringify would throw or coerce once upstream's value departs from its documented type.

import type { FastifyServerOptions } from 'fastify'
import type { TSchema } from 'typebox'
import { isObject, variantsOf } from '../json.ts'

/** Never throws, never coerces, never changes the value. Undefined: nothing of it may be shown. */
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

/** For every listener: what a schema does not name does not leave. Fastify's own compilers are not loaded: 15 ms of a start. */
export const schemaController: NonNullable<FastifyServerOptions['schemaController']> = {
  compilersFactory: {
    buildSerializer: () => ({ schema }) => {
      const project = projector(schema as object)
      return (value) => JSON.stringify(project(value))
    },
    /* c8 ignore next -- no route has a schema of what comes in: bodies are the policy's to judge */
    buildValidator: () => () => { throw new Error('nothing is validated here') }
  }
}

function compile (schemas: Node[]): Project {
  const variants = schemas.flatMap((schema) => variantsOf(schema))
  if (variants.some(isOpen)) return (value) => value
  const takesObjects = variants.some(({ properties, patternProperties }) => properties ?? patternProperties)
  const members = compileMembers(variants)
  const records = variants.flatMap(({ patternProperties }) => Object.values(patternProperties ?? {}))
  const others = records.length > 0 ? compile(records) : null
  const items = variants.flatMap((variant) => variant.items ?? [])
  const item = items.length > 0 ? compile(items) : null

  return (value) => {
    if (Array.isArray(value)) return item === null ? undefined : projectItems(value, item)
    if (!isObject(value)) return value
    if (!takesObjects) return undefined
    // A loop, and a copy only of what loses something: every answer passes here.
    let kept: Record<string, unknown> = value
    for (const key in value) {
      const inner = value[key]
      const shown = (members.get(key) ?? others)?.(inner)
      if (shown === inner) continue
      if (kept === value) kept = { ...value }
      if (shown === undefined) delete kept[key]
      else kept[key] = shown
    }
    return kept
  }
}

function projectItems (values: readonly unknown[], project: Project): readonly unknown[] {
  const shown = values.map(project)
  return shown.every((inner, i) => inner === values[i]) ? values : shown.filter((inner) => inner !== undefined)
}

function compileMembers (variants: Node[]): Map<string, Project> {
  const named = Map.groupBy(variants.flatMap(({ properties }) => Object.entries(properties ?? {})), ([key]) => key)
  return new Map([...named].map(([key, entries]) => [key, compile(entries.map(([, schema]) => schema))]))
}

/** Only a schema that says nothing lets everything through; one that says it in words we do not read lets through no object. */
function isOpen (schema: Node): boolean {
  return Object.keys(schema).every((keyword) => ANNOTATIONS.includes(keyword))
}

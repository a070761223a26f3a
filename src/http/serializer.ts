// Reduces a value to the members that its schema names. As Fastify's serializer it keeps what upstream adds from
// leaking; fast-json-stringify would throw or coerce if a value of upstream's is not of its documented type.

import type { FastifyServerOptions } from 'fastify'
import type { TSchema } from 'typebox'
import { isObject, variantsOf } from '../json.ts'

/** Never throws, coerces or changes the value. Undefined: no part of it may be shown. */
export type Project = (value: unknown) => unknown

type SchemaPart = TSchema & {
  anyOf?: SchemaPart[]
  items?: SchemaPart
  properties?: Record<string, SchemaPart>
  patternProperties?: Record<string, SchemaPart>
}

const ANNOTATIONS = ['title', 'description', 'default', 'examples', 'deprecated']

/**
 * Objects keep the members that the schema names, of a union those of all its variants. Scalars pass as they are,
 * `Unknown` passes whole. An object or array where the schema has none is left out: its content is undocumented.
 */
export function projector (schema: TSchema): Project {
  return compile([schema])
}

/** For both listeners. Fastify's own compilers are not loaded, which saves 15 ms of a start. */
export const schemaController: NonNullable<FastifyServerOptions['schemaController']> = {
  compilersFactory: {
    buildSerializer: () => ({ schema }) => {
      const project = projector(schema as object)
      return (value) => JSON.stringify(project(value))
    },
    /* c8 ignore next -- no route has a schema of its input: the policy checks bodies */
    buildValidator: () => () => { throw new Error('nothing is validated here') }
  }
}

function compile (schemas: SchemaPart[]): Project {
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
    // A loop that copies only objects which lose a member: every answer passes here.
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

function compileMembers (variants: SchemaPart[]): Map<string, Project> {
  const named = Map.groupBy(variants.flatMap(({ properties }) => Object.entries(properties ?? {})), ([key]) => key)
  return new Map([...named].map(([key, entries]) => [key, compile(entries.map(([, schema]) => schema))]))
}

/** Only an empty schema lets everything through. A schema of unknown keywords lets no object through. */
function isOpen (schema: SchemaPart): boolean {
  return Object.keys(schema).every((keyword) => ANNOTATIONS.includes(keyword))
}

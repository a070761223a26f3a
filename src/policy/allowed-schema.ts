// JSON Schemas of a policy (2020-12): compiled by Ajv, and required to be explicit about what objects may contain.

import { Ajv2020 } from 'ajv/dist/2020.js'
import { isObject, type Json, type JsonObject, leafPaths, type Path } from '../json.ts'
import { isDistinct, list, resolve, someSubschema, values } from './schema-parts.ts'

/** Whether a client's value meets the schema. */
export type Accepts = (value: unknown) => boolean

/** Throws an Error whose message describes what is wrong with the schema. */
export type CompileSchema = (schema: boolean | object) => Accepts

// Refuse, never repair: nothing is dropped, filled or coerced. `strict` makes an unknown keyword or format an error.
const OPTIONS = {
  strict: true,
  strictTypes: false,
  strictRequired: false,
  removeAdditional: false,
  coerceTypes: false,
  useDefaults: false,
  logger: false
} as const

/** Validates schemas and compiles none: the meta-schema takes as long to compile as a whole policy file. */
const validator = new Ajv2020(OPTIONS)

const isLength = (value: unknown) => Number.isInteger(value) && value as number >= 0
const isText = (value: unknown) => typeof value === 'string'
/** Checks of the keywords that most policies use, by hand: compiling the meta-schema takes 60 ms. */
const PLAIN = new Map<string, (value: unknown) => boolean>([
  ['type', (value) => ['string', 'number', 'integer', 'boolean', 'null'].includes(value as string)],
  ['enum', Array.isArray],
  ['const', () => true],
  ['description', isText],
  ['pattern', isText],
  ...['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum'].map((name) => [name, Number.isFinite] as const),
  ...['minLength', 'maxLength'].map((name) => [name, isLength] as const)
])

/** True only for what the meta-schema accepts. */
export function isPlain (schema: unknown): boolean {
  return isObject(schema) && Object.entries(schema).every(([name, value]) => PLAIN.get(name)?.(value) === true)
}

/** A new one for each load of the policy file: Ajv keeps everything that it compiled. */
export function schemaCompiler (): CompileSchema {
  const ajv = new Ajv2020({ ...OPTIONS, validateSchema: false })
  // Ajv compares every item with every other: a list of 32 KiB would block all requests for a fifth of a second.
  ajv.removeKeyword('uniqueItems')
  ajv.addKeyword({
    keyword: 'uniqueItems',
    type: 'array',
    schemaType: 'boolean',
    compile: (unique: boolean) => (items: Json[]) => !unique || isDistinct(items)
  })
  return (schema) => {
    if (!isPlain(schema) && !validator.validateSchema(schema)) {
      const faults = validator.errors?.map(({ instancePath, message }) => `${instancePath} ${message}`.trim())
      throw new Error(faults?.join(', '))
    }
    // Ajv would resolve references inside such a part differently from `openness`.
    if (someSubschema(schema as Json, (part) => '$id' in part)) {
      throw new Error('has a part with an $id of its own: leave that out')
    }
    try {
      return withoutThrowing(ajv.compile(schema))
    } catch (error) {
      throw new Error(withoutValues(error as Error))
    }
  }
}

/** Ajv calls an object's own `toString` and `valueOf`, and throws if a client put a number there: no match. */
function withoutThrowing (validate: (value: unknown) => unknown): Accepts {
  return (value) => {
    try {
      return validate(value) === true
    } catch {
      return false
    }
  }
}

/** Keeps values out of the message: Ajv quotes patterns, formats and references. Keywords may be quoted. */
function withoutValues (error: Error): string {
  if (error instanceof Ajv2020.MissingRefError) return 'has a $ref to a part that it does not have'
  if (error.message.startsWith('strict mode: ')) return error.message
  return error.message.startsWith('unknown format')
    ? 'names a format, and formats are not checked'
    : 'has a keyword with an invalid value, such as an empty enum or a broken pattern'
}

/**
 * The part that a schema leaves open by default, described for its author; null if there is none. A schema that admits
 * objects must set `additionalProperties` and one that admits arrays `items`, at every depth: the defaults admit
 * anything. `followed` holds the result by reference, null while in progress, so that a schema may refer to itself.
 */
export function openness (
  schema: Json, root: Json = schema, followed = new Map<string, string | null>()
): string | null {
  if (!isObject(schema) || 'enum' in schema || 'const' in schema) return null
  const below = (inner: Json | undefined) => inner === undefined ? null : openness(inner, root, followed)

  if (typeof schema.$ref === 'string' && Object.keys(schema).every((key) => key === '$ref' || key === '$defs')) {
    const { $ref: reference } = schema
    if (!followed.has(reference)) {
      followed.set(reference, null)
      followed.set(reference, below(resolve(reference, root)))
    }
    return followed.get(reference) as string | null
  }
  const inside = [
    ...values(schema.properties), ...values(schema.patternProperties), ...list(schema.prefixItems),
    schema.additionalProperties, schema.items
  ].map(below).find((found) => found !== null)
  if (inside !== undefined) return inside

  const types = schema.type === undefined ? undefined : [schema.type].flat()
  if (types === undefined) {
    // A schema is closed if all branches of anyOf or oneOf are, or one of allOf.
    const alternatives = [schema.anyOf, schema.oneOf].filter(Array.isArray)
    if (alternatives.some((branches) => branches.every((branch) => below(branch) === null))) return null
    if (list(schema.allOf).some((branch) => below(branch) === null)) return null
    if (alternatives.length > 0) {
      return 'a branch of anyOf or oneOf admits objects or arrays: set additionalProperties or items there'
    }
  }
  const admits = (type: string) => types === undefined || types.includes(type)
  if (admits('object') && schema.additionalProperties === undefined) {
    return types === undefined
      ? 'set its type, or additionalProperties (an object would pass)'
      : 'a schema that admits objects must set additionalProperties (false, or true for anything)'
  }
  if (admits('array') && schema.items === undefined) {
    return 'a schema that admits arrays must set items'
  }
  return null
}

/** `path`, and every path below it that the schema names. */
export function pathsIn (schema: Json, path: Path): Path[] {
  if (!isObject(schema)) return [path]
  const named = isObject(schema.properties)
    ? Object.entries(schema.properties).flatMap(([key, inner]) => pathsIn(inner, [...path, key]))
    : []
  const branches = [schema.anyOf, schema.oneOf, schema.allOf].flatMap(list).flatMap(
    (branch) => pathsIn(branch, path).slice(1)
  )
  const values = [...list(schema.enum), schema.const].flatMap((value) => isObject(value) ? leafPaths(value, path) : [])
  return [path, ...named, ...branches, ...values]
}

/** Whether it has an enum or a const with an object in it. */
export function listsObjects (schema: Json): boolean {
  const lists = ({ enum: listed, const: constant }: JsonObject) => [...list(listed), constant].some(isObject)
  return isObject(schema) && (lists(schema) || someSubschema(schema, lists))
}

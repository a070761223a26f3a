// The JSON Schemas that a policy author writes: compiled by Ajv (2020-12), and held to say what objects may contain.

import { Ajv2020 } from 'ajv/dist/2020.js'
import { isObject, type Json } from '../json.ts'

/** Tells whether a client's value meets the schema. */
export type Accepts = (value: unknown) => boolean

/** Throws an Error whose message says what is wrong with the schema. */
export type CompileSchema = (schema: boolean | object) => Accepts

/** One for each reading of the policy file: Ajv keeps all it ever compiled. */
export function schemaCompiler (): CompileSchema {
  // Refuse, never repair: nothing is dropped, filled or coerced. `strict` makes an unknown keyword or format an error.
  const ajv = new Ajv2020({
    strict: true,
    strictTypes: false,
    strictRequired: false,
    removeAdditional: false,
    coerceTypes: false,
    useDefaults: false,
    logger: false
  })
  return (schema) => {
    const validate = ajv.compile(schema)
    return (value) => validate(value) === true
  }
}

/**
 * What a schema leaves open without saying so, or null. A schema that admits objects must say `additionalProperties`
 * itself and one that admits arrays `items`, at every depth, because their defaults admit anything.
 */
export function openness (schema: Json, root: Json = schema, depth = 0): string | null {
  if (typeof schema === 'boolean' || !isObject(schema) || 'enum' in schema || 'const' in schema) return null
  // A schema that refers to itself was looked into on the way here.
  if (depth > 32) return null
  const below = (inner: Json | undefined) => inner === undefined ? null : openness(inner, root, depth + 1)

  if (typeof schema.$ref === 'string' && Object.keys(schema).every((key) => key === '$ref' || key === '$defs')) {
    return below(resolve(schema.$ref, root))
  }
  const inside = [
    ...values(schema.properties), ...values(schema.patternProperties), ...list(schema.prefixItems),
    schema.additionalProperties, schema.items, schema.unevaluatedProperties, schema.unevaluatedItems
  ].map(below).find((found) => found !== null)
  if (inside !== undefined) return inside

  const types = schema.type === undefined ? undefined : [schema.type].flat()
  const alternatives = [schema.anyOf, schema.oneOf].filter(Array.isArray)
  if (types === undefined && alternatives.length > 0) {
    return alternatives.map((branches) => branches.map(below).find((found) => found !== null) ?? null)
      .find((found) => found === null) === null
      ? null
      : 'a branch of anyOf or oneOf admits objects or arrays: say additionalProperties or items there'
  }
  if (types === undefined && list(schema.allOf).some((branch) => below(branch) === null)) return null
  const admits = (type: string) => types === undefined || types.includes(type)
  if (admits('object') && schema.additionalProperties === undefined && schema.unevaluatedProperties === undefined) {
    return types === undefined
      ? 'say its type, or additionalProperties (an object would pass)'
      : 'a schema that admits objects says additionalProperties (false, or true for anything)'
  }
  if (admits('array') && schema.items === undefined && schema.unevaluatedItems === undefined) {
    return 'a schema that admits arrays says items'
  }
  return null
}

/** True where every item of an admitted `tools` array has its `type` fixed by const or enum. */
export function fixesToolTypes (schema: Json): boolean {
  const everyTool = (tools: Json, depth = 0): boolean => {
    if (!isObject(tools) || depth > 32) return false
    if ('enum' in tools || 'const' in tools || tools.type === 'null') return true
    if (typeof tools.$ref === 'string') return everyTool(resolve(tools.$ref, schema), depth + 1)
    if (tools.items !== undefined) return [tools.items, ...list(tools.prefixItems)].every((item) => tool(item, depth + 1))
    const branches = list(tools.anyOf ?? tools.oneOf)
    return branches.length > 0 && branches.every((branch) => everyTool(branch, depth + 1))
  }
  const tool = (item: Json, depth: number): boolean => {
    if (item === false) return true
    if (!isObject(item) || depth > 32) return false
    if ('enum' in item || 'const' in item) return true
    if (typeof item.$ref === 'string') return tool(resolve(item.$ref, schema), depth + 1)
    const type = isObject(item.properties) ? item.properties.type : undefined
    if (isObject(type) && ('enum' in type || 'const' in type)) return true
    const branches = list(item.anyOf ?? item.oneOf)
    return branches.length > 0 && branches.every((branch) => tool(branch, depth + 1))
  }
  return everyTool(schema)
}

/** Follows a reference into the schema itself; one that leads elsewhere does not compile, and admits anything here. */
function resolve (reference: string, root: Json): Json {
  return reference.split('/').slice(1).reduce<Json>((at, key) =>
    isObject(at) ? at[key.replaceAll('~1', '/').replaceAll('~0', '~')] ?? true : true, root)
}

function values (members: Json | undefined): Json[] {
  return isObject(members) ? Object.values(members) : []
}

function list (items: Json | undefined): Json[] {
  return Array.isArray(items) ? items : []
}

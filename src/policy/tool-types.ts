// Whether a schema for `tools` admits only tools of the types that it names: another type may call other servers.

import { isObject, type Json, type JsonObject } from '../json.ts'
import { list, resolve } from './schema-parts.ts'

/** True if every tool of an admitted list must have a `type`, out of a const or enum. */
export function fixesToolTypes (schema: Json): boolean {
  const always = prover(schema)
  const hasType = (item: Json) => always(item, ({ required }) => list(required).includes('type'), isTyped)
  const fixesType = (item: Json) => always(item, ({ properties }) =>
    isObject(properties) && always(properties.type ?? true, () => false, (type) => typeof type === 'string'), isTyped)
  const isTool = (item: Json) => hasType(item) && fixesType(item)
  const ofTools = ({ type, items, prefixItems }: JsonObject) =>
    type === 'null' || (items !== undefined && [items, ...list(prefixItems)].every(isTool))
  return always(schema, ofTools, (value) => list(value).every(isTyped))
}

function isTyped (value: Json): boolean {
  return isObject(value) && typeof value.type === 'string'
}

type Always = (schema: Json, requires: (schema: JsonObject) => boolean, isOne: (value: Json) => boolean) => boolean

/**
 * Whether every value that a schema admits has a property: the schema `requires` it, each value that it lists `isOne`,
 * a part of allOf guarantees it, or every branch of anyOf, of oneOf or of if does.
 */
function prover (root: Json): Always {
  // A reference to itself proves nothing.
  const followed = new Set<string>()
  const always: Always = (schema, requires, isOne) => {
    const every = (parts: readonly (Json | undefined)[]) =>
      parts.length > 0 && parts.every((part) => part !== undefined && always(part, requires, isOne))
    const refers = (reference: Json | undefined): boolean => {
      if (typeof reference !== 'string' || followed.has(reference)) return false
      followed.add(reference)
      const found = always(resolve(reference, root), requires, isOne)
      followed.delete(reference)
      return found
    }
    if (!isObject(schema)) return schema === false
    if (schema.const !== undefined && isOne(schema.const)) return true
    return (Array.isArray(schema.enum) && schema.enum.every(isOne)) || requires(schema) || refers(schema.$ref) ||
      list(schema.allOf).some((part) => always(part, requires, isOne)) ||
      every(list(schema.anyOf)) || every(list(schema.oneOf)) ||
      (schema.if !== undefined && every([schema.then, schema.else]))
  }
  return always
}

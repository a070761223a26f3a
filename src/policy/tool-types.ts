// Whether a schema for `tools` admits only tools of a type that it names: one of another type may call other servers.

import { isObject, type Json, type JsonObject } from '../json.ts'
import { list, resolve } from './schema-parts.ts'

/** True where every tool of an admitted list has a `type`, and has it from a const or enum. */
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

type Always = (schema: Json, says: (schema: JsonObject) => boolean, isOne: (value: Json) => boolean) => boolean

/**
 * Whether all that a schema admits has a property: because the schema `says` so, because each value that it lists
 * `isOne`, because a part that must hold has it, or every part of which one must hold.
 */
function prover (root: Json): Always {
  // A reference that leads to itself proves nothing.
  const followed = new Set<string>()
  const always: Always = (schema, says, isOne) => {
    const every = (parts: readonly (Json | undefined)[]) =>
      parts.length > 0 && parts.every((part) => part !== undefined && always(part, says, isOne))
    const refers = (reference: Json | undefined): boolean => {
      if (typeof reference !== 'string' || followed.has(reference)) return false
      followed.add(reference)
      const found = always(resolve(reference, root), says, isOne)
      followed.delete(reference)
      return found
    }
    if (!isObject(schema)) return schema === false
    if (schema.const !== undefined && isOne(schema.const)) return true
    return (Array.isArray(schema.enum) && schema.enum.every(isOne)) || says(schema) || refers(schema.$ref) ||
      list(schema.allOf).some((part) => always(part, says, isOne)) ||
      every(list(schema.anyOf)) || every(list(schema.oneOf)) || (schema.if !== undefined &&
        every([schema.then, schema.else]))
  }
  return always
}

// Typed clients send what is not set as null. Where the API takes no null, a null counts as not set.

import Type, { type TSchema } from 'typebox'
import { Check } from 'typebox/schema'
import { isObject, type Json, type JsonObject, variantsOf } from '../json.ts'

type Node = TSchema & { anyOf?: Node[], properties?: Record<string, Node>, items?: Node, const?: Json }

/** How long OpenAI lets a client secret live. */
export const SECRET_SECONDS = { minimum: 10, maximum: 7200 } as const

/** `expires_after` of a request. */
export const Lifetime = Type.Object({ anchor: Type.Literal('created_at'), seconds: Type.Integer() })

/**
 * A copy of `value` without such nulls, and without objects that held nothing else. Undefined if all of it counts as
 * not set. Nulls at unknown names, in lists and in free-form values are values.
 */
export function withoutNulls (schema: TSchema, value: Json): Json | undefined {
  return hasNull(value) ? strip(variantsOf(schema as Node), value) : value
}

function strip (nodes: readonly Node[], value: Json): Json | undefined {
  if (value === null) return takesNull(nodes) ? null : undefined
  if (Array.isArray(value)) {
    const items = itemsOf(nodes)
    return value.map((item) => isObject(item) ? stripMembers(items, item) : item)
  }
  if (!isObject(value)) return value
  const stripped = stripMembers(nodes, value)
  const isUnset = Object.keys(stripped).length === 0 && Object.keys(value).length > 0 && !takesNull(nodes)
  return isUnset ? undefined : stripped
}

/** A member of another variant than the one that `type` names takes no null either. */
function stripMembers (nodes: readonly Node[], value: JsonObject): JsonObject {
  const named = nodes.filter(({ properties }) => value.type !== undefined && properties?.type?.const === value.type)
  return Object.fromEntries(Object.entries(value).flatMap(([key, inner]) => {
    const known = memberSchemas(nodes, key)
    if (known.length === 0) return [[key, inner]]
    const stripped = strip(named.length === 0 ? known : memberSchemas(named, key), inner)
    return stripped === undefined ? [] : [[key, stripped]]
  }))
}

export function takesNull (nodes: readonly TSchema[]): boolean {
  return nodes.some((node) => Check(node, null))
}

/** The variants of a member; empty if none of `nodes` knows it. */
export function memberSchemas (nodes: readonly TSchema[], key: string): readonly TSchema[] {
  return nodes.flatMap((node) => {
    const { properties = {} } = node as Node
    return Object.hasOwn(properties, key) ? variantsOf(properties[key] as Node) : []
  })
}

export function itemsOf (nodes: readonly TSchema[]): readonly TSchema[] {
  return nodes.flatMap((node) => (node as Node).items === undefined ? [] : variantsOf((node as Node).items as Node))
}

function hasNull (value: Json): boolean {
  return value === null || (typeof value === 'object' && Object.values(value).some(hasNull))
}

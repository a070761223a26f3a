// Schemas that admit a null which never reaches them, because the API takes none there: it counts as not set.

import type { TSchema } from 'typebox'
import { isObject, type Json, type Path, variantsOf } from '../json.ts'
import { itemsOf, memberSchemas, takesNull } from '../realtime/nulls.ts'
import { isKnownPath, type Kind, schemaAt } from '../realtime/session.ts'
import { list } from './schema-parts.ts'

/** Dotted paths, `path` itself or below it. */
export function unreachableNulls (kind: Kind, path: Path, schema: Json): string[] {
  return isKnownPath(kind, path) ? [...new Set(search(schema, variantsOf(schemaAt(kind, path)), path))] : []
}

function search (schema: Json, nodes: readonly TSchema[], path: Path): string[] {
  if (!isObject(schema) || nodes.length === 0) return []
  const { properties, items = null } = schema
  const branches = [schema.anyOf, schema.oneOf, schema.allOf].flatMap(list)
  return [
    ...namesNull(schema) && !takesNull(nodes) ? [path.join('.')] : [],
    ...branches.flatMap((branch) => search(branch, nodes, path)),
    ...Object.entries(isObject(properties) ? properties : {}).flatMap(
      ([key, inner]) => search(inner, memberSchemas(nodes, key), [...path, key])
    ),
    ...membersOfItems(items, nodes, path)
  ]
}

/** A null that is an item itself is a value, and refused as one. */
function membersOfItems (items: Json, nodes: readonly TSchema[], path: Path): string[] {
  return search(items, itemsOf(nodes), path).filter((found) => found !== path.join('.'))
}

/** Whether the schema names null: `true` and `{}` admit it without naming it. */
function namesNull ({ type = null, enum: values = null, const: constant }: { [key: string]: Json }): boolean {
  return [type].flat().includes('null') || list(values).includes(null) || constant === null
}

// Short descriptions of a schema, for messages.

import { type Json, variantsOf } from '../json.ts'

/** The subset of JSON Schema that our own schemas use. */
export type SchemaNode = Readonly<{
  description?: string
  type?: string
  const?: Json
  enum?: readonly Json[]
  anyOf?: readonly SchemaNode[]
  items?: SchemaNode
  properties?: Readonly<Record<string, SchemaNode>>
  patternProperties?: Readonly<Record<string, SchemaNode>>
  required?: readonly string[]
  minimum?: number
  maximum?: number
}>

export function describeSchema (node: SchemaNode): string {
  return [...new Set(variantsOf(node).map(describeVariant))].join(' or ')
}

function describeVariant (node: SchemaNode): string {
  const { type = 'anything', const: constant, enum: values, items, properties, minimum, maximum } = node
  if (constant !== undefined) return JSON.stringify(constant)
  if (values !== undefined) return values.map((value) => JSON.stringify(value)).join(' or ')
  if (items !== undefined) return `a list of ${describeSchema(items)}`
  if (properties !== undefined) return `{ ${Object.keys(properties).join(', ')} }`
  const from = minimum === undefined ? '' : ` from ${minimum}`
  const to = maximum === undefined ? '' : ` to ${maximum}`
  return type + from + to
}

// A schema in a few words, for messages: what may stand there.

import { type Json, variantsOf } from '../json.ts'

/** The part of JSON Schema that our own schemas are written in. */
export type Node = Readonly<{
  description?: string
  type?: string
  const?: Json
  enum?: readonly Json[]
  anyOf?: readonly Node[]
  items?: Node
  properties?: Readonly<Record<string, Node>>
  patternProperties?: Readonly<Record<string, Node>>
  required?: readonly string[]
  minimum?: number
  maximum?: number
}>

export function wordsFor (node: Node): string {
  return [...new Set(variantsOf(node).map(wordFor))].join(' or ')
}

function wordFor ({ type = 'anything', const: only, enum: values, items, properties, minimum, maximum }: Node): string {
  if (only !== undefined) return JSON.stringify(only)
  if (values !== undefined) return values.map((value) => JSON.stringify(value)).join(' or ')
  if (items !== undefined) return `a list of ${wordsFor(items)}`
  if (properties !== undefined) return `{ ${Object.keys(properties).join(', ')} }`
  const bounds = [minimum === undefined ? '' : ` from ${minimum}`, maximum === undefined ? '' : ` to ${maximum}`].join(
    ''
  )
  return type + bounds
}

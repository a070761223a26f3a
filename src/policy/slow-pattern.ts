// Finds regular expressions of a policy that may take exponential time on a client's text.

import { isObject, type Json, type JsonObject } from '../json.ts'
import { someSubschema } from './schema-parts.ts'

/** True if a pattern has an unbounded repetition inside another, such as `(a+)+`. Not all of these are slow. */
export function hasSlowPattern (schema: Json): boolean {
  const isSlow = ({ pattern, patternProperties = {} }: JsonObject) =>
    [...Object.keys(patternProperties as object), ...(typeof pattern === 'string' ? [pattern] : [])]
      .some(nestsRepetitions)
  return isObject(schema) && (isSlow(schema) || someSubschema(schema, isSlow))
}

/** `pattern` compiles, so its groups are balanced. Escaped characters and classes are one token each. */
function nestsRepetitions (pattern: string): boolean {
  const groups = [false]
  for (const [token] of pattern.matchAll(/\\.|\[(?:\\.|[^\]])*\]|\(|\)?(?:[*+]|\{\d+,\})|\)/g)) {
    const repeats = /(?:[*+]|\{\d+,\})$/.test(token) && !/^[[\\]/.test(token)
    if (token === '(') groups.push(false)
    const inner = token.startsWith(')') && groups.pop() === true
    if (inner && repeats) return true
    groups.push((groups.pop() === true) || inner || repeats)
  }
  return false
}

// Patterns that a policy author writes: some take a time that doubles with each character of a client's text.

import { isObject, type Json, type JsonObject } from '../json.ts'
import { someSubschema } from './schema-parts.ts'

/** True where a pattern has an endless repetition inside another, such as `(a+)+`: not all of them are slow. */
export function hasSlowPattern (schema: Json): boolean {
  const isSlow = ({ pattern, patternProperties = {} }: JsonObject) =>
    [...Object.keys(patternProperties as object), ...(typeof pattern === 'string' ? [pattern] : [])]
      .some(nestsRepetitions)
  return isObject(schema) && (isSlow(schema) || someSubschema(schema, isSlow))
}

/** Of a pattern that compiles: its groups are balanced. Escaped characters and classes are one token each. */
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

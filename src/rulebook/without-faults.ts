// A policy file without its schema faults, so that contradictions in the rest are reported along with them.

import { isObject, type Json, type JsonObject } from '../json.ts'

export type Located = Readonly<{ keyword: string, schemaPath: string, path: readonly string[] }>

/**
 * Returns a copy without unknown keys and empty lists, and with a placeholder for each entry with any other fault.
 * Entries keep their index, so that later problems have the right path.
 */
export function withoutFaults (raw: Json, faults: readonly Located[]): unknown {
  const rest = isObject(raw) ? structuredClone(raw) : {}
  for (const { keyword, schemaPath, path } of faults) {
    const [list = '', entry] = path
    const parent = path.slice(0, -1).reduce<Json | undefined>(
      (at, key) => isObject(at) || Array.isArray(at) ? (at as JsonObject)[key] : undefined, rest
    )
    const isRemovable = ['additionalProperties', 'minItems', 'minProperties'].includes(keyword) &&
      !schemaPath.includes('/anyOf/')
    if (isRemovable && isObject(parent) && path.length !== 1) delete parent[path.at(-1) as string]
    else if (list === 'policies' && Array.isArray(rest.policies) && entry !== undefined) {
      rest.policies[Number(entry)] = placeholder(entry)
    } else if (list === 'prompts' && isObject(rest.prompts) && entry !== undefined) {
      rest.prompts[entry] = { session: {} }
    } else delete rest[list]
  }
  return { callers: [{ jwt: { issuer: '-' } }], policies: [placeholder('')], ...rest }
}

function placeholder (entry: string): Json {
  return { name: `-${entry}`, when: 'any', deny: true }
}

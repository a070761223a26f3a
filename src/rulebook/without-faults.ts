// What is left of a policy file once its faults are taken out: for the contradictions in the rest to be told with them.

import { isObject, type Json, type JsonObject } from '../json.ts'

export type Located = Readonly<{ keyword: string, schemaPath: string, path: readonly string[] }>

/**
 * A copy in which unknown keys and empty lists are gone, and an entry with any other fault makes room for one about which
 * there is nothing to say. Entries keep their places, so that what is told of them names the right ones.
 */
export function withoutFaults (raw: Json, faults: readonly Located[]): unknown {
  const rest = isObject(raw) ? structuredClone(raw) : {}
  for (const { keyword, schemaPath, path } of faults) {
    const [list = '', entry] = path
    const parent = path.slice(0, -1).reduce<Json | undefined>(
      (at, key) => isObject(at) || Array.isArray(at) ? (at as JsonObject)[key] : undefined, rest
    )
    const isSpare = ['additionalProperties', 'minItems', 'minProperties'].includes(keyword) &&
      !schemaPath.includes('/anyOf/')
    if (isSpare && isObject(parent) && path.length !== 1) delete parent[path.at(-1) as string]
    else if (list === 'policies' && Array.isArray(rest.policies) && entry !== undefined) {
      rest.policies[Number(entry)] = silent(entry)
    } else if (list === 'prompts' && isObject(rest.prompts) && entry !== undefined) rest.prompts[entry] = { session: {} }
    else delete rest[list]
  }
  return { callers: [{ jwt: { issuer: '-' } }], policies: [silent('')], ...rest }
}

function silent (entry: string): Json {
  return { name: `-${entry}`, when: 'any', deny: true }
}

// `session.prompt` names a profile of the policy file by id and version. Neither id nor variables are sent upstream.

import { deepestPath, isObject, type Json, type JsonObject, type Path } from '../json.ts'
import type { Prompt, SessionRules } from './compile.ts'

export type Chosen = Readonly<{ prompt: Prompt | null, variables: JsonObject }>

/** `refuse` throws; its argument is the path in the session. */
export function choosePrompt (rules: SessionRules, named: Json | undefined, refuse: (path: Path) => never): Chosen {
  if (named === undefined) return { prompt: rules.defaultPrompt, variables: {} }
  if (!isObject(named)) return refuse(['prompt'])
  const { id, version, variables, ...others } = named
  for (const [key, value] of Object.entries(others)) refuse(deepestPath(['prompt', key], value))

  if (typeof id !== 'string') return refuse(id === undefined ? ['prompt'] : deepestPath(['prompt', 'id'], id))
  if (version !== undefined && version !== null && typeof version !== 'string') {
    return refuse(deepestPath(['prompt', 'version'], version))
  }
  // `id@version` is the notation of the policy file: a client sends the version as a field of its own.
  const name = typeof version === 'string' ? `${id}@${version}` : id
  const prompt = id.includes('@') ? undefined : rules.prompts.get(name)
  if (prompt === undefined) {
    const known = [...rules.prompts.keys()].some((other) => other.split('@')[0] === id)
    return refuse(['prompt', known && typeof version === 'string' ? 'version' : 'id'])
  }
  if (variables === undefined || variables === null) return { prompt, variables: {} }
  if (!isObject(variables)) return refuse(['prompt', 'variables'])
  return {
    prompt,
    variables: Object.fromEntries(Object.entries(variables).map(([name, given]) => {
      const value = unwrapText(given)
      if (prompt.variables.get(name)?.(value) !== true) refuse(['prompt', 'variables', name])
      return [name, value]
    }))
  }
}

/** Unwraps `{ type: 'input_text', text }`, as sent by some of OpenAI's SDKs. */
function unwrapText (given: Json): Json {
  const wrapped = isObject(given) && given.type === 'input_text' && typeof given.text === 'string' &&
    Object.keys(given).length === 2
  return wrapped ? given.text as string : given
}

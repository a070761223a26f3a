// The OpenAI key: the one thing that a browser must never hold, held in this one place.

import { readFileSync } from 'node:fs'
import type { Config } from '../config.ts'

export type Key = Readonly<{
  /** The headers that carry it. */
  headers: () => Readonly<Record<string, string>>
  /** Reads the file again, if there is one. True where that changed the key. */
  reread: () => boolean
}>

/** Throws an Error that names no value where the file holds no usable key. */
export function openKey ({ key, authScheme }: Config['upstream']): Key {
  let headers: Readonly<Record<string, string>>
  let current = ''
  const use = (value: string) => {
    current = value
    headers = authScheme === 'api-key' ? { 'api-key': value } : { authorization: `Bearer ${value}` }
  }
  use('value' in key ? key.value : readKeyFile(key.file))
  return {
    headers: () => headers,
    reread: () => {
      if ('value' in key) return false
      const before = current
      use(readKeyFile(key.file))
      return current !== before
    }
  }
}

function readKeyFile (path: string): string {
  let text = ''
  try {
    text = readFileSync(path, 'utf8').trim()
  } catch {
    throw new Error('OPENAI_API_KEY_FILE cannot be read')
  }
  if (!/^[\x21-\x7e]+$/.test(text)) throw new Error('OPENAI_API_KEY_FILE is empty, or holds more than a key')
  return text
}

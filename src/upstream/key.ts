// The OpenAI key: the one thing that a browser must never hold, held in this one place.

import { readFileSync } from 'node:fs'
import { type Config, ConfigError } from '../config/environment.ts'
import { readText, watchText } from '../config/watch.ts'
import type { Log } from '../records/log.ts'

type Headers = Readonly<Record<string, string>>

export type Key = Readonly<{
  /** The headers that carry it. */
  headers: () => Headers
  /** Reads the file again, if there is one. True if the key now differs from `sent`. */
  reread: (sent: Headers) => Promise<boolean>
  close: () => void
}>

/** Throws ConfigError where the file holds no key. */
export function openKey ({ key, authScheme }: Config['upstream'], log: Pick<Log, 'info' | 'error'>): Key {
  const headersFor = (value: string) =>
    authScheme === 'api-key' ? { 'api-key': value } : { authorization: `Bearer ${value}` }
  if ('value' in key) {
    const headers = headersFor(key.value)
    return { headers: () => headers, reread: async () => false, close: () => {} }
  }
  const text = readAtStart(key.file)
  let current = keyIn(text)
  if (current === null) {
    throw new ConfigError(['OPENAI_API_KEY_FILE cannot be read, is empty, or holds more than a key'])
  }
  let headers = headersFor(current)

  /** An empty, missing or mangled file keeps the key that was good until now. */
  function use (text: string | null): void {
    const value = keyIn(text)
    if (value === null) {
      return log.error({}, 'OPENAI_API_KEY_FILE cannot be read, is empty, or holds more than a key: the old key stays')
    }
    if (value === current) return
    current = value
    headers = headersFor(value)
    log.info({}, 'OPENAI_API_KEY_FILE was read again')
  }

  return {
    headers: () => headers,
    reread: async (sent) => {
      use(await readText(key.file))
      return headers !== sent
    },
    close: watchText(key.file, text, { onText: use, isUsable: (text) => keyIn(text) !== null })
  }
}

function readAtStart (path: string): string | null {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return null
  }
}

/** A trailing newline is no part of it. */
function keyIn (text: string | null): string | null {
  const value = text?.trim() ?? ''
  return /^[\x21-\x7e]+$/.test(value) ? value : null
}

// The OpenAI key, held in this one place.

import { readFileSync } from 'node:fs'
import { keyFault } from '../config/api-key.ts'
import { type Config, ConfigError } from '../config/environment.ts'
import { whyUnreadable } from '../config/unreadable.ts'
import { type ReadText, readText, watchText } from '../config/watch.ts'
import type { Log } from '../records/log.ts'

type Headers = Readonly<Record<string, string>>

export type Key = Readonly<{
  /** The headers that carry the key. */
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
  const atStart = readAtStart(key.file)
  const first = keyIn(atStart)
  if (first.value === null) throw new ConfigError([`OPENAI_API_KEY_FILE ${first.fault}`])
  let current = first.value
  let headers = headersFor(current)

  /** An empty, missing or mangled file keeps the key that was good until now. */
  function use (read: ReadText): void {
    const { value, fault } = keyIn(read)
    if (value === null) return log.error({ problem: fault }, 'OPENAI_API_KEY_FILE has no usable key: the old key stays')
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
    close: watchText(key.file, atStart.text, {
      onText: (text, why) => use({ text, why }), isUsable: (text) => keyIn({ text, why: '' }).value !== null
    })
  }
}

function readAtStart (path: string): ReadText {
  try {
    return { text: readFileSync(path, 'utf8'), why: '' }
  } catch (error) {
    return { text: null, why: whyUnreadable(error) }
  }
}

type KeyText = Readonly<{ value: string, fault: null } | { value: null, fault: string }>

/** Leaves out a trailing newline. */
function keyIn ({ text, why }: ReadText): KeyText {
  if (text === null) return { value: null, fault: `cannot be read: ${why}` }
  const value = text.trim()
  const fault = keyFault(value)
  return fault === null ? { value, fault } : { value: null, fault }
}

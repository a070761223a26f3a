// Resolves `{ $env: NAME }` and `{ $file: PATH }` in fixed, default and prompt values.

import type { SecretSource } from '../config/secrets.ts'
import { isObject, type Json, type JsonObject } from '../json.ts'
import type { Inlined, Secret, Step } from '../policy/conceal.ts'
import type { Report } from '../schema/report.ts'

type Position = Readonly<{ at: string, path: readonly Step[], isReported: boolean }>

const OMITTED = 'is left out of our answers'
const STILL_SHOWN = 'but the live session may still show it to the client'

/** Returns a copy of the session with the secrets filled in, and their paths. */
export function inlineSecrets (session: JsonObject, at: string, source: SecretSource, report: Report): Inlined {
  const secrets: Secret[] = []
  const inline = (inner: Json, position: Position): Json => {
    if (Array.isArray(inner)) return inner.map((item, i) => inline(item, below(position, String(i), null)))
    if (!isObject(inner)) return inner
    if (!('$env' in inner) && !('$file' in inner)) {
      const entries = Object.entries(inner)
      return Object.fromEntries(entries.map(([key, value]) => [key, inline(value, member(position, key, report))]))
    }
    const { $env: name, $file: file, ...others } = inner
    const named = [name, file].filter((reference) => reference !== undefined)
    if (named.length !== 1 || typeof named[0] !== 'string' || Object.keys(others).length > 0) {
      report.problem(position.at, 'must be { $env: NAME } or { $file: PATH }, and nothing else')
      return ''
    }
    try {
      const value = file === undefined ? source.env(named[0]) : source.file(named[0])
      secrets.push({ path: position.path, value })
      const where = position.path.includes(null) ? `${OMITTED}, in every item of its list,` : `${OMITTED},`
      if (!position.isReported) report.warning(position.at, `${where} ${STILL_SHOWN}`)
      return value
    } catch (error) {
      report.problem(position.at, (error as Error).message)
      return ''
    }
  }
  return { session: inline(session, { at, path: [], isReported: false }) as JsonObject, secrets }
}

function below ({ at, path, isReported }: Position, key: string, step: Step): Position {
  return { at: `${at}.${key}`, path: [...path, step], isReported }
}

/** A tool's credentials are never in a response, whether they are written as a secret or not. */
function member (position: Position, key: string, report: Report): Position {
  const inner = below(position, key, key)
  if (!/\.tools\.\d+$/.test(position.at) || (key !== 'headers' && key !== 'authorization')) return inner
  report.warning(inner.at, `${OMITTED}, ${STILL_SHOWN}`)
  return { ...inner, isReported: true }
}

// `{ $env: NAME }` and `{ $file: PATH }` stand for secrets in fixed and prompt values.

import type { SecretSource } from '../config/secrets.ts'
import { isObject, type Json, type JsonObject } from '../json.ts'
import type { Report } from '../schema/report.ts'

/** A copy with each secret in its place; what was found is added to `found`. */
export function inlineSecrets (value: JsonObject, at: string, source: SecretSource, found: Set<string>, report: Report): JsonObject {
  const inline = (inner: Json, path: string): Json => {
    if (Array.isArray(inner)) return inner.map((item, i) => inline(item, `${path}.${i}`))
    if (!isObject(inner)) return inner
    if (!('$env' in inner) && !('$file' in inner)) {
      return Object.fromEntries(Object.entries(inner).map(([key, below]) => {
        warnIfShown(key, path, report)
        return [key, inline(below, `${path}.${key}`)]
      }))
    }
    const { $env: name, $file: file, ...others } = inner
    const named = [name, file].filter((reference) => reference !== undefined)
    if (named.length !== 1 || typeof named[0] !== 'string' || Object.keys(others).length > 0) {
      report.problem(path, 'must be { $env: NAME } or { $file: PATH }, and nothing else')
      return ''
    }
    try {
      const secret = file === undefined ? source.env(named[0]) : source.file(named[0])
      found.add(secret)
      return secret
    } catch (error) {
      report.problem(path, (error as Error).message)
      return ''
    }
  }
  return inline(value, at) as JsonObject
}

function warnIfShown (key: string, path: string, report: Report): void {
  if (!/\.tools\.\d+$/.test(path) || (key !== 'headers' && key !== 'authorization')) return
  report.warning(`${path}.${key}`, 'is left out of our answers, but the live session may still show it to the client')
}

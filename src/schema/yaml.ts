// Strict reading of YAML or JSON: problems are reported by line or path, and never quote the file.

import { parseDocument } from 'yaml'
import type { Json } from '../json.ts'
import type { Report } from './report.ts'

const OPTIONS = {
  merge: true,
  // They quote the file, which may contain secrets.
  prettyErrors: false,
  // A tag such as `!!binary` makes what JSON does not have.
  resolveKnownTags: false,
  logLevel: 'error'
} as const

/** The result must not be used if a problem was reported. */
export function parseYaml (text: string, report: Report): unknown {
  let value: unknown
  try {
    const document = parseDocument(text, OPTIONS)
    // Warnings count too: an unknown tag is only one, and ignored.
    const faults = [...document.errors, ...document.warnings].map(
      ({ code, pos }) => ({ code, line: text.slice(0, pos[0]).split('\n').length })
    )
    // One report for each line: an unclosed bracket is a fault at every level.
    for (const [line, codes] of Map.groupBy(faults, ({ line }) => line)) {
      report.problem(`line ${line}`, `is not YAML: ${[...new Set(codes.map(({ code }) => code))].join(', ')}`)
    }
    if (faults.length > 0) return undefined
    // Without a cap on aliases, a few lines could expand to gigabytes.
    value = document.toJS({ maxAliasCount: 100 })
    // Throws if an anchor contains itself.
    JSON.stringify(value)
  } catch {
    report.problem('', 'has an alias to nothing or into itself, too many aliases, or is nested too deeply')
    return undefined
  }
  reviewValues(value as Json, '', report)
  return value
}

/** Refuses keys that would reach a prototype, and numbers that JSON cannot represent. */
function reviewValues (value: Json, at: string, report: Report): void {
  if (typeof value === 'number' && !Number.isFinite(value)) {
    report.problem(at, 'is not a number that JSON can represent')
  }
  if (typeof value !== 'object' || value === null) return
  for (const [key, inner] of Object.entries(value)) {
    const path = at === '' ? key : `${at}.${key}`
    if (['__proto__', 'constructor', 'prototype'].includes(key)) report.problem(path, 'is a reserved name')
    else reviewValues(inner, path, report)
  }
}

// YAML or JSON as an operator writes it, read strictly: what is odd is told by its line or its path, and never quoted.

import { parseDocument } from 'yaml'
import type { Json } from '../json.ts'
import type { Report } from './report.ts'

/** Undefined, or not to be used, where a problem was reported. */
export function parseYaml (text: string, report: Report): unknown {
  let value: unknown
  try {
    // Without pretty errors: they quote the file, which may hold what nobody should read in a log.
    const document = parseDocument(text, { merge: true, prettyErrors: false, logLevel: 'error' })
    // Of a tag that nobody knows YAML only warns, and reads on without it.
    const faults = [...document.errors, ...document.warnings].map(
      ({ code, pos }) => ({ code, line: text.slice(0, pos[0]).split('\n').length })
    )
    // A bracket that is not closed is one slip, and a fault for each level.
    for (const [line, codes] of Map.groupBy(faults, ({ line }) => line)) {
      report.problem(`line ${line}`, `is not YAML: ${[...new Set(codes.map(({ code }) => code))].join(', ')}`)
    }
    if (faults.length > 0) return undefined
    // Aliases are counted: a few lines can otherwise expand to gigabytes.
    value = document.toJS({ maxAliasCount: 100 })
    // Throws where an anchor stands inside itself.
    JSON.stringify(value)
  } catch {
    report.problem('', 'has an alias that leads nowhere or into itself, far too many of them, or is far too deep')
    return undefined
  }
  reviewValues(value as Json, '', report)
  return value
}

/** Names that would reach a prototype have no place in a policy, nor have numbers that JSON has no words for. */
function reviewValues (value: Json, at: string, report: Report): void {
  if (typeof value === 'number' && !Number.isFinite(value)) report.problem(at, 'is not a number that JSON can write')
  if (typeof value !== 'object' || value === null) return
  for (const [key, inner] of Object.entries(value)) {
    const path = at === '' ? key : `${at}.${key}`
    if (['__proto__', 'constructor', 'prototype'].includes(key)) report.problem(path, 'is not a name that may be used')
    else reviewValues(inner, path, report)
  }
}

// Turns Ephemint's JSON lines into text for a terminal.

import { isObject, type Json, type JsonObject } from '../json.ts'

const LEVELS: Readonly<Record<string, string>> = { info: 'info', warn: 'warning', error: 'error', fatal: 'fatal' }
const HIDDEN_FIELDS = ['level', 'severity', 'time', 'msg', 'v']
/** Lines that the sandbox prints itself, and refusals, whose audit line says more. */
const REDUNDANT = /^(Server listening|listening|draining|refused)/

/** Null for a line that is not shown. */
export function readable (line: string): string | null {
  const entry = parseEntry(line)
  if (entry === null) return line
  if (entry.audit === 1) return decision(entry)
  const level = LEVELS[String(entry.level)]
  if (level === undefined || (level === 'info' && REDUNDANT.test(String(entry.msg)))) return null
  const facts = Object.entries(entry).filter(([key, value]) => !HIDDEN_FIELDS.includes(key) && value !== null)
  return [`${level}:`, entry.msg, ...facts.map(([key, value]) => `${key}=${plain(value)}`)].join(' ')
}

/** The JSON object in `line`, or null. */
export function parseEntry (line: string): JsonObject | null {
  try {
    const entry = JSON.parse(line)
    return isObject(entry) ? entry : null
  } catch {
    return null
  }
}

function decision (entry: JsonObject): string {
  const { event, code, reason, policy, kind, model, ignored, did, paths, count, seconds, duration_ms: ms } = entry
  return [
    String(event).padEnd(16),
    code,
    reason !== null && reason !== undefined && `(${reason})`,
    kind,
    model,
    typeof policy === 'string' && `policy ${policy}`,
    did,
    Array.isArray(paths) && paths.join(', '),
    Array.isArray(ignored) && ignored.length > 0 && `ignored ${ignored.join(', ')}`,
    count !== undefined && `${count} more`,
    typeof seconds === 'number' && `${seconds} s`,
    typeof ms === 'number' && `${Math.round(ms)} ms`
  ].filter((part) => typeof part === 'string').join(' ')
}

function plain (value: Json): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

// The JSON lines of Ephemint, as somebody reads them who watches a terminal.

import { isObject, type Json, type JsonObject } from '../json.ts'

const LEVELS: Readonly<Record<number, string>> = { 30: 'info', 40: 'warning', 50: 'error', 60: 'fatal' }
const NOT_SAID = ['level', 'time', 'msg', 'v']
/** What the sandbox says itself, and the refusal that its audit line tells better. */
const SAID_ALREADY = /^(Server listening|listening|draining|refused)/

/** Null for what need not be shown. */
export function readable (line: string): string | null {
  const entry = parse(line)
  if (entry === null) return line
  if (entry.audit === 1) return decision(entry)
  const level = LEVELS[entry.level as number]
  if (level === undefined || (level === 'info' && SAID_ALREADY.test(String(entry.msg)))) return null
  const facts = Object.entries(entry).filter(([key, value]) => !NOT_SAID.includes(key) && value !== null)
  return [`${level}:`, entry.msg, ...facts.map(([key, value]) => `${key}=${plain(value)}`)].join(' ')
}

/** One JSON object, or null. */
export function parse (line: string): JsonObject | null {
  try {
    const entry = JSON.parse(line)
    return isObject(entry) ? entry : null
  } catch {
    return null
  }
}

function decision (entry: JsonObject): string {
  const { event, code, reason, policy, kind, model, ignored, count, duration_ms: ms } = entry
  return [
    String(event).padEnd(16),
    code,
    reason !== null && reason !== undefined && `(${reason})`,
    kind,
    model,
    typeof policy === 'string' && `policy ${policy}`,
    Array.isArray(ignored) && ignored.length > 0 && `ignored ${ignored.join(', ')}`,
    count !== undefined && `${count} more`,
    typeof ms === 'number' && `${Math.round(ms)} ms`
  ].filter((part) => typeof part === 'string').join(' ')
}

function plain (value: Json): string {
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

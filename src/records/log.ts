// Operational logs on stdout, one JSON line each. Callers pass single facts: no body, claim or client address, and of
// the headers only a refused Origin and a trusted request id.

import { type Logger, pino } from 'pino'
import { escapeControls } from '../json.ts'
import type { Lines } from './lines.ts'
import { type Level, severityOf } from './severity.ts'

export type Log = Logger

/** The part of a log that most rooms need: facts first, then a message without values of a client. */
export type PlainLog = Readonly<Record<'info' | 'warn' | 'error', (facts: object, message: string) => void>>

export function createLogger (level: string, lines: Lines): Log {
  return pino({
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (level) => severityOf(level as Level) },
    // Instead of Fastify's own, which would log headers, addresses and messages.
    serializers: { req: () => undefined, res: () => undefined, err: describeError, error: describeError }
  }, { write: (line) => lines.write(escapeControls(line)) })
}

/** Class and code only: messages of libraries quote their input, causes carry request options. */
export function describeError (error: unknown): { type: string, code: string | undefined, at: string | undefined } {
  if (!(error instanceof Error)) return { type: typeof error, code: undefined, at: undefined }
  const code = (error as NodeJS.ErrnoException).code
  return {
    type: error.constructor.name,
    code: typeof code === 'string' ? code.slice(0, 64) : undefined,
    // The first frame in src, without the message above it.
    at: /\n {4}at (.*src\/.*)/.exec((error.stack ?? '').replace(error.message, ''))?.[1]
      ?.replace(/^.*\/(src\/.*?)\)?$/, '$1')
  }
}

// The audit trail: one line for each decision, never a secret. A grant depends on its line being written.

import { ApiError, type ErrorCode } from '../errors.ts'
import type { Trace } from '../http/trace.ts'
import { escapeControls } from '../json.ts'
import type { Kind } from '../realtime/session.ts'
import { createFlood } from './flood.ts'
import type { Lines } from './lines.ts'

export type AuditEvent = 'mint.granted' | 'mint.undelivered' | 'mint.unknown' | 'mint.refused'

/** What is known of a decision; null where it was taken before that was known. The trace is there where a gateway told one. */
export type Decision = Trace & {
  request_id: string
  /** The safety identifier, not the subject. */
  subject: string | null
  issuer: string | null
  policy: string | null
  kind: Kind | null
  model: string | null
  prompt: string | null
  session_id: string | null
  secret_sha256: string | null
  expires_at: number | null
  ignored: readonly string[]
  code: ErrorCode | null
  reason: string | null
  upstream_request_id: string | null
  duration_ms: number | null
}

export type Audit = Readonly<{
  /** Throws ApiError `audit_unavailable` where a line would not be written now: before anything is minted. */
  assertWritable: () => void
  /** Resolves once the line is written; throws ApiError `audit_unavailable` within a second, and at `byMs` of the monotonic clock. */
  granted: (decision: Decision, byMs?: number) => Promise<void>
  record: (event: AuditEvent, decision: Decision) => void
  /** Refusals of the unauthenticated: bounded for each code. */
  refusedAnonymous: (decision: Decision) => void
  close: () => void
}>

const LEAST_WAIT_MS = 100

/** `now` is the wall clock, in milliseconds. */
export function createAudit (lines: Lines, now: () => number = Date.now): Audit {
  const timestamp = createTimestamp()
  const flood = createFlood<`${ErrorCode | null}`>((code, count) => lines.write(line('mint.refused', { code, count })))

  function line (event: AuditEvent, decision: object): string {
    return `{"audit":1,"time":"${timestamp(now())}","event":"${event}",${escapeControls(JSON.stringify(decision)).slice(1)}\n`
  }

  return {
    assertWritable: () => {
      if (lines.isStuck()) throw new ApiError('audit_unavailable', { retryAfterSeconds: 1 })
    },
    granted: (decision, byMs = Infinity) => lines.confirm(line('mint.granted', decision), {
      // Where upstream took all the time there was, a disk has a moment nevertheless.
      withinMs: Math.max(LEAST_WAIT_MS, byMs - performance.now()),
      ifLate: () => line('mint.undelivered', { ...decision, code: 'audit_unavailable' })
    }).catch((cause) => { throw new ApiError('audit_unavailable', { retryAfterSeconds: 1, cause }) }),
    record: (event, decision) => lines.write(line(event, decision)),
    refusedAnonymous: (decision) => {
      if (flood.admits(`${decision.code}`)) lines.write(line('mint.refused', decision))
    },
    close: flood.close
  }
}

/** RFC 3339 of milliseconds. A date is written out once a second: that takes a third of the time that a line does. */
function createTimestamp (): (ms: number) => string {
  let second = NaN
  let upToSecond = ''
  return (ms) => {
    const now = Math.floor(ms / 1000)
    if (now !== second) {
      second = now
      upToSecond = new Date(now * 1000).toISOString().slice(0, -4)
    }
    return `${upToSecond}${String(ms % 1000).padStart(3, '0')}Z`
  }
}

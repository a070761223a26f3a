// The audit trail: one line for each decision, never a secret. A grant depends on its line being written.

import { ApiError, type ErrorCode } from '../errors.ts'
import type { Trace } from '../http/trace.ts'
import { escapeControls } from '../json.ts'
import type { Kind } from '../realtime/session.ts'
import { createFlood } from './flood.ts'
import type { Lines } from './lines.ts'
import { type Level, severityOf } from './severity.ts'

/** The two things that a route can grant. */
export type Family = 'mint' | 'call'
export type AuditEvent =
  | 'mint.granted' | 'mint.undelivered' | 'call.started' | `${Family}.refused` | `${Family}.unknown`

/** The members of each line about a request. Null: not known when the decision was taken. */
export type AuditEntry = Readonly<Trace & {
  request_id: string
  /** The safety identifier, not the subject. */
  subject: string | null
  issuer: string | null
  policy: string | null
  kind: Kind | null
  code: ErrorCode | null
  reason: string | null
  /** The field that is refused: a path of the client's own names, cut, and never a value. */
  param: string | null
}>

export type MintEntry = AuditEntry & Readonly<{
  model: string | null
  prompt: string | null
  session_id: string | null
  secret_sha256: string | null
  expires_at: number | null
  ignored: readonly string[]
  upstream_request_id: string | null
  duration_ms: number | null
}>

/** The line about a request for a call. Members that only mints have, such as `session_id`, are null. */
export type CallEntry = MintEntry & Readonly<{
  call_id: string | null
  upstream_call_id: string | null
  max_seconds: number | null
}>

/** A call that upstream created, whatever became of it. */
export type CallEnd = Readonly<{
  call_id: string
  upstream_call_id: string
  subject: string
  issuer: string
  policy: string
  kind: Kind
  model: string | null
  prompt: string | null
  reason: string
  seconds: number
  /** False: it was never answered, and its request is refused. */
  started: boolean
  usage: object
  changes: number
  complete: boolean
  hangup_confirmed: boolean
  /** The line of this call may have been written already. */
  repeated?: true
  /** Written without Redis: another replica may have had the call, too. */
  unfenced?: true
}>

/** A change of the session by a client, and the reaction to it. */
export type CallChange = Readonly<
  Pick<CallEnd, 'call_id' | 'upstream_call_id' | 'subject' | 'issuer' | 'policy' | 'kind'> &
  { did: string, paths: readonly string[] }
>

export type Confirming = Readonly<{
  /** When to give up, by the monotonic clock: 0.1 to 1 s from now, and after 1 s where it is missing. */
  byMs?: number
  /** The event that corrects a line which was written only after its confirmation had failed. */
  ifLate?: AuditEvent
}>

export type Audit = Readonly<{
  /** Throws ApiError `audit_unavailable` if a line would not be written now: called before anything is minted. */
  assertWritable: () => void
  /** Resolves once the line is written; rejects with ApiError `audit_unavailable`. */
  confirm: (event: AuditEvent, entry: AuditEntry, confirming?: Confirming) => Promise<void>
  /** Does not wait, and may lose the line. */
  record: (event: AuditEvent, entry: AuditEntry & Partial<CallEntry>) => void
  /** The receipt of a call, which is no decision. Resolves once the line is written; rejects like `confirm`. */
  conclude: (end: CallEnd) => Promise<void>
  /** Does not wait, and may lose the line. */
  change: (change: CallChange) => void
  /** Bounded for each event, code and caller, where all without a valid credential are one caller. */
  recordBounded: (event: AuditEvent, entry: AuditEntry) => void
  close: () => void
}>

type AnyEvent = AuditEvent | 'call.changed' | 'call.ended'

const LEAST_WAIT_MS = 100

/** `now` is the wall clock, in milliseconds. */
export function createAudit (lines: Lines, now: () => number = Date.now): Audit {
  const flood = createFlood<`${AuditEvent} ${ErrorCode | null} ${string}`>((kind, count) => {
    const [event, code, subject] = kind.split(' ') as [AuditEvent, string, string]
    lines.write(line(event, { ...(subject === '' ? {} : { subject }), code, count }))
  })

  function line (event: AnyEvent, facts: object): string {
    const rest = escapeControls(JSON.stringify(facts)).slice(1)
    const { level, severity } = severityOf(levelOf(event))
    return `{"audit":1,"time":"${new Date(now()).toISOString()}",` +
      `"level":"${level}","severity":"${severity}","event":"${event}",${rest}\n`
  }

  return {
    assertWritable: () => {
      if (lines.isStuck()) throw new ApiError('audit_unavailable', { retryAfterSeconds: 1 })
    },
    confirm: (event, entry, { byMs = Infinity, ifLate } = {}) => lines.confirm(line(event, entry), {
      // The disk has a moment even if upstream took all the time there was.
      withinMs: Math.max(LEAST_WAIT_MS, byMs - performance.now()),
      ...(ifLate === undefined ? {} : { ifLate: () => line(ifLate, { ...entry, code: 'audit_unavailable' }) })
    }).catch((cause) => { throw new ApiError('audit_unavailable', { retryAfterSeconds: 1, cause }) }),
    record: (event, entry) => lines.write(line(event, entry)),
    conclude: (end) => lines.confirm(line('call.ended', end))
      .catch((cause) => { throw new ApiError('audit_unavailable', { cause }) }),
    change: (change) => lines.write(line('call.changed', change)),
    recordBounded: (event, entry) => {
      if (flood.admits(`${event} ${entry.code} ${entry.subject ?? ''}`)) lines.write(line(event, entry))
    },
    close: flood.close
  }
}

/** A warning where a secret may exist that no client has. */
function levelOf (event: AnyEvent): Level {
  return event.endsWith('.undelivered') || event.endsWith('.unknown') ? 'warn' : 'info'
}

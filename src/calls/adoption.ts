// Takes over from a replica that stopped or died: a call, the end of a call, or the place of one being created.
//
// | state of the record   | then                                                                             |
// |-----------------------|----------------------------------------------------------------------------------|
// | creating              | the call may exist: `call.unknown`, and its place is kept for a minute           |
// | unknown               | as creating, but the line is written, and only the place is still held           |
// | setup                 | hung up: the client never got its answer                                         |
// | live, offered, ending | goes on, or ends for the reason that was asked for                               |
// | claimed               | its line is repeated, and its place given back                                   |
// | damaged               | hung up, if its id at upstream is known                                          |

import type { Clock } from '../clock.ts'
import type { Audit, CallEnd } from '../records/audit.ts'
import type { PlainLog } from '../records/log.ts'
import type { UpstreamCalls } from '../upstream/calls.ts'
import type { Call, EndReason } from './call.ts'
import type { CallFacts } from './facts.ts'
import { startHangUp } from './hang-up.ts'
import { UNKNOWN_KEPT_MS, type WriteLine } from './holding.ts'
import { createReceipt } from './receipt.ts'
import { type CallRecord, type CreatedRecord, keyDigest, readRecord, upstreamIdIn } from './record.ts'
import type { Adopted } from './shared.ts'

/** The parts of a call that its policy decides; `record` is of another replica. */
export type Regrant = (record: CallRecord & Readonly<{ policy: string }>) =>
Pick<CallFacts, 'granted' | 'fixed' | 'checkSession' | 'conceal'>

export type AdoptionDeps = Readonly<{
  clock: Clock
  upstream: Pick<UpstreamCalls, 'hangUp'>
  audit: Pick<Audit, 'record'>
  log: PlainLog
  regrant: Regrant
  /** The headers with the key of this replica. */
  key: () => Readonly<Record<string, string>>
  writeLine: WriteLine
  /** Holds a call with the fence of its adoption. */
  take: (facts: CallFacts, fence: number) => Call
  /** As `take`, for a call that is over or cannot be found. */
  hold: (adopted: Adopted) => Held
  longestMs: number
}>

/** A place that is given back even if Redis is lost meanwhile. See SharedHolding. */
export type Held = Readonly<{ isMine: () => boolean, release: (seconds: number | null, afterMs?: number) => void }>

export function adoptCall (deps: AdoptionDeps, adopted: Adopted, data: string): void {
  const { state } = adopted.fields
  const record = readRecord(data)
  const line = state === 'claimed' ? readLine(adopted.fields.line) : null
  if (line !== null) return repeatLine(deps, adopted, { line, data })
  if (state === 'unknown') return deps.hold(adopted).release(0, UNKNOWN_KEPT_MS)
  if (record === null || state === 'claimed' || !Number.isFinite(Number(adopted.fields.born))) {
    return endDamaged(deps, adopted, upstreamIdIn(data))
  }
  if (record.created === null) return keepUnknown(deps, adopted, record)
  goOn(deps, adopted, record, record.created)
}

function goOn (
  { regrant, take, key, log }: AdoptionDeps, { id, fence, nowMs, fields }: Adopted, record: CallRecord,
  created: CreatedRecord
): void {
  const { policy, caller: safetyIdentifier } = fields
  const { requestId, issuer, subject, claims, kind, asked, rules, hasDataChannel } = record
  const call = take({
    id,
    requestId,
    issuer,
    subject,
    claims,
    safetyIdentifier,
    policy,
    kind,
    asked,
    rules,
    hasDataChannel,
    ...regrant({ ...record, policy })
  }, fence)
  const own = key()
  if (keyDigest(own) !== created.key) log.info({ call_id: id }, 'a call was created with another key')
  call.resume(created, { ageMs: Math.max(0, nowMs - Number(fields.born)), key: own, maxSeconds: record.maxSeconds })
  if (fields.wish !== undefined) call.end(fields.wish as EndReason)
}

/** The former owner had claimed the end, and may have written the line. */
function repeatLine (
  { hold, writeLine }: AdoptionDeps, adopted: Adopted, { line, data }: Readonly<{ line: CallEnd, data: string }>
): void {
  const isRefunded = data.includes('"isRefunded":true')
  const unused = isRefunded ? 0 : Math.max(0, Number(adopted.fields.seconds) - line.seconds)
  const holding = hold(adopted)
  writeLine({ ...line, repeated: true }, () => holding.release(unused))
}

/** Null if the text is not a line of ours. */
function readLine (text = ''): CallEnd | null {
  try {
    const line = JSON.parse(text) as CallEnd | null
    return line !== null && Number.isFinite(line.seconds) ? line : null
  } catch {
    return null
  }
}

function keepUnknown ({ hold, audit }: AdoptionDeps, adopted: Adopted, record: CallRecord): void {
  const { id, fields } = adopted
  const { requestId, issuer, kind, model, prompt } = record
  audit.record('call.unknown', {
    request_id: requestId,
    subject: fields.caller,
    issuer,
    policy: fields.policy,
    kind,
    model,
    prompt,
    call_id: id,
    code: 'upstream_error',
    reason: 'replica_lost',
    param: null
  })
  hold(adopted).release(null, UNKNOWN_KEPT_MS)
}

function endDamaged (
  { clock, hold, upstream, log, key, writeLine, longestMs }: AdoptionDeps, adopted: Adopted, upstreamId: string | null
): void {
  const { id, fields } = adopted
  log.error({ call_id: id, upstream_call_id: upstreamId }, 'the record of a call is damaged: the call is hung up')
  const { isMine, release: giveBack } = hold(adopted)
  const release = () => giveBack(0)
  if (upstreamId === null) return release()
  const { caller, policy } = fields
  const call = { id: upstreamId, key: key(), dateMs: null }
  const { done } = startHangUp({
    clock, attempt: async () => !isMine() || upstream.hangUp(call, caller), untilMs: clock.monotonicMs() + longestMs
  })
  const lineOf = (isConfirmed: boolean): CallEnd => ({
    call_id: id,
    upstream_call_id: upstreamId,
    subject: caller,
    issuer: '',
    policy,
    kind: 'realtime',
    model: null,
    prompt: null,
    reason: 'supervision_lost',
    seconds: 0,
    started: true,
    usage: createReceipt().usage(),
    changes: 0,
    complete: false,
    hangup_confirmed: isConfirmed
  })
  // If another replica has the call now, that one writes the line.
  done.then((isConfirmed) => isMine() ? writeLine(lineOf(isConfirmed), release) : release())
}

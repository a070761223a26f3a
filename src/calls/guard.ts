// Holds a call to the policy for as long as it lasts: checks each session that upstream reports, and sets again what
// the client changed although the policy does not allow it.
//
// | state    | event                                             | then                                             |
// |----------|---------------------------------------------------|--------------------------------------------------|
// | new      | the first session                                 | watching; it is the baseline                     |
// | watching | a session with nothing but what is allowed        | watching; it is the baseline                     |
// |          | one with a change, `report`                       | watching; counted                                |
// |          | one with a change, `end`; or nothing puts it right | over                                            |
// |          | one with a change, `restore`                      | restoring; at the fourth within a minute over    |
// |          | the 601st that is new within a minute             | over                                             |
// | restoring | a session that is right in the fields that were set, or 5 s | watching; the last session is checked  |
// | any      | the sideband is lost                              | watching, from the next session on               |
// |          | an error that names an event of ours              | over                                             |

import { isDeepStrictEqual } from 'node:util'
import type { Clock } from '../clock.ts'
import { getIn, type Json, type JsonObject, type Path } from '../json.ts'
import type { CallRules } from '../policy/compile.ts'
import { type CheckSession, type Correction, isSame } from '../policy/session-check.ts'
import type { CallProtocol, Signal } from '../realtime/call-protocol.ts'
import { createEventCheck, type Violation } from './event-check.ts'
import type { Leash } from './leash.ts'

export type Did = 'restored' | 'cancelled' | 'deleted' | 'ended' | 'reported' | 'ignored'

export type Guard = Readonly<{
  /** Takes every event, also answers to our own. */
  handle: (signal: Signal) => void
  /** Events may have been missed: the sideband was lost. */
  noteGap: () => void
  /** Null until a session was reported. */
  baseline: () => JsonObject | null
  stop: () => void
}>

export type GuardDeps = Readonly<{
  clock: Clock
  protocol: Pick<
    CallProtocol,
    'readEvent' | 'updateEvent' | 'cancelEvent' | 'deleteEvent' | 'isTooLate' | 'fixedOnceHeard' | 'hasTool'
  >
  checkSession: CheckSession
  rules: Pick<CallRules, 'onChange'>
  /** Without a data channel the client cannot change anything. */
  hasDataChannel: boolean
  /** The values of the session that the policy fixes; none where it only reports. */
  fixed: JsonObject
  /** Finds the baseline that another replica had, from the session that is reported first. */
  baselineBefore?: ((session: JsonObject) => JsonObject) | null
  newEventId: () => string
  send: (event: JsonObject) => void
  leash: Pick<Leash, 'openResponses' | 'isJoined'>
  onChange: (did: Did, paths: readonly string[]) => void
  onEnd: () => void
  /** An error of ours outside the events. */
  onFault: (error: unknown) => void
}>

type WatchedSessions = Readonly<{ first: JsonObject, baseline: JsonObject, latest: JsonObject }>

const READ_EVERY_MS = 20_000
/** For a minute after a correction: a client that undoes it is noticed soon, even if updates are not reported. */
const READ_SOON_MS = 6000
const RESTORE_MS = 5000
const MINUTE_MS = 60_000
const MAX_RESTORED = 3
/** Cap for corrections at ignored paths, which nothing else would bound. */
const MAX_IGNORED = 30
/** Cap for different sessions: checking one costs more than making one. */
const MAX_SESSIONS = 600
const MAX_EVENTS = 64

export function createGuard (deps: GuardDeps): Guard {
  const {
    clock, protocol, checkSession, rules: { onChange: mode }, hasDataChannel, fixed, baselineBefore = null, newEventId,
    send, leash, onChange, onEnd, onFault
  } = deps
  const events = createEventCheck({ clock, protocol, checkSession, openResponses: leash.openResponses })
  const mayRestore = createAllowance(clock, MAX_RESTORED)
  const mayIgnore = createAllowance(clock, MAX_IGNORED)
  const mayChange = createAllowance(clock, MAX_SESSIONS)
  /** Our events by id; true if the event may harmlessly come too late. */
  const sent = new Map<string, boolean>()
  /** Our last correction of each field. */
  const corrected = new Map<string, Correction>()
  /** Differences that are known, by path. */
  let standing = new Map<string, Json>()
  let inForce: WatchedSessions | null = null
  let waitingFor: readonly Correction[] = []
  let isOver = false
  let wasHeard = false
  let readSoonUntilMs = -Infinity
  let stopWaiting = () => {}
  let stopReading = () => {}

  function sendEvent (event: (id: string) => JsonObject, mayBeLate = false): void {
    const id = newEventId()
    sent.set(id, mayBeLate)
    if (sent.size > MAX_EVENTS) sent.delete(sent.keys().next().value as string)
    send(event(id))
  }

  function end (paths: readonly string[]): void {
    onChange('ended', paths)
    over()
  }

  function over (): void {
    stop()
    onEnd()
  }

  function handleSession (session: JsonObject): void {
    if (inForce === null) {
      const first = baselineBefore?.(session) ?? session
      inForce = { first, baseline: first, latest: first }
      if (hasDataChannel) readLater()
      if (baselineBefore === null) return
    }
    if (isDeepStrictEqual(session, inForce.latest)) {
      // The session of the last check, which found nothing to correct: it is not checked or kept twice.
      if (standing.size === 0 && waitingFor.length === 0) return
    } else if (!mayChange()) return end(['session'])
    inForce = { ...inForce, latest: session }
    if (waitingFor.every(isRight)) checkLatest()
  }

  function isRight ({ field }: Correction): boolean {
    const { baseline, latest } = inForce as WatchedSessions
    const now = getIn(latest, field) ?? null
    return isOurs(field, now) || isSame(now, getIn(baseline, field) ?? null)
  }

  /** The value that upstream reported first, or that we set, which may be another empty value. */
  function isOurs (field: Path, value: Json): boolean {
    const { first } = inForce as WatchedSessions
    const last = corrected.get(dotted(field))
    return isSame(value, getIn(first, field) ?? null) || (last !== undefined && isSame(value, last.value ?? null))
  }

  function checkLatest (): void {
    stopWaiting()
    waitingFor = []
    const { first, latest, ...before } = inForce as WatchedSessions
    const { baseline, refused, ignored, reportedOnly, corrections } = checkSession(before.baseline, latest, isOurs)
    inForce = { first, baseline, latest }
    const isNew = newsIn(latest, [...refused, ...ignored, ...reportedOnly])
    const news = { refused: refused.filter(isNew), reportedOnly: reportedOnly.filter(isNew) }
    if (ignored.some(isNew)) onChange('ignored', ignored.map(dotted))
    if (news.reportedOnly.length > 0) onChange('reported', news.reportedOnly.map(dotted))
    if (mode === 'report') {
      if (news.refused.length > 0) onChange('reported', news.refused.map(dotted))
      return
    }
    if (corrections.length === 0) return
    const paths = refused.map(dotted)
    if (refused.length > 0 && mode === 'end') return end(paths)
    if (corrections.some(isBeyondRepair)) return end(corrections.map(({ field }) => dotted(field)))
    if (!(refused.length > 0 ? mayRestore() : mayIgnore())) return end(corrections.map(({ field }) => dotted(field)))
    if (news.refused.length > 0) onChange('restored', news.refused.map(dotted))
    restore(corrections)
  }

  function isBeyondRepair ({ field, value }: Correction): boolean {
    return value === undefined || (wasHeard && dotted(field) === dotted(protocol.fixedOnceHeard))
  }

  function restore (corrections: readonly Correction[]): void {
    for (const correction of corrections) corrected.set(dotted(correction.field), correction)
    waitingFor = corrections
    stopWaiting = clock.after(RESTORE_MS, guarded(checkLatest))
    readSoonUntilMs = clock.monotonicMs() + MINUTE_MS
    if (hasDataChannel) readLater()
    sendEvent((id) => protocol.updateEvent(id, corrections as readonly { field: Path, value: Json }[]))
  }

  /** A change is new once: reported again with the same value it is not. */
  function newsIn (latest: JsonObject, paths: readonly Path[]): (path: Path) => boolean {
    const before = standing
    standing = new Map(paths.map((path) => [dotted(path), getIn(latest, path) ?? null]))
    return (path) => !isDeepStrictEqual(before.get(dotted(path)), getIn(latest, path) ?? null)
  }

  function correct ({ paths, isKnown, remedy }: Violation): void {
    if (mode === 'report') {
      if (!isKnown) onChange('reported', paths)
      return
    }
    if (!isKnown && (mode === 'end' || remedy.did === 'ended' || !mayRestore())) return end(paths)
    if (!isKnown) onChange(remedy.did, paths)
    if (remedy.did === 'deleted') {
      events.willDelete(remedy.itemId)
      sendEvent((id) => protocol.deleteEvent(id, remedy.itemId), true)
    }
    if (remedy.did !== 'cancelled') return
    for (const responseId of remedy.responseIds) sendEvent((id) => protocol.cancelEvent(id, responseId), true)
  }

  /** Whether upstream reports a client's changes is not documented: so the session is read. */
  function readLater (): void {
    stopReading()
    stopReading = clock.after(clock.monotonicMs() < readSoonUntilMs ? READ_SOON_MS : READ_EVERY_MS, guarded(() => {
      readLater()
      if (leash.isJoined() && waitingFor.length === 0) sendEvent((id) => protocol.readEvent(id, fixed))
    }))
  }

  function guarded (step: () => void): () => void {
    return () => {
      try {
        step()
      } catch (error) {
        onFault(error)
      }
    }
  }

  function stop (): void {
    isOver = true
    stopWaiting()
    stopReading()
  }

  return {
    handle: (signal) => {
      if (isOver) return
      if (signal.is === 'playback' && signal.isOpen) wasHeard = true
      if (signal.is === 'session') return handleSession(signal.session)
      if (signal.is === 'error') {
        const mayBeLate = sent.get(signal.eventId ?? '')
        if (mayBeLate === false || (mayBeLate === true && !protocol.isTooLate(signal.code))) over()
        return
      }
      const found = inForce === null ? null : events.check(signal, inForce)
      if (found !== null) correct(found)
    },
    noteGap: () => {
      stopWaiting()
      waitingFor = []
      events.noteGap()
    },
    baseline: () => inForce?.baseline ?? null,
    stop
  }
}

function dotted (path: Path): string {
  return path.join('.')
}

/** Allows `most` within a minute. */
function createAllowance (clock: Pick<Clock, 'monotonicMs'>, most: number): () => boolean {
  let taken: number[] = []
  return () => {
    const nowMs = clock.monotonicMs()
    taken = [...taken.filter((atMs) => atMs > nowMs - MINUTE_MS), nowMs]
    return taken.length <= most
  }
}

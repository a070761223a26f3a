// The sideband of a call, opened again whenever it is lost: the call may go on without it. A sideband counts as open
// once its first read is answered.
//
// | state    | what comes                         | then                                         |
// |----------|------------------------------------|----------------------------------------------|
// | dialling | open                               | reading                                      |
// |          | not found, at the start            | dialling after the next of NOT_FOUND_MS      |
// |          | not found, later                   | over: the call is gone, and was gone at the  |
// |          |                                    | close if this answer comes within a second   |
// |          | anything else                      | dialling after the next of REOPEN_MS         |
// | reading  | the session                        | open                                         |
// |          | an error that names the read       | over: refused                                |
// |          | nothing for 10 s                   | lost; at the start over: silent              |
// | open     | close                              | lost: dialling at once, or after what may    |
// |          |                                    | have ended the call is settled               |
// | any      | fifth loss in a minute, 20 s lost  | over: lost                                   |

import type { Clock } from '../clock.ts'
import type { Json, JsonObject } from '../json.ts'
import type { CallProtocol, Signal } from '../realtime/call-protocol.ts'
import type { Closing, Sideband, SidebandHandlers } from '../upstream/sideband.ts'

export type Loss = 'gone' | 'refused' | 'silent' | 'lost'

/** `error` is one of ours. */
export type Lost = Pick<Closing, 'reason' | 'isClean'> & Readonly<{ error?: unknown }>

export type Supervision = Readonly<{
  /** Whether a first read was answered. */
  isReady: () => boolean
  /** Whether the sideband is ready and was not lost since. */
  isOpen: () => boolean
  send: (event: JsonObject) => void
  /** Reopens the sideband after an error in the handling of events. */
  fail: (error: unknown) => void
  /** No callback is called from here on. */
  stop: () => void
}>

export type SupervisionDeps = Readonly<{
  clock: Clock
  protocol: Pick<CallProtocol, 'signalOf' | 'readEvent'>
  dial: (handlers: SidebandHandlers) => Sideband
  newEventId: () => string
  /** The values that the policy fixes: a read sets one of them again. None where the policy only reports. */
  fixed: JsonObject
  /** Another replica had the sideband open: it is reopened. */
  isResumed?: boolean
  onReady: (session: Signal & { is: 'session' }) => void
  /** `isOurs`: the answer to an event that we sent. */
  onEvent: (signal: Signal | null, isOurs: boolean) => void
  onLost: (lost: Lost) => void
  onReopened: () => void
  /** Called before `onOver` with `gone`, if the call may have gone on after the sideband was lost. */
  onGoneSince: () => void
  onOver: (loss: Loss) => void
  /** The hang-up that is under way, if any. */
  ending: () => Promise<unknown> | null
}>

const NOT_FOUND_MS = [250, 750, 1500, 3000] as const
const REOPEN_MS = [0, 500, 1000, 2000, 4000] as const
const READ_MS = 10_000
const AT_ONCE_MS = 1000
const MINUTE_MS = 60_000
const MAX_LOSSES = 5
const MAX_LOST_MS = 20_000
const LOST_WITHIN_MS = 120_000

export function supervise (deps: SupervisionDeps): Supervision {
  const {
    clock, protocol, dial, newEventId, fixed, isResumed = false, onReady, onEvent, onLost, onReopened, onGoneSince,
    onOver, ending
  } = deps
  let sideband: Sideband | null = null
  let isReady = isResumed
  let isOver = false
  let readId: string | null = null
  let sessionId: Json | undefined
  let wasNotFound = 0
  let tries = 0
  let losses: number[] = []
  let gaps: { fromMs: number, toMs: number }[] = []
  let lostAtMs = isResumed ? clock.monotonicMs() : null
  let redialledAtMs = -Infinity
  let stopDial = () => {}
  let stopRead = () => {}
  let stopLost = () => {}

  function open (): void {
    tries++
    sideband = dial({ onOpen: read, onEvent: take, onClose: closed })
  }

  function read (): void {
    tries = 0
    readId = newEventId()
    sideband?.send(protocol.readEvent(readId, fixed))
    if (isReady) stopRead = clock.after(READ_MS, () => lose({ reason: 'silent', isClean: false }))
  }

  function take (type: string, body: () => JsonObject | undefined): void {
    const signal = protocol.signalOf(type, body)
    if (readId !== null && signal?.is === 'session') return opened(signal)
    if (readId !== null && signal?.is === 'error' && signal.eventId === readId) return end('refused')
    // Events of another session than the one that was read are not this call's.
    if (signal?.is === 'session' && signal.session.id !== sessionId) return
    onEvent(signal, signal?.is === 'error' && signal.eventId !== null)
  }

  /** The answer to a read carries no event id: the first session after the read is taken for it. */
  function opened (session: Signal & { is: 'session' }): void {
    readId = null
    sessionId = session.session.id
    stopRead()
    stopLost()
    if (lostAtMs !== null) {
      gaps.push({ fromMs: lostAtMs, toMs: clock.monotonicMs() })
      lostAtMs = null
      onReopened()
    }
    if (isReady) return onEvent(session, true)
    isReady = true
    stopStart()
    onReady(session)
  }

  function closed (closing: Closing): void {
    if (closing.wasOpen) return lose(closing)
    const { isGone } = closing
    sideband = null
    if (isGone && isReady) {
      if (tries > 1 || clock.monotonicMs() - redialledAtMs > AT_ONCE_MS) onGoneSince()
      return end('gone')
    }
    if (isGone) tries = 0
    const pauseMs = isGone ? NOT_FOUND_MS[wasNotFound++] : REOPEN_MS[tries]
    if (pauseMs === undefined) return end(isGone ? 'gone' : 'lost')
    stopDial = clock.after(pauseMs, open)
  }

  function lose (lost: Lost): void {
    const nowMs = clock.monotonicMs()
    sideband?.close()
    sideband = null
    readId = null
    stopRead()
    losses = [...losses, nowMs].filter((atMs) => atMs > nowMs - MINUTE_MS)
    lostAtMs ??= nowMs
    onLost(lost)
    if (losses.length >= MAX_LOSSES) return end('lost')
    gaps = gaps.filter(({ toMs }) => toMs > nowMs - LOST_WITHIN_MS)
    const lostMs = gaps.reduce((sum, { fromMs, toMs }) => sum + toMs - fromMs, nowMs - lostAtMs)
    stopLost()
    stopLost = clock.after(Math.max(0, MAX_LOST_MS - lostMs), () => end('lost'))
    const settled = ending()
    if (settled === null) dialAgain()
    else settled.then(dialAgain)
  }

  function dialAgain (): void {
    redialledAtMs = clock.monotonicMs()
    if (!isOver) stopDial = clock.after(REOPEN_MS[0], open)
  }

  function stop (): void {
    isOver = true
    for (const stopTimer of [stopStart, stopDial, stopRead, stopLost]) stopTimer()
    sideband?.close()
    sideband = null
  }

  function end (loss: Loss): void {
    stop()
    onOver(loss)
  }

  const stopStart = isResumed ? () => {} : clock.after(READ_MS, () => end('silent'))
  if (isResumed) stopLost = clock.after(MAX_LOST_MS, () => end('lost'))
  open()
  return {
    isReady: () => isReady,
    isOpen: () => isReady && lostAtMs === null,
    send: (event) => sideband?.send(event),
    fail: (error) => { if (sideband !== null) lose({ reason: 'event_failed', isClean: false, error }) },
    stop
  }
}

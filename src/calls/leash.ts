// The timers of a call: it ends if the client never connects, if it is idle for too long, or at its longest duration.

import type { Clock } from '../clock.ts'
import type { Signal } from '../realtime/call-protocol.ts'

export type LeashReason = 'never_connected' | 'idle' | 'max_duration'

export type Leash = Readonly<{
  /**
   * Starts the timers: the answer goes out, and the client may connect. The idle time of a call that was taken over
   * begins again: no replica heard the speech in between.
   */
  begin: () => void
  /** The client has connected: an event came that is no answer to ours. */
  join: () => void
  isJoined: () => boolean
  /** Takes an event that may affect the timers. */
  handle: (signal: Signal) => void
  /** The sideband was lost: whether anyone speaks is unknown. */
  forget: () => void
  /** Ends the call at this moment at the latest. */
  endBy: (atMs: number) => void
  /** Shorter times than before take effect; longer ones do not. */
  shorten: (maxSeconds: number, idleSeconds: number) => void
  /** By the monotonic clock. */
  endsAtMs: () => number
  openResponses: () => readonly string[]
  state: () => LeashState
  stop: () => void
}>

/** State for a replica that takes the call over; milliseconds since the call was created. */
export type LeashState = Readonly<{ isJoined: boolean, idleMs: number, endsAtMs: number }>

const LEAST_TO_JOIN_MS = 45_000
/** A call has one response at a time, and few out of band. */
const MAX_RESPONSES = 256

/** `bornMs` is when upstream created the call; `before` is the state from another replica. */
export function createLeash ({ clock, bornMs, maxSeconds, idleSeconds, before = null, onEnd }: Readonly<{
  clock: Clock
  bornMs: number
  maxSeconds: number
  idleSeconds: number
  before?: LeashState | null
  onEnd: (reason: LeashReason) => void
}>): Leash {
  const responses = new Set<string>()
  let isSpeaking = false
  let isPlaying = false
  let isJoined = before?.isJoined ?? false
  let isBegun = false
  let lastMs = bornMs
  let idleMs = before?.idleMs ?? idleSeconds * 1000
  let endsAtMs = bornMs + (before?.endsAtMs ?? maxSeconds * 1000)
  let stopLongest = clock.after(Math.max(0, endsAtMs - clock.monotonicMs()), () => onEnd('max_duration'))
  let stopQuiet = () => {}

  const isBusy = () => isSpeaking || isPlaying || responses.size > 0

  /** One timer for all events: when it fires, it waits for the rest of the time since the last event. */
  function watch (ms: number): void {
    stopQuiet = clock.after(ms, () => {
      if (!isJoined) return onEnd('never_connected')
      const quietMs = isBusy() ? 0 : clock.monotonicMs() - lastMs
      if (quietMs >= idleMs) return onEnd('idle')
      watch(idleMs - quietMs)
    })
  }

  function rewatch (): void {
    if (!isBegun) return
    stopQuiet()
    watch(isJoined ? Math.max(0, idleMs - (clock.monotonicMs() - lastMs)) : Math.max(LEAST_TO_JOIN_MS, idleMs))
  }

  function endBy (atMs: number): void {
    if (atMs >= endsAtMs) return
    endsAtMs = atMs
    stopLongest()
    stopLongest = clock.after(Math.max(0, atMs - clock.monotonicMs()), () => onEnd('max_duration'))
  }

  return {
    begin: () => {
      isBegun = true
      lastMs = clock.monotonicMs()
      rewatch()
    },
    join: () => {
      if (isJoined) return
      isJoined = true
      lastMs = clock.monotonicMs()
      rewatch()
    },
    isJoined: () => isJoined,
    handle: (signal) => {
      if (signal.is === 'speech') isSpeaking = signal.isOpen
      else if (signal.is === 'committed') isSpeaking = false
      else if (signal.is === 'playback') isPlaying = signal.isOpen
      else if (signal.is === 'response') {
        if (!signal.isOpen) responses.delete(signal.id ?? '')
        else if (responses.size < MAX_RESPONSES) responses.add(signal.id ?? '')
      } else if (signal.is !== 'item' && signal.is !== 'transcription') return
      lastMs = clock.monotonicMs()
    },
    forget: () => {
      if (isBusy()) lastMs = clock.monotonicMs()
      isSpeaking = isPlaying = false
      responses.clear()
    },
    endBy,
    shorten: (maxSeconds, idleSeconds) => {
      endBy(bornMs + maxSeconds * 1000)
      if (idleSeconds * 1000 >= idleMs) return
      idleMs = idleSeconds * 1000
      if (isJoined) rewatch()
    },
    endsAtMs: () => endsAtMs,
    openResponses: () => [...responses],
    state: () => ({ isJoined, idleMs, endsAtMs: endsAtMs - bornMs }),
    stop: () => {
      stopLongest()
      stopQuiet()
    }
  }
}

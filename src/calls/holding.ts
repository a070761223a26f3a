// The holding of one call for as long as it lasts: its place, what it took from the limits and, where replicas share
// calls, its record. Here in memory.

import type { Reservation, Reserved } from '../limits/limits.ts'
import type { CallEnd } from '../records/audit.ts'
import type { Place } from './place.ts'
import type { CallRecord } from './record.ts'
import type { CallStatus } from './shared.ts'
import type { CallView } from './view.ts'

/** A call at one moment. */
export type Snapshot = Readonly<{ state: CallStatus, ageMs: number, record: CallRecord, view: CallView | null }>

export type Ending = Readonly<{
  /** Known once `starting` is settled: the line of the start comes first. */
  line: () => CallEnd
  starting: Promise<unknown>
  view: CallView
  /** Written for a replica that has taken the call over. */
  record: () => CallRecord
  unusedSeconds: number
}>

export type Holding = Readonly<{
  /** Takes from the windows, and the place where it is shared: all or none. Throws ApiError. */
  reserve: (windows: Omit<Reservation, 'credit' | 'place'>, snapshot: () => Snapshot) => Promise<Reserved>
  /** The call whose place this one waits for; null if it has one of its own. Known once `reserve` is done. */
  replaces: () => string | null
  /** Resolves once this call has the place of the call that it replaces. */
  whenPassed: () => Promise<unknown>
  /** From now on another call may replace this one. */
  offer: () => void
  /** Writes the call down for other replicas. Rejects with ApiError where another has it, or may have it. */
  write: (snapshot: Snapshot) => Promise<void>
  /** Resolves after the first attempt to write the line. Never rejects. */
  conclude: (ending: Ending) => Promise<void>
  /** As `write`, if possible. Never rejects. */
  note: (snapshot: Snapshot) => Promise<unknown>
  /** Gives only the place back: there was no call, or its id is unknown. */
  release: (afterMs: number) => void
}>

/** How long a call that may exist, under an unknown id, keeps its place. No client has its answer: upstream ends it. */
export const UNKNOWN_KEPT_MS = 60_000

/** Tries until the line is written, then calls back; resolves after the first attempt. */
export type WriteLine = (line: CallEnd, onWritten?: () => unknown) => Promise<void>

export function holdInMemory ({ place, reserve, giveBack, after, writeLine }: Readonly<{
  place: Place
  reserve: Holding['reserve']
  giveBack: (seconds: number) => void
  after: (ms: number, callback: () => void) => unknown
  writeLine: WriteLine
}>): Holding {
  return {
    reserve,
    replaces: () => place.replaces,
    whenPassed: () => place.passed,
    offer: place.offer,
    write: async () => {},
    note: async () => {},
    conclude: async ({ line, starting, unusedSeconds }) => {
      giveBack(unusedSeconds)
      place.release()
      await starting.catch(() => {})
      await writeLine(line())
    },
    release: (afterMs) => {
      if (afterMs > 0) after(afterMs, place.release)
      else place.release()
    }
  }
}

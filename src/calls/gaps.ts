// Whether the sideband of a call has shown all events, and why it was closed.

import type { CallProtocol } from '../realtime/call-protocol.ts'
import type { Loss, Lost } from './supervision.ts'

export type Gaps = Readonly<{
  /** Another replica had the sideband before. */
  noteAdopted: () => void
  noteError: (code: string | null) => void
  noteLost: (closing: Pick<Lost, 'reason' | 'isClean'>, isHangingUp: boolean) => void
  noteReopened: () => void
  /** A hang-up is tried while the sideband is lost: the call may have gone on until then. */
  noteStillLost: () => void
  /** The call may have gone on for a while after the sideband was lost. */
  noteGoneSince: () => void
  /** The sideband will not be opened again. */
  noteOver: (loss: Loss) => void
  /** Events may have been missed, since the sideband was lost and is not open again. */
  isOpen: () => boolean
  /** Upstream closed the sideband because the call had reached its longest duration. */
  wasExpired: () => boolean
}>

export function createGaps (protocol: Pick<CallProtocol, 'isExpired'>): Gaps {
  let isBlind = false
  /** The sideband was not closed by a frame that upstream sent after its last event. */
  let isCut = false
  let closeReason = ''
  let lastError: string | null = null
  return {
    noteAdopted: () => { isBlind = isCut = true },
    noteError: (code) => { lastError = code },
    noteLost: ({ reason, isClean }, isHangingUp) => {
      closeReason = reason
      isCut ||= !isClean
      isBlind ||= !isHangingUp || isCut
    },
    noteReopened: () => { isBlind = isCut = false },
    noteStillLost: () => { isBlind = true },
    noteGoneSince: () => { isCut = true },
    noteOver: (loss) => { isBlind = loss !== 'gone' || isCut },
    isOpen: () => isBlind,
    wasExpired: () => protocol.isExpired(closeReason, lastError)
  }
}

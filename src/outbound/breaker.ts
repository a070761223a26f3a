// Stops asking a server that fails: after a run of failures it lets one probe through now and then, and refuses
// everyone else at once. Nothing queues.

import { LRUCache } from 'lru-cache'

/** Callers who failed since the last success; the oldest is forgotten first. */
const MAX_SUSPECTS = 1000

/** `failure` where the request itself may be the cause, `outage` where no request can be. */
export type Verdict = 'success' | 'failure' | 'outage'

export type BreakerOptions<Outcome> = Readonly<{
  failuresInARow: number
  /** At most this many failures of one caller count in a row. */
  ofOneCaller?: number
  probeAfterMs: number
  judge: (outcome: Outcome) => Verdict
  onOpen: () => void
  onClose: () => void
  /** Monotonic, in milliseconds. */
  now: () => number
}>

export type Breaker<Outcome> = Readonly<{
  isOpen: () => boolean
  /** Resolves with undefined at once, and does not ask, while the breaker is open. */
  ask: (question: () => Promise<Outcome>, caller?: string) => Promise<Outcome | undefined>
}>

export function createBreaker<Outcome> (options: BreakerOptions<Outcome>): Breaker<Outcome> {
  const { failuresInARow, ofOneCaller = failuresInARow, probeAfterMs, judge, onOpen, onClose, now } = options
  const failuresOf = new LRUCache<string, number>({ max: MAX_SUSPECTS })
  // A caller who failed may be the cause, so nobody else waits for the outcome of that caller's probes.
  const others = { waitMs: probeAfterMs, since: 0, isProbing: false }
  const suspects = { waitMs: 2 * probeAfterMs, since: 0, isProbing: false }
  let failures = 0
  let openings = 0
  let isOpen = false

  function count (verdict: Verdict, caller: string, lane: typeof others): void {
    if (verdict === 'success') {
      failures = 0
      failuresOf.clear()
      if (isOpen) onClose()
      isOpen = false
      return
    }
    const earlier = failuresOf.get(caller) ?? 0
    if (verdict === 'failure') failuresOf.set(caller, earlier + 1)
    if (isOpen) lane.since = suspects.since = now()
    else if (earlier < ofOneCaller || verdict === 'outage') failures++
    if (isOpen || failures < failuresInARow) return
    isOpen = true
    openings++
    others.since = suspects.since = now()
    onOpen()
  }

  return {
    isOpen: () => isOpen,
    ask: async (question, caller = '') => {
      const lane = failuresOf.has(caller) ? suspects : others
      if (isOpen && (lane.isProbing || now() - lane.since < lane.waitMs)) return undefined
      const [isProbe, opening] = [isOpen, openings]
      if (isProbe) lane.isProbing = true
      try {
        const outcome = await question()
        // An answer to what was asked before it opened is about the past.
        if (opening === openings) count(judge(outcome), caller, lane)
        return outcome
      } finally {
        if (isProbe) lane.isProbing = false
      }
    }
  }
}

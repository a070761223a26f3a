// Circuit breaker: opens after a run of failures, then lets one probe through now and then and refuses everything else
// at once. Nothing queues.

import { LRUCache } from 'lru-cache'

/** Cap on the callers whose failures since the last success are tracked. */
const MAX_SUSPECTS = 1000

/** `failure`: the request itself may be the cause; `outage`: no request can be. */
export type Verdict = 'success' | 'failure' | 'outage'

export type BreakerOptions<Outcome> = Readonly<{
  failuresInARow: number
  /** How many failures of one caller count. */
  ofOneCaller?: number
  probeAfterMs: number
  classify: (outcome: Outcome) => Verdict
  onOpen: () => void
  onClose: () => void
  /** Monotonic, in milliseconds. */
  now: () => number
}>

export type Breaker<Outcome> = Readonly<{
  isOpen: () => boolean
  /** While the breaker is open, resolves with undefined at once and does not run the task. */
  run: (task: () => Promise<Outcome>, caller?: string) => Promise<Outcome | undefined>
}>

export function createBreaker<Outcome> (options: BreakerOptions<Outcome>): Breaker<Outcome> {
  const { failuresInARow, ofOneCaller = failuresInARow, probeAfterMs, classify, onOpen, onClose, now } = options
  const failuresOf = new LRUCache<string, number>({ max: MAX_SUSPECTS })
  // Callers whose requests failed may be the cause, so their probes do not delay those of others.
  const others = { waitMs: probeAfterMs, since: 0, isProbing: false }
  const suspects = { waitMs: 2 * probeAfterMs, since: 0, isProbing: false }
  let failures = 0
  let openings = 0
  let isOpen = false

  function count (verdict: Verdict, caller: string, lane: typeof others): void {
    if (verdict === 'success') {
      failures = 0
      // Clearing an empty cache costs as much as a full one.
      if (failuresOf.size > 0) failuresOf.clear()
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
    run: async (task, caller = '') => {
      const lane = failuresOf.has(caller) ? suspects : others
      if (isOpen && (lane.isProbing || now() - lane.since < lane.waitMs)) return undefined
      const [isProbe, opening] = [isOpen, openings]
      if (isProbe) lane.isProbing = true
      try {
        const outcome = await task()
        // The outcome of a task that began before the breaker opened is outdated.
        if (opening === openings) count(classify(outcome), caller, lane)
        return outcome
      } finally {
        if (isProbe) lane.isProbing = false
      }
    }
  }
}

// The breaker before upstream, and which outcomes count as failures. A run of failures of one caller does not: a value
// that the policy allows may be one that upstream answers with 500.

import { ApiError } from '../errors.ts'
import { createBreaker, type Verdict } from '../outbound/breaker.ts'
import type { Log } from '../records/log.ts'
import type { UpstreamAnswer } from './attempt.ts'

const FAILURES_IN_A_ROW = 10
const OF_ONE_CALLER = 3
const PROBE_AFTER_MS = 2000

export type UpstreamBreaker = Readonly<{
  isOpen: () => boolean
  ask: (
    attempt: () => Promise<UpstreamAnswer | ApiError>, safetyIdentifier: string
  ) => Promise<UpstreamAnswer | ApiError>
}>

/** `now` is monotonic, in milliseconds. */
export function createUpstreamBreaker (
  log: Pick<Log, 'error' | 'warn'>, now = () => performance.now()
): UpstreamBreaker {
  const breaker = createBreaker<UpstreamAnswer | ApiError>({
    failuresInARow: FAILURES_IN_A_ROW,
    ofOneCaller: OF_ONE_CALLER,
    probeAfterMs: PROBE_AFTER_MS,
    classify,
    onOpen: () => log.error({ code: 'upstream_unavailable' }, 'upstream is failing: mints are refused but for a probe'),
    onClose: () => log.warn({}, 'upstream answers again'),
    now
  })
  return {
    isOpen: breaker.isOpen,
    ask: async (attempt, safetyIdentifier) => await breaker.run(attempt, safetyIdentifier) ?? breakerOpen()
  }
}

function breakerOpen (): ApiError {
  const retryAfterSeconds = Math.ceil(PROBE_AFTER_MS / 1000)
  return new ApiError('upstream_unavailable', { reason: 'breaker_open', retryAfterSeconds })
}

/** A 429 or a 400 does not mean that upstream is down. If no connection was made, no request can be the cause. */
function classify (outcome: UpstreamAnswer | ApiError): Verdict {
  if (!(outcome instanceof ApiError)) return outcome.status >= 500 ? 'failure' : 'success'
  const { code, reason } = outcome
  return code === 'upstream_unavailable' || reason === 'connect_timeout' || reason === 'tls' ? 'outage' : 'failure'
}

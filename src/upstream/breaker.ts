// Sheds load while upstream is down: after a run of failures nothing is asked of it but a probe now and then.

import { BrokenCircuitError, circuitBreaker, CircuitState, ConsecutiveBreaker, handleWhenResult } from 'cockatiel'
import { halfOpenAfter } from '../circuit.ts'
import { ApiError } from '../errors.ts'
import type { Log } from '../records/log.ts'
import type { Answer } from './attempt.ts'

const FAILURES_IN_A_ROW = 10
const PROBE_AFTER_MS = 2000

export type Breaker = ((attempt: () => Promise<Answer | ApiError>) => Promise<Answer | ApiError>) & Readonly<{ isOpen: () => boolean }>

/** `now` is monotonic, in milliseconds. */
export function createBreaker (log: Pick<Log, 'error' | 'warn'>, now: () => number = () => performance.now()): Breaker {
  const circuit = circuitBreaker(handleWhenResult((outcome) => isFailure(outcome as Answer | ApiError)), {
    halfOpenAfter: halfOpenAfter(PROBE_AFTER_MS, now),
    breaker: new ConsecutiveBreaker(FAILURES_IN_A_ROW)
  })
  circuit.onBreak(() => {
    log.error({ code: 'upstream_unavailable' }, 'upstream is failing: mints are refused but for a probe')
  })
  circuit.onReset(() => log.warn({}, 'upstream answers again'))

  const execute = (attempt: () => Promise<Answer | ApiError>): Promise<Answer | ApiError> => {
    // The library lets others wait for the probe, which may take until the deadline.
    if (circuit.state === CircuitState.HalfOpen) return Promise.resolve(refusal())
    return circuit.execute(attempt).catch((cause) => {
      if (!(cause instanceof BrokenCircuitError)) throw cause
      return refusal(cause)
    })
  }
  return Object.assign(execute, { isOpen: () => circuit.state !== CircuitState.Closed })
}

function refusal (cause?: unknown): ApiError {
  return new ApiError('upstream_unavailable', { reason: 'breaker_open', retryAfterSeconds: Math.ceil(PROBE_AFTER_MS / 1000), cause })
}

/** What upstream does to everyone; a 429 or a 400 is not its being down. */
function isFailure (outcome: Answer | ApiError): boolean {
  return outcome instanceof ApiError || outcome.status >= 500
}

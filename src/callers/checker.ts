// Checks of a credential by another server (forward auth, introspection). Accepted callers are cached briefly, refusals
// never; concurrent checks of one credential share one request; and while the server does not answer, checks pause.

import { createBreaker } from '../outbound/breaker.ts'
import { OutboundError } from '../outbound/request.ts'
import { type Caller, unavailable } from './caller.ts'
import { cacheKey, createCallerCache } from './caller-cache.ts'
import type { CompileContext } from './compile.ts'
import { createWaitingRoom } from './waiting.ts'

const CACHE_MS = 30_000
const TIMEOUT_MS = 3_000
const FAILURES_IN_A_ROW = 5
const PAUSE_SECONDS = 5

/** Throws ApiError for a refusal, OutboundError where the server gives no verdict. */
type Verify = (signal: AbortSignal) => Promise<Caller>

export type CheckCredential = (credential: string, verify: Verify) => Caller | Promise<Caller>

export function createChecker (issuer: string, { log, clock }: Pick<CompileContext, 'log' | 'clock'>): CheckCredential {
  const cache = createCallerCache(CACHE_MS, clock.wallMs)
  const inFlight = new Map<string, Promise<Caller>>()
  const waitingRoom = createWaitingRoom('checker_busy')
  const breaker = createBreaker<Caller | Error>({
    failuresInARow: FAILURES_IN_A_ROW,
    probeAfterMs: PAUSE_SECONDS * 1000,
    // Only a missing response counts: if a 500 did, a client that provokes one could pause the checks of everyone.
    classify: (outcome) => outcome instanceof OutboundError && outcome.noResponse ? 'outage' : 'success',
    onOpen: () => log.error({ issuer }, 'credentials cannot be checked: no response'),
    onClose: () => log.info({ issuer }, 'credentials can be checked again'),
    now: clock.monotonicMs
  })

  async function check (key: string, verify: Verify): Promise<Caller> {
    const outcome = await breaker.run(() => verify(AbortSignal.timeout(TIMEOUT_MS)).catch((error: Error) => error))
    if (outcome === undefined) throw unavailable('checker_paused', PAUSE_SECONDS)
    if (outcome instanceof OutboundError) throw unavailable(`checker_${outcome.code}`)
    if (outcome instanceof Error) throw outcome
    cache.set(key, outcome, JSON.stringify(outcome.claims).length)
    return outcome
  }

  return (credential, verify) => {
    const key = cacheKey(credential)
    return cache.get(key) ?? waitingRoom(() => {
      const checking = inFlight.get(key) ?? check(key, verify).finally(() => inFlight.delete(key))
      inFlight.set(key, checking)
      return checking
    })
  }
}

// Asking somebody else whether a credential is good: a pass is remembered for a short while, a refusal never; the same question
// is not asked twice at the same time; and where no answer comes, the asking pauses, and few requests wait.

import { createBreaker } from '../outbound/breaker.ts'
import { OutboundError } from '../outbound/request.ts'
import { type Caller, unavailable } from './caller.ts'
import { createMemory, memoryKey } from './caller-cache.ts'
import type { Compiling } from './compile.ts'
import { createWaitingRoom } from './waiting.ts'

const REMEMBER_MS = 30_000
const TIMEOUT_MS = 3_000
const SILENCES_IN_A_ROW = 5
const PAUSE_SECONDS = 5

/** `ask` throws ApiError for a refusal, OutboundError where there is no verdict. */
export type Inquire = (credential: string, ask: (signal: AbortSignal) => Promise<Caller>) => Caller | Promise<Caller>

export function createInquiry (issuer: string, { log, clock }: Pick<Compiling, 'log' | 'clock'>): Inquire {
  const memory = createMemory(REMEMBER_MS, clock.wallMs)
  const asking = new Map<string, Promise<Caller>>()
  const waitingRoom = createWaitingRoom('checker_busy')
  const breaker = createBreaker<Caller | Error>({
    failuresInARow: SILENCES_IN_A_ROW,
    probeAfterMs: PAUSE_SECONDS * 1000,
    // Only silence counts: by an answer that is no verdict, such as a 500, anyone could stop the asking for everyone.
    judge: (outcome) => outcome instanceof OutboundError && outcome.isSilence ? 'outage' : 'success',
    onOpen: () => log.error({ issuer }, 'nobody answers whether credentials are good'),
    onClose: () => log.info({ issuer }, 'credentials can be checked again'),
    now: clock.monotonicMs
  })

  async function inquire (key: string, ask: (signal: AbortSignal) => Promise<Caller>): Promise<Caller> {
    const outcome = await breaker.ask(() => ask(AbortSignal.timeout(TIMEOUT_MS)).catch((error: Error) => error))
    if (outcome === undefined) throw unavailable('checker_paused', PAUSE_SECONDS)
    if (outcome instanceof OutboundError) throw unavailable(`checker_${outcome.message}`)
    if (outcome instanceof Error) throw outcome
    memory.remember(key, outcome, JSON.stringify(outcome.claims).length)
    return outcome
  }

  return (credential, ask) => {
    const key = memoryKey(credential)
    return memory.recall(key) ?? waitingRoom(() => {
      const asked = asking.get(key) ?? inquire(key, ask).finally(() => asking.delete(key))
      asking.set(key, asked)
      return asked
    })
  }
}

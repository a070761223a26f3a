// Asking somebody else whether a credential is good: a pass is remembered for a short while, a refusal never; the same question
// is not asked twice at the same time; and where nobody answers, the asking pauses instead of making everybody wait.

import { unavailable, type Caller } from './caller.ts'
import type { Clock, Log } from './jwks.ts'
import { createMemory, memoryKey } from './memory.ts'
import { OutboundError } from './outbound.ts'

const REMEMBER_MS = 30_000
const TIMEOUT_MS = 3_000
const SILENCES = 5
const PAUSE_MS = 5_000

/** `ask` throws ApiError for a verdict, OutboundError where there is none. */
export type Inquire = (credential: string, ask: (signal: AbortSignal) => Promise<Caller>) => Caller | Promise<Caller>

export function createInquiry ({ issuer, log, now, clock }: { issuer: string, log: Log, now: () => number, clock: Clock }): Inquire {
  const memory = createMemory(REMEMBER_MS, now)
  const asking = new Map<string, Promise<Caller>>()
  let silences = 0
  let pausedUntil = -Infinity

  async function inquire (key: string, ask: (signal: AbortSignal) => Promise<Caller>): Promise<Caller> {
    const pauseMs = pausedUntil - clock.now()
    if (pauseMs > 0) throw unavailable('checker_paused', Math.ceil(pauseMs / 1000))
    // After a pause one question goes out; the others wait for how it ends.
    if (silences >= SILENCES) pausedUntil = clock.now() + PAUSE_MS
    try {
      const caller = await ask(AbortSignal.timeout(TIMEOUT_MS))
      memory.remember(key, caller)
      heard()
      return caller
    } catch (error) {
      if (!(error instanceof OutboundError)) {
        heard()
        throw error
      }
      // Only silence counts: with an answer that is no verdict, such as a 500, anyone could stop the asking for everyone.
      if (error.isSilence) unheard()
      else heard()
      throw unavailable(`checker_${error.message}`)
    }
  }

  function heard (): void {
    if (silences >= SILENCES) log.info({ issuer }, 'credentials can be checked again')
    silences = 0
    pausedUntil = -Infinity
  }

  function unheard (): void {
    silences++
    if (silences < SILENCES) return
    if (silences === SILENCES) log.error({ issuer }, 'credentials cannot be checked: nobody answers')
    pausedUntil = clock.now() + PAUSE_MS
  }

  return (credential, ask) => {
    const key = memoryKey(credential)
    const known = memory.recall(key) ?? asking.get(key)
    if (known !== undefined) return known
    const asked = inquire(key, ask).finally(() => asking.delete(key))
    asking.set(key, asked)
    return asked
  }
}

// The last audit line of a call, tried until it is written: accounts are summed up from these lines.

import type { Clock } from '../clock.ts'
import type { Audit, CallEnd } from '../records/audit.ts'
import type { PlainLog } from '../records/log.ts'

const AGAIN_MS = [1000, 5000, 15_000, 60_000] as const

type Deps = Readonly<{ audit: Pick<Audit, 'conclude'>, clock: Clock, log: PlainLog }>
type Facts = Pick<CallEnd, 'issuer' | 'policy' | 'kind'> & Readonly<{
  id: string, safetyIdentifier: string, granted: Pick<CallEnd, 'model' | 'prompt'>
}>
type Rest = Omit<CallEnd, 'call_id' | 'subject' | 'issuer' | 'policy' | 'kind' | 'model' | 'prompt'>

export function lastLineOf (facts: Facts, { upstream_call_id: upstreamId, ...rest }: Rest): CallEnd {
  const { id, safetyIdentifier, issuer, policy, kind, granted: { model, prompt } } = facts
  return {
    call_id: id, upstream_call_id: upstreamId, subject: safetyIdentifier, issuer, policy, kind, model, prompt, ...rest
  }
}

/** Resolves after the first attempt, successful or not. */
export async function writeLastLine (
  deps: Deps, line: CallEnd, onWritten: () => unknown = () => {}, failures = 0
): Promise<void> {
  const { audit, clock, log } = deps
  try {
    await audit.conclude(line)
  } catch (err) {
    log.error({ err, call_id: line.call_id }, 'the end of a call could not be audited')
    const pauseMs = AGAIN_MS[Math.min(failures, AGAIN_MS.length - 1)] as number
    // The line may have been written after all, later than we waited for it.
    clock.after(pauseMs, () => { writeLastLine(deps, { ...line, repeated: true }, onWritten, failures + 1) })
    return
  }
  await onWritten()
}

// Changes by the client in one call: counted, and audited as far as a person would read them.

import type { Clock } from '../clock.ts'
import type { Audit, CallChange } from '../records/audit.ts'
import type { CallMetrics } from '../records/call-metrics.ts'
import type { Did } from './guard.ts'

export type Changes = Readonly<{
  record: (did: Did, paths: readonly string[], upstreamId: string) => void
  count: () => number
}>

type Facts = Pick<CallChange, 'issuer' | 'policy' | 'kind'> & Readonly<{ id: string, safetyIdentifier: string }>

const MINUTE_MS = 60_000
const MAX_LINES = 10
const MAX_PATHS = 20
/** Names inside a prompt's variables, or inside what our types do not know, are not ours. */
const MAX_PATH = 256

export function createChanges ({ clock, audit, metrics }: Readonly<{
  clock: Pick<Clock, 'monotonicMs'>
  audit: Pick<Audit, 'change'>
  metrics: Pick<CallMetrics, 'changed'>
}>, { id, safetyIdentifier, issuer, policy, kind }: Facts, countBefore = 0): Changes {
  let written: number[] = []
  let count = countBefore

  return {
    record: (did, paths, upstreamId) => {
      metrics.changed(did, policy)
      // A change at an ignored path counts as none.
      if (did === 'ignored') return
      count++
      const nowMs = clock.monotonicMs()
      written = written.filter((atMs) => atMs > nowMs - MINUTE_MS)
      if (written.length >= MAX_LINES) return
      written.push(nowMs)
      audit.change({
        call_id: id,
        upstream_call_id: upstreamId,
        subject: safetyIdentifier,
        issuer,
        policy,
        kind,
        did,
        paths: paths.slice(0, MAX_PATHS).map((path) => path.slice(0, MAX_PATH))
      })
    },
    count: () => count
  }
}

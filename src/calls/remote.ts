// A call that another replica has, according to its record. Requests to end it are passed on by Redis.

import type { Clock } from '../clock.ts'
import type { Call } from './call.ts'
import type { CallFacts } from './facts.ts'
import { readRecord } from './record.ts'
import type { Found, SharedCalls } from './shared.ts'
import type { CallView } from './view.ts'

/** A call that upstream has created. Once ended, it keeps no sessions, and nothing else that is not needed. */
export type KnownCall = Pick<Call, 'view' | 'end' | 'over' | 'hangUpAgain'> & Readonly<{
  facts: Pick<CallFacts, 'issuer' | 'subject' | 'safetyIdentifier' | 'policy' | 'kind'>
}>

const LOOK_MS = 100
/** Longer than any request waits for the end. */
const LOOKS = 60

/** Null until upstream has created the call. */
export function viewIn ({ view, state, nowMs, bornMs, wish }: Found): CallView | null {
  const known = JSON.parse(String(view)) as CallView | null
  if (known === null) return null
  if (state === 'done' || state === 'claimed') return known
  return {
    ...known,
    status: wish === null ? known.status : 'ending',
    end_reason: known.end_reason ?? wish,
    seconds: Math.max(known.seconds, Math.ceil((nowMs - bornMs) / 1000))
  }
}

/** Null if the record cannot be read. */
export function remoteCall (
  { shared, clock }: Readonly<{ shared: SharedCalls, clock: Clock }>, id: string, found: Found
): KnownCall | null {
  const record = readRecord(String(found.data))
  const view = viewIn(found)
  if (record === null && found.state !== 'done') return null
  const over = Promise.withResolvers<void>()
  const wait = async (looks: number): Promise<void> => {
    const [now = null] = await shared.read([id]).catch(() => [])
    if (now === null || now.state === 'done' || looks === 0) return over.resolve()
    clock.after(LOOK_MS, () => { wait(looks - 1) })
  }
  return {
    facts: {
      issuer: record?.issuer ?? '',
      subject: record?.subject ?? '',
      safetyIdentifier: found.caller,
      policy: found.policy,
      kind: record?.kind ?? 'realtime'
    },
    view: () => view,
    end: (reason) => {
      shared.post(reason, [id]).catch(() => {})
      wait(LOOKS)
    },
    over: over.promise,
    hangUpAgain: () => {}
  }
}

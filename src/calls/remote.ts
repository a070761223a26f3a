// A call that another replica has, according to its record. Requests to end it are passed on by Redis.

import type { Clock } from '../clock.ts'
import { createBatch } from '../turn-batch.ts'
import type { Call, EndReason } from './call.ts'
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

/** Null until upstream has created the call, and if the view cannot be read. */
export function viewIn ({ view, state, nowMs, bornMs, wish }: Found): CallView | null {
  const known = readView(view)
  if (known === null) return null
  if (state === 'done' || state === 'claimed') return known
  return {
    ...known,
    status: wish === null ? known.status : 'ending',
    end_reason: known.end_reason ?? wish,
    seconds: Math.max(known.seconds, Math.ceil((nowMs - bornMs) / 1000))
  }
}

function readView (view: Found['view']): CallView | null {
  try {
    return JSON.parse(String(view)) as CallView | null
  } catch {
    return null
  }
}

/** Null if the record cannot be read. */
export type RemoteCall = (id: string, found: Found) => KnownCall | null

export function createRemoteCalls (
  { shared, clock }: Readonly<{ shared: Pick<SharedCalls, 'post' | 'read'>, clock: Clock }>
): RemoteCall {
  /** Calls that are to end, each with how often it is still read. */
  const ending = new Map<string, { looks: number, over: PromiseWithResolvers<void> }>()
  const toPost = new Map<EndReason, string[]>()
  const inTurn = createBatch()
  let isLooking = false

  // An operator may end thousands at once: they are posted together, and read together.
  function post (): void {
    for (const [reason, ids] of toPost) shared.post(reason, ids).catch(() => {})
    toPost.clear()
    if (!isLooking) look()
  }

  async function look (): Promise<void> {
    isLooking = true
    const ids = [...ending.keys()]
    const found = await shared.read(ids).catch(() => null)
    for (const [i, id] of ids.entries()) {
      const one = ending.get(id) as NonNullable<ReturnType<typeof ending.get>>
      const isOver = found !== null && (found[i]?.state ?? 'done') === 'done'
      if (!isOver && --one.looks > 0) continue
      ending.delete(id)
      one.over.resolve()
    }
    isLooking = ending.size > 0
    if (isLooking) clock.after(LOOK_MS, look)
  }

  function end (id: string, reason: EndReason): Promise<void> {
    const { over } = ending.get(id) ?? { over: Promise.withResolvers<void>() }
    ending.set(id, { looks: LOOKS, over })
    if (toPost.size === 0) inTurn(post)
    const ids = toPost.get(reason)
    if (ids === undefined) toPost.set(reason, [id])
    else ids.push(id)
    return over.promise
  }

  return (id, found) => {
    const record = readRecord(String(found.data))
    const view = viewIn(found)
    if (record === null && found.state !== 'done') return null
    const over = Promise.withResolvers<void>()
    return {
      facts: {
        issuer: record?.issuer ?? '',
        subject: record?.subject ?? '',
        safetyIdentifier: found.caller,
        policy: found.policy,
        kind: record?.kind ?? 'realtime'
      },
      view: () => view,
      end: (reason) => { over.resolve(end(id, reason)) },
      over: over.promise,
      hangUpAgain: () => {}
    }
  }
}

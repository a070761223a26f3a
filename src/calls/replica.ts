// This replica among others: renews its lease, takes messages about its calls, writes their records, and takes over
// calls of replicas that are dead or stopping.
//
// | since the last renewal | what is done                                                                           |
// |------------------------|----------------------------------------------------------------------------------------|
// | 20 s                   | its calls are hung up, unless they go on without Redis                                 |
// | 28 s                   | its calls are let go: from 30 s on another replica may have them. A replica that goes  |
// |                        | on without Redis does so only where its process had been stopped                       |

import { randomBytes } from 'node:crypto'
import { type Clock, pause } from '../clock.ts'
import type { PlainLog } from '../records/log.ts'
import type { Call } from './call.ts'
import type { Adopted, SharedCalls, Sight, Written } from './shared.ts'
import type { SharedHolding } from './shared-holding.ts'

export type Replica = Readonly<{
  id: () => string
  /** False once other replicas may have this one's calls. Checked before anything is done to a call. */
  mayAct: () => boolean
  /** Resolves once this replica has a lease, or Redis cannot give one. */
  ready: () => Promise<void>
  start: () => void
  /** Offers the calls to other replicas; resolves once they can see that, and no more calls are taken over here. */
  leave: () => Promise<void>
  /** Whether there are other replicas to take calls over. */
  hasOthers: () => boolean
  /** Offers live calls no more; resolves once those that others took are let go. */
  withdraw: () => Promise<void>
  /** Offers a call that upstream does not end. */
  offer: (call: Call) => void
  /** Gives the lease up. */
  stop: () => Promise<void>
}>

export type ReplicaDeps = Readonly<{
  clock: Clock
  shared: SharedCalls
  /** Whether calls go on without Redis. */
  isLocal: boolean
  log: PlainLog
  load: () => Promise<unknown>
  /** The calls of this replica that are not over. */
  own: () => readonly Readonly<{ call: Call, holding: SharedHolding }>[]
  /** Whether this call is held, over or not. */
  holds: (id: string) => boolean
  countHeld: () => number
  /** Ends all calls: Redis has been lost for so long that other replicas will take them. */
  endAll: () => void
  letGo: (call: Call) => void
  /** Takes a message about a call, passed on by another replica for a caller or an operator. */
  hear: (id: string, text: string) => void
  adopt: (adopted: Adopted, data: string) => void
}>

const LOOK_MS = 500
const SOON_MS = 100
const LEASE_MS = 30_000
const CUT_OFF_MS = 20_000
const LAPSE_MS = 28_000
const WRITE_MS = 10_000
/** Calls adopted at a time, since their sidebands are all opened at once. */
const ADOPTED_A_LOOK = 50
/** How often, and how many times, a record is read for the last data of the replica that gives the call away. */
const REST_MS = 50
const REST_LOOKS = 20
/** If the time left on the lease differs from ours by more than this, Redis' clock was set. */
const STEP_MS = 5000
/** Time for other replicas to renew their leases. */
const STEPPED_MS = 2000
/** So many looks in a row that count other calls than ours, and all records are written again. */
const MISMATCHES = 3

export function createReplica (deps: ReplicaDeps): Replica {
  const { clock, shared, isLocal, log, load, own, holds, countHeld, endAll, letGo, hear, adopt } = deps
  const newId = () => randomBytes(8).toString('hex')
  /** The state of each call as last written. */
  const written = new Map<string, Readonly<{ revision: number, state: string }>>()
  let id = newId()
  let marker = ''
  let renewedAtMs = -Infinity
  let steppedAtMs = clock.monotonicMs()
  let trustsLeasesAtMs = -Infinity
  let wroteAtMs = clock.monotonicMs()
  let sight: Sight | null = null
  let phase: 'in' | 'leaving' | 'withdrawing' | 'out' = 'in'
  /** Calls that are being taken over, until their replica has let them go. */
  const waiting = new Set<string>()
  const offered = new Set<Call>()
  let handingOver: Promise<unknown> = Promise.resolve()
  let mismatches = 0
  /** Number of messages that the last look brought and that were handled. */
  let handled = 0
  /** There may be more calls to take over than one look takes. */
  let isMore = false
  let stopTimer = () => {}
  let stepping: Promise<void> | null = null

  /** After SIGCONT timers fire first, and must not act before the lost lease is noticed. */
  function hasLapsed (nowMs: number): boolean {
    const wasStopped = nowMs - steppedAtMs >= CUT_OFF_MS
    return renewedAtMs > -Infinity && nowMs - renewedAtMs >= LAPSE_MS && (!isLocal || wasStopped)
  }

  function mayAct (): boolean {
    if (!hasLapsed(clock.monotonicMs())) return true
    /* c8 ignore next 2 -- a process that was stopped: test/calls/replica-faults.test.ts */
    lapse()
    return false
  }

  /** Starts again as a new replica, which may adopt its former calls like those of any dead replica. */
  function lapse (): void {
    log.error({ replica: id, calls: own().length }, 'the lease on calls has run out: they are left to other replicas')
    id = newId()
    renewedAtMs = -Infinity
    handled = 0
    written.clear()
    for (const { call } of own()) letGo(call)
  }

  function step (): Promise<void> {
    stepping ??= look().finally(() => { stepping = null })
    return stepping
  }

  async function look (): Promise<void> {
    const nowMs = clock.monotonicMs()
    if (hasLapsed(nowMs)) lapse()
    steppedAtMs = nowMs
    isMore = false
    const [mine, acknowledged] = [id, handled]
    handled = 0
    try {
      if (!shared.isUp()) throw new Error('Redis is lost')
      sight = await shared.look(mine, phase === 'out' ? 0 : LEASE_MS, {
        marker, isLeaving: phase !== 'in', handled: acknowledged
      })
      if (!mayAct() || id !== mine) return
      const sinceMs = nowMs - renewedAtMs
      const isStepped = sight.leftMs !== null && Math.abs(sight.leftMs - (LEASE_MS - sinceMs)) > STEP_MS
      if (isStepped) trustsLeasesAtMs = nowMs + STEPPED_MS
      renewedAtMs = nowMs
      marker = sight.marker
      // The ages of calls are by Redis' clock.
      await handle(sight, sinceMs > WRITE_MS || sight.isLost || isStepped, nowMs)
    } catch {
      if (!isLocal && nowMs - renewedAtMs >= CUT_OFF_MS) endAll()
    }
  }

  async function handle ({ messages, own: count, dead, offered }: Sight, isDoubtful: boolean, nowMs: number) {
    for (const { call, text } of messages) if (text !== 'taken') hear(call, text)
    await handOver(messages.filter(({ text }) => text === 'taken').map(({ call }) => call))
    handled = messages.length
    mismatches = count === countHeld() + waiting.size ? 0 : mismatches + 1
    const isRewritten = isDoubtful || mismatches >= MISMATCHES
    if (isRewritten) mismatches = 0
    const strays = isRewritten ? await sortStrays() : []
    const isTime = nowMs - wroteAtMs >= WRITE_MS
    if (isRewritten || phase !== 'in' || isTime) await writeDown(isRewritten ? 'all' : isTime ? 'changed' : 'offered')
    const mayTakeDead = nowMs >= trustsLeasesAtMs
    const isThere = (dead > 0 && mayTakeDead) || offered > 0 || strays.length > 0
    if (phase === 'in' && isThere) await takeOver(strays, !mayTakeDead)
  }

  /** `offered`: only calls whose state has changed. */
  async function writeDown (which: 'all' | 'changed' | 'offered'): Promise<void> {
    if (which !== 'offered') wroteAtMs = clock.monotonicMs()
    const current = own().filter(({ call }) => ['setup', 'live', 'ending'].includes(call.state()))
    const status = (call: Call) =>
      offered.has(call) || (phase === 'leaving' && call.state() === 'live') ? 'offered' : undefined
    const stamp = (call: Call) => ({ revision: call.revision(), state: status(call) ?? call.state() })
    const due = current.filter(({ call }) => {
      const [before, now] = [written.get(call.facts.id), stamp(call)]
      return which === 'all' || before?.state !== now.state ||
        (which === 'changed' && before.revision !== now.revision)
    })
    const stamps = due.map(({ call }) => stamp(call))
    const lines = due.map(({ call, holding }): Written => holding.written(call.snapshot(status(call))))
    const fences = await shared.write(id, lines)
    for (const [i, { call, holding }] of due.entries()) {
      const fence = fences[i] ?? null
      if (fence !== null) {
        holding.noteWritten(fence)
        written.set(call.facts.id, stamps[i] as Readonly<{ revision: number, state: string }>)
      } else if (call.state() !== 'ended' && phase === 'in') {
        log.warn({ call_id: call.facts.id }, 'another replica has taken a call over')
        letGo(call)
      }
    }
    const lost = phase === 'in' ? [] : due.filter((_one, i) => (fences[i] ?? null) === null)
    await handOver(lost.map(({ call }) => call.facts.id))
    const known = new Set(own().map(({ call }) => call.facts.id))
    for (const gone of [...written.keys()].filter((one) => !known.has(one))) written.delete(gone)
  }

  /**
   * Where an answer from Redis was lost: gives back the places that were taken for a request. Resolves to the calls
   * that were adopted: no other replica will.
   */
  async function sortStrays (): Promise<readonly string[]> {
    const strays = (await shared.list({ replica: id })).filter((one) => !holds(one) && !waiting.has(one))
    const found = await shared.read(strays)
    const isTaken = (i: number) => found[i]?.isAdopted === false && found[i].state === 'creating'
    for (const [i, stray] of strays.entries()) {
      if (isTaken(i)) await shared.release(stray, Number.MAX_SAFE_INTEGER, null)
    }
    return strays.filter((_, i) => !isTaken(i)).slice(0, ADOPTED_A_LOOK)
  }

  async function handOver (taken: readonly string[]): Promise<void> {
    if (taken.length === 0) return
    const ids = new Set(taken)
    const calls = own().filter(({ call }) => ids.has(call.facts.id) && call.state() !== 'ended')
    const rests = calls.map(({ call }) => {
      const rest = { id: call.facts.id, data: JSON.stringify(call.snapshot().record) }
      letGo(call)
      return rest
    })
    await shared.handOver(rests)
  }

  /** `strays`: see sortStrays. */
  async function takeOver (strays: readonly string[], isOnlyOffered: boolean): Promise<void> {
    await load()
    const mine = id
    const adopted = await shared.adopt(mine, { most: ADOPTED_A_LOOK, isOnlyOffered, again: strays })
    isMore = adopted.length >= ADOPTED_A_LOOK
    if (adopted.length === 0) return
    log.info({ calls: adopted.length, from: [...new Set(adopted.map(({ from }) => from))] }, 'calls are taken over')
    for (const one of adopted.filter(({ isOffered }) => !isOffered)) adoptOne(one, one.fields.rest ?? one.fields.data)
    handingOver = Promise.all([handingOver, takeOffered(adopted.filter(({ isOffered }) => isOffered), mine)])
  }

  /** A fault of ours at one call must not keep the others from being taken over. */
  function adoptOne (one: Adopted, data: string): void {
    try {
      adopt(one, data)
    } catch (err) {
      log.error({ err, call_id: one.id }, 'a call could not be taken over')
    }
  }

  /** Adopts each call once its replica has let it go: OpenAI documents one sideband per call. */
  async function takeOffered (offered: readonly Adopted[], mine: string): Promise<void> {
    for (const one of offered) waiting.add(one.id)
    let open = offered
    for (let looks = REST_LOOKS; open.length > 0; looks--) {
      await pause(clock, REST_MS)
      const found = await shared.read(open.map((one) => one.id)).catch(() => [])
      const isLast = looks <= 1
      const next = open.map((one, i) => ({ one, rest: found[i]?.rest ?? null, wish: found[i]?.wish ?? null }))
      for (const { one, rest, wish } of next.filter(({ rest }) => rest !== null || isLast)) {
        waiting.delete(one.id)
        const fields = wish === null ? one.fields : { ...one.fields, wish }
        // A replica that has lost its lease has lost these calls too.
        if (id === mine) adoptOne({ ...one, fields }, rest ?? fields.data)
      }
      open = open.filter((one) => waiting.has(one.id))
    }
  }

  function again (): void {
    stopTimer()
    stopTimer = clock.after(phase === 'in' && !isMore ? LOOK_MS : SOON_MS, () => {
      step().then(() => { if (phase !== 'out') again() })
    })
  }

  async function goOn (next: typeof phase): Promise<void> {
    await stepping
    phase = next
    await step()
  }

  return {
    id: () => id,
    mayAct,
    ready: async () => { if (clock.monotonicMs() - renewedAtMs > CUT_OFF_MS) await step() },
    start: () => {
      log.info({ replica: id }, 'calls are shared')
      step().then(again)
    },
    leave: async () => {
      stopTimer()
      await goOn('leaving')
      again()
      // Calls that were being taken over belong to this replica by then, and are offered too.
      await handingOver
    },
    hasOthers: () => shared.isUp() && sight !== null && sight.others > 0,
    withdraw: () => goOn('withdrawing'),
    offer: (call) => { offered.add(call) },
    stop: async () => {
      stopTimer()
      await goOn('out')
    }
  }
}

// The holding of one call if replicas share calls: place and record are in Redis. By the fence of the record a replica
// notices that another one has taken the call over.

import { type Clock, pause } from '../clock.ts'
import { ApiError } from '../errors.ts'
import type { LimitStore, Placed, Reserved, SharedPlace } from '../limits/limits.ts'
import type { Holding, Snapshot, WriteLine } from './holding.ts'
import type { SharedCalls, Written } from './shared.ts'

export type SharedHolding = Holding & Readonly<{
  written: (snapshot: Snapshot) => Written
  /** A write has succeeded, and answered this fence. */
  noteWritten: (fence: number) => void
  /** As `release`, for an adopted call. `seconds` go back to their windows; null: all. */
  releaseLeft: (seconds: number | null) => void
  /** False once another replica may have the call. */
  isMine: () => boolean
}>

export type SharedHoldingDeps = Readonly<{
  clock: Clock
  shared: Pick<SharedCalls, 'write' | 'claim' | 'release' | 'read' | 'handOver' | 'isUp'>
  limits: Pick<LimitStore, 'reserve' | 'giveSecondsBack'>
  replica: Readonly<{ id: () => string, mayAct: () => boolean, ready: () => Promise<void> }>
  /** Whether calls go on without Redis. */
  isLocal: boolean
  /** The call that a new one replaces while this replica counts alone. Throws ApiError. */
  replacedAlone: () => Readonly<{ id: string, over: Promise<void> }> | null
  writeLine: WriteLine
  /** The place is given back, or another replica has the call. */
  onReleased: () => void
}>

const LOOK_MS = 100
/** Longer than a request waits for a place. */
const LOOKS = 60
const AGAIN_MS = 1000
/** The fence of a call that began without Redis: lower than each that Redis gives. */
const FENCE_ALONE = 1

/** `adopted`: the fence of a call that was another replica's and has its place; else null. */
export function holdShared (
  deps: SharedHoldingDeps, place: Omit<SharedPlace, 'replica' | 'data'>, adopted: number | null = null
): SharedHolding {
  const { clock, shared, limits, replica, isLocal, replacedAlone, writeLine, onReleased } = deps
  const { call: id, caller, policy } = place
  const mine = replica.id()
  /** Null if the call began without Redis. */
  let placed: Placed | null = adopted === null ? null : { fence: adopted, replaces: null }
  let fence = adopted ?? FENCE_ALONE
  let alone: ReturnType<typeof replacedAlone> = null
  let reserved: Reserved | null = null
  /** According to Redis another replica has the call. */
  let isFenced = false
  /** True also if the answer to the write was lost. */
  let isWritten = adopted !== null

  const isMine = () => replica.mayAct() && replica.id() === mine

  async function reserve (windows: Parameters<Holding['reserve']>[0], snapshot: () => Snapshot): Promise<Reserved> {
    await replica.ready()
    const data = JSON.stringify(snapshot().record)
    const taken = await limits.reserve({
      ...windows, credit: null, ...shared.isUp() ? { place: { ...place, replica: mine, data } } : {}
    })
    if (!taken.taken) return taken
    reserved = taken
    placed = taken.placed ?? null
    fence = placed?.fence ?? FENCE_ALONE
    isWritten = placed !== null
    try {
      if (placed === null) alone = replacedAlone()
    } catch (error) {
      await taken.giveBack()
      throw error
    }
    // Another replica that has the place gives back what it took.
    const whileMine = (giveBack: Reserved['giveBack']) => async () => { if (isMine() && !isFenced) await giveBack() }
    return { ...taken, giveBack: whileMine(taken.giveBack), refund: whileMine(taken.refund) }
  }

  function writtenAs ({ state, ageMs, record, view }: Snapshot): Written {
    isWritten = true
    return {
      id,
      fence,
      caller,
      policy,
      state,
      ageMs,
      seconds: state === 'unknown' ? 0 : record.maxSeconds,
      data: JSON.stringify(record),
      view: JSON.stringify(view)
    }
  }

  async function write (snapshot: Snapshot): Promise<void> {
    if (isLocal && !shared.isUp()) return
    if (!await writeOnce(snapshot)) throw new ApiError('limits_unavailable', { reason: 'fenced' })
  }

  async function writeOnce (snapshot: Snapshot): Promise<boolean> {
    const [written = null] = await shared.write(mine, [writtenAs(snapshot)])
    if (written !== null) noteWritten(written)
    isFenced = written === null
    return !isFenced
  }

  function noteWritten (written: number): void {
    fence = written
  }

  async function whenPassed (): Promise<void> {
    if (alone !== null) return alone.over
    for (let looks = LOOKS; looks > 0; looks--) {
      const [found] = await shared.read([id])
      /* c8 ignore next -- Redis has lost it meanwhile */
      if (found?.isWaiting === false) return
      await pause(clock, LOOK_MS)
    }
    /* c8 ignore next -- its request has given up by then, and a test need not let time pass for it */
    throw new ApiError('call_in_progress', { reason: 'not_replaced' })
  }

  /** False: another replica has the call. Null: Redis gave no answer. */
  async function ask (question: () => Promise<boolean>): Promise<boolean | null> {
    try {
      return isMine() && shared.isUp() ? await question() : null
    /* c8 ignore next 3 -- Redis goes while it is asked: no test can hit the moment */
    } catch {
      return null
    }
  }

  /** Repeats until Redis answers, as long as the call is this replica's. */
  async function settle (isClaimed: boolean, claim: () => Promise<boolean>, seconds: number | null): Promise<void> {
    const state = isClaimed || await ask(claim)
    const isReleased = state === true && await ask(() => shared.release(id, fence, seconds).then(() => true))
    if (state === false || isReleased === true || !isMine()) return onReleased()
    clock.after(AGAIN_MS, () => { settle(state === true, claim, seconds) })
  }

  const release = (seconds: number | null) => { settle(true, async () => true, seconds) }

  return {
    reserve,
    replaces: () => alone?.id ?? placed?.replaces ?? null,
    whenPassed,
    // Only live calls may be replaced: the record tells which are.
    offer: () => {},
    write,
    written: writtenAs,
    noteWritten,
    conclude: async ({ line, starting, view, record, unusedSeconds }) => {
      await starting.catch(() => {})
      const isAlone = placed === null
      if (isAlone) limits.giveSecondsBack((reserved as Reserved).slots, unusedSeconds)
      // The call began without Redis and was never written there.
      if (isAlone && !isWritten) {
        onReleased()
        return writeLine(line())
      }
      const claim = () => shared.claim(id, fence, { line: JSON.stringify(line()), view: JSON.stringify(view) })
      const isClaimed = await ask(claim)
      // The replica that has the call now writes the line, and may not know yet why it ended.
      if (isClaimed === false) {
        await ask(() => shared.handOver([{ id, data: JSON.stringify(record()) }]).then(() => true))
        return onReleased()
      }
      await writeLine(isClaimed === null ? { ...line(), unfenced: true } : line(), () => {
        settle(isClaimed === true, claim, isAlone ? 0 : unusedSeconds)
      })
    },
    note: async (snapshot) => {
      if (placed !== null) await ask(() => writeOnce(snapshot))
    },
    release: (afterMs) => {
      if (placed === null) return onReleased()
      clock.after(afterMs, () => release(0))
    },
    releaseLeft: release,
    isMine
  }
}

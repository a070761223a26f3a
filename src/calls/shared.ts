// The calls that replicas share, in Redis: one function per script, with its arguments and its answer as values.

import type { RedisConnection } from '../limits/redis.ts'
import { MARKER } from '../redis/scripts.ts'

/** `unknown`: the call may exist at upstream, and only its place is still held. */
export type CallStatus = 'creating' | 'unknown' | 'setup' | 'live' | 'offered' | 'ending'

/** A call as its owner writes it. `ageMs`: since upstream created it. */
export type Written = Readonly<{
  id: string,
  fence: number,
  caller: string,
  policy: string,
  state: CallStatus,
  ageMs: number,
  seconds: number,
  data: string,
  view: string
}>

export type Sight = Readonly<{
  marker: string
  /** Redis has lost its data since this replica looked last. */
  isLost: boolean
  /** Numbers of calls: of this replica, and offered by others. */
  own: number
  offered: number
  /** Numbers of replicas: without a lease, and others that take calls. */
  dead: number
  others: number
  messages: readonly Readonly<{ call: string, text: string }>[]
  /** Time left on the lease before this renewal. */
  leftMs: number | null
}>

export type Adopted = Readonly<{
  id: string
  fence: number
  /** Now, by Redis' clock. */
  nowMs: number
  from: string
  /** Whether a stopping replica offered the call; else its replica is dead. */
  isOffered: boolean
  fields: Readonly<{ caller: string, policy: string, data: string } & Partial<Record<string, string>>>
}>

/** A call as any replica reads it. */
export type Found = Readonly<{
  nowMs: number,
  caller: string,
  policy: string,
  owner: string,
  state: string,
  bornMs: number,
  wish: string | null,
  view: string | null,
  data: string | null,
  rest: string | null,
  isWaiting: boolean
  /** Whether another replica had the call before. */
  isAdopted: boolean
}>

/** Every function rejects with ApiError `limits_unavailable`. */
export type SharedCalls = Readonly<{
  isUp: () => boolean
  /** The new fence of each call; null: another replica has it. */
  write: (replica: string, calls: readonly Written[]) => Promise<readonly (number | null)[]>
  /** False: another replica has the call. */
  claim: (id: string, fence: number, end: Readonly<{ line: string, view: string }>) => Promise<boolean>
  /** `seconds` go back to their windows; null: all, and what it counts as a mint. */
  release: (id: string, fence: number, seconds: number | null) => Promise<void>
  /** Renews the lease. `handled`: number of messages of the last look that need not come again. */
  look: (
    replica: string, leaseMs: number, before: Readonly<{ marker: string, isLeaving: boolean, handled: number }>
  ) => Promise<Sight>
  /** `isOnlyOffered`: no calls of dead replicas. `again`: adopted calls of which the answer was lost. */
  adopt: (
    replica: string, what: Readonly<{ most: number, isOnlyOffered?: boolean, again?: readonly string[] }>
  ) => Promise<readonly Adopted[]>
  /** Passes a message on to the replicas that have these calls. */
  post: (wish: string, ids: readonly string[]) => Promise<void>
  /** Writes the last state of calls that were given away. */
  handOver: (calls: readonly Readonly<{ id: string, data: string }>[]) => Promise<void>
  read: (ids: readonly string[]) => Promise<readonly (Found | null)[]>
  list: (of: Readonly<{ caller: string } | { replica: string }> | null) => Promise<readonly string[]>
}>

/** Calls per script: it blocks Redis for about a millisecond. */
const BATCH = 100

export function createSharedCalls ({ ask, isUp }: RedisConnection): SharedCalls {
  async function inBatches<T, U> (
    all: readonly T[], step: (batch: readonly T[]) => Promise<readonly U[]>
  ): Promise<U[]> {
    const found: U[] = []
    for (let at = 0; at < all.length; at += BATCH) found.push(...await step(all.slice(at, at + BATCH)))
    return found
  }

  return {
    isUp,
    write: (replica, calls) => inBatches(calls, async (batch) => {
      const facts = batch.flatMap(({ id, fence, caller, policy, state, ageMs, seconds, data, view }) =>
        [id, fence, caller, policy, state, Math.round(ageMs), seconds, data, view])
      return (await ask((scripts) => scripts.writeCalls(1, MARKER, replica, ...facts)) as number[])
        .map((fence) => fence === 0 ? null : fence)
    }),
    claim: async (id, fence, { line, view }) =>
      await ask((scripts) => scripts.claimCall(1, MARKER, id, fence, line, view)) === 1,
    release: async (id, fence, seconds) => {
      await ask((scripts) => scripts.releaseCall(1, MARKER, id, fence, seconds ?? ''))
    },
    look: async (replica, leaseMs, { marker, isLeaving, handled }) => {
      const answer = await ask((scripts) =>
        scripts.lookAtCalls(1, MARKER, replica, leaseMs, marker, replica, isLeaving ? 'leaving' : '', handled))
      const [current, isLost, own, offered, dead, others, messages, left] =
        answer as [string, number, number, number, number, number, string[], string | undefined]
      return {
        marker: current,
        isLost: isLost === 1,
        own,
        offered,
        dead,
        others,
        messages: messages.map((message) => {
          const [call = '', text = ''] = message.split(' ')
          return { call, text }
        }),
        leftMs: left === undefined || left === null ? null : Number(left)
      }
    },
    adopt: async (replica, { most, isOnlyOffered = false, again = [] }) => {
      const only = isOnlyOffered ? 'offered' : ''
      const answer = await ask((scripts) => scripts.adoptCalls(1, MARKER, replica, most, only, ...again))
      return (answer as [string, string, string, string, number, string[]][]).map(
        ([id, fence, nowMs, from, isOffered, pairs]) => ({
          id,
          fence: Number(fence),
          nowMs: Number(nowMs),
          from,
          isOffered: isOffered === 1,
          fields: { data: '', ...fieldsOf(pairs) } as Adopted['fields']
        })
      )
    },
    post: async (wish, ids) => {
      await inBatches(ids, async (batch) => {
        await ask((scripts) => scripts.postToCalls(1, MARKER, wish, ...batch))
        return []
      })
    },
    handOver: async (calls) => {
      await inBatches(calls, async (batch) => {
        await ask((scripts) => scripts.handOverCalls(1, MARKER, ...batch.flatMap(({ id, data }) => [id, data])))
        return []
      })
    },
    read: (ids) => inBatches(ids, async (batch) =>
      (await ask((scripts) => scripts.readCalls(1, MARKER, ...batch)) as (string | null)[][]).map(foundIn)),
    list: async (of) => {
      const key = of === null ? ['all'] : 'caller' in of ? ['caller', of.caller] : ['of', of.replica]
      return await ask((scripts) => scripts.listCalls(1, MARKER, ...key)) as string[]
    }
  }
}

function fieldsOf (pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(pairs.flatMap((name, i) => i % 2 === 0 ? [[name, pairs[i + 1] as string]] : []))
}

function foundIn (values: readonly (string | null)[]): Found | null {
  const [now, caller, policy, owner, state, born, ...more] = values
  const [wish = null, view = null, data = null, rest = null, waits, from] = more
  if (!caller || !policy || !owner || !state) return null
  return {
    nowMs: Number(now),
    caller,
    policy,
    owner,
    state,
    bornMs: Number(born),
    wish,
    view,
    data,
    rest,
    isWaiting: typeof waits === 'string',
    isAdopted: typeof from === 'string'
  }
}

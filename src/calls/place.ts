// Places: how many calls there may be at a time, of one caller, of one policy and here. A place is taken before the
// first wait and given back once. Kept in memory; another store has the same few functions.

import { ApiError } from '../errors.ts'

export type PlaceRequest = Readonly<{
  /** Our id of the call. */
  call: string
  caller: string
  policy: string
  concurrent: number
  whenFull: 'refuse' | 'replace'
  total: number | null
}>

export type Place = Readonly<{
  /** The call whose place is promised to this one; null where the place is its own from the start. */
  replaces: string | null
  /** Resolves when it is its own. */
  passed: Promise<void>
  /** From now on another call of the caller may replace it. */
  offer: () => void
  /** Once: further times do nothing. A promise is withdrawn. */
  release: () => void
}>

export type Places = Readonly<{
  /** Throws ApiError `call_in_progress` or `calls_full`. */
  take: (request: PlaceRequest) => Place
  taken: () => number
}>

type Held = {
  readonly request: PlaceRequest
  readonly pass: () => void
  isOffered: boolean
  /** The call that it is promised to. */
  heir: Held | null
}

const RETRY_AFTER_SECONDS = 5

/** `max` bounds the calls of this replica. */
export function createPlaces (max: number): Places {
  /** Callers with their places, in the order in which those were taken. */
  const callers = new Map<string, Set<Held>>()
  const policies = new Map<string, number>()
  let taken = 0

  function count (policy: string, by: 1 | -1): void {
    const next = (policies.get(policy) ?? 0) + by
    if (next === 0) policies.delete(policy)
    else policies.set(policy, next)
  }

  function add (one: Held): void {
    const { caller } = one.request
    const own = callers.get(caller)
    if (own === undefined) callers.set(caller, new Set([one]))
    else own.add(one)
    taken++
  }

  function remove (one: Held): void {
    const { caller } = one.request
    const own = callers.get(caller) as Set<Held>
    own.delete(one)
    if (own.size === 0) callers.delete(caller)
    taken--
  }

  /** The place that this one may be promised, or null where it gets one of its own. */
  function toReplace ({ caller, concurrent, whenFull }: PlaceRequest): Held | null {
    const own = [...callers.get(caller) ?? []]
    if (own.length < concurrent) return null
    const oldest = own.find(({ isOffered }) => isOffered)
    // Of a caller whose policy now grants fewer, replacing one would leave too many.
    if (whenFull === 'refuse' || own.length > concurrent || oldest === undefined || own.some(({ heir }) => heir)) {
      throw new ApiError('call_in_progress', { retryCannotHelp: true })
    }
    return oldest
  }

  function assertRoom ({ policy, total }: PlaceRequest, old: Held | null): void {
    const ofPolicy = (policies.get(policy) ?? 0) - (old?.request.policy === policy ? 1 : 0)
    const isFull = ofPolicy >= (total ?? Infinity)
    if (!isFull && taken - (old === null ? 0 : 1) < max) return
    throw new ApiError('calls_full', {
      reason: isFull ? 'total' : 'calls_max', retryAfterSeconds: RETRY_AFTER_SECONDS
    })
  }

  return {
    take: (request) => {
      const old = toReplace(request)
      assertRoom(request, old)
      const passed = Promise.withResolvers<void>()
      const own: Held = { request, pass: passed.resolve, isOffered: false, heir: null }
      let isReleased = false
      if (old === null) {
        add(own)
        passed.resolve()
      } else old.heir = own
      // Two calls of one policy have one place in its total, and the old one has it.
      const isCounted = old?.request.policy !== request.policy
      if (isCounted) count(request.policy, 1)

      return {
        replaces: old?.request.call ?? null,
        passed: passed.promise,
        offer: () => { own.isOffered = true },
        release: () => {
          if (isReleased) return
          isReleased = true
          if (old?.heir === own) {
            old.heir = null
            if (isCounted) count(request.policy, -1)
            return
          }
          remove(own)
          const { heir } = own
          own.heir = null
          if (heir?.request.policy !== request.policy) count(request.policy, -1)
          if (heir === null) return
          add(heir)
          heir.pass()
        }
      }
    },
    taken: () => taken
  }
}

// Places bound the calls at a time: of one caller, of one policy, and of this replica. A place is taken synchronously,
// so that requests at once cannot take too many, and is released once. Kept in memory.

import { ApiError } from '../errors.ts'

export type PlaceRequest = Readonly<{
  /** The service's id of the call. */
  call: string
  caller: string
  policy: string
  concurrent: number
  whenFull: 'refuse' | 'replace'
  total: number | null
}>

export type Place = Readonly<{
  /** The call whose place this one waits for; null if it has a place of its own from the start. */
  replaces: string | null
  /** Resolves once this call has the place of the call that it replaces. */
  passed: Promise<void>
  /** From now on a new call of the same caller may replace this one. */
  offer: () => void
  /** Idempotent. A call that still waits for a place gives up waiting. */
  release: () => void
}>

export type Places = Readonly<{
  /** Throws ApiError `call_in_progress` or `calls_full`. */
  take: (request: PlaceRequest) => Place
  taken: () => number
}>

type HeldPlace = {
  readonly request: PlaceRequest
  readonly pass: () => void
  isOffered: boolean
  /** The call that waits for this place. */
  heir: HeldPlace | null
}

const RETRY_AFTER_SECONDS = 5

/** `max` bounds the calls of this replica. */
export function createPlaces (max: number): Places {
  /** The places of each caller, oldest first. */
  const callers = new Map<string, Set<HeldPlace>>()
  const policies = new Map<string, number>()
  let taken = 0

  function count (policy: string, by: 1 | -1): void {
    const next = (policies.get(policy) ?? 0) + by
    if (next === 0) policies.delete(policy)
    else policies.set(policy, next)
  }

  function add (one: HeldPlace): void {
    const { caller } = one.request
    const own = callers.get(caller)
    if (own === undefined) callers.set(caller, new Set([one]))
    else own.add(one)
    taken++
  }

  function remove (one: HeldPlace): void {
    const { caller } = one.request
    const own = callers.get(caller) as Set<HeldPlace>
    own.delete(one)
    if (own.size === 0) callers.delete(caller)
    taken--
  }

  /** The place that a new call must wait for, or null if it gets one of its own. Throws ApiError. */
  function toReplace ({ caller, concurrent, whenFull }: PlaceRequest): HeldPlace | null {
    const own = [...callers.get(caller) ?? []]
    if (own.length < concurrent) return null
    const oldest = own.find(({ isOffered }) => isOffered)
    // If the policy now grants this caller fewer calls, replacing one would still leave too many.
    if (whenFull === 'refuse' || own.length > concurrent || oldest === undefined || own.some(({ heir }) => heir)) {
      throw new ApiError('call_in_progress', { retryCannotHelp: true })
    }
    return oldest
  }

  function assertRoom ({ policy, total }: PlaceRequest, old: HeldPlace | null): void {
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
      const own: HeldPlace = { request, pass: passed.resolve, isOffered: false, heir: null }
      let isReleased = false
      if (old === null) {
        add(own)
        passed.resolve()
      } else old.heir = own
      // A call and the one that it replaces count once in the total of their policy.
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

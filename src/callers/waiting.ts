// How many requests may wait for one issuer: where it hangs, they must not hold the places of everyone else's.

import { unavailable } from './caller.ts'

const MAX_WAITING = 64

/** Rejects at once with ApiError `identity_unavailable` where too many wait already. */
export type WaitingRoom = <T>(wait: () => Promise<T>) => Promise<T>

export function createWaitingRoom (reason: string): WaitingRoom {
  let waiting = 0
  return async (wait) => {
    if (waiting >= MAX_WAITING) throw unavailable(reason)
    waiting++
    try {
      return await wait()
    } finally {
      waiting--
    }
  }
}

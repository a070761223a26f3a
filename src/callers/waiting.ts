// Bulkhead: limits the requests that wait for one issuer, so that one that hangs does not block everyone.

import { unavailable } from './caller.ts'

const MAX_WAITING = 64

/** Rejects at once with ApiError `identity_unavailable` if too many requests wait already. */
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

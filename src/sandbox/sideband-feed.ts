// The events that the emulator sends to sidebands, for the page to show: types and times, no contents. A call is named
// by the session id of its offer (RFC 8866, section 5.2), which the page that made the offer and the emulator know.

import { EventEmitter } from 'node:events'
import { LRUCache } from 'lru-cache'

/** `at`: unix milliseconds. */
export type SidebandEvent = Readonly<{ type: string, at: number }>

export type SidebandFeed = Readonly<{
  put: (offer: string, type: string) => void
  /** Sends what is kept of this call, then what comes. The function that comes back stops it. */
  follow: (offerId: string, send: (event: SidebandEvent) => void) => () => void
}>

const MAX_CALLS = 50
const MAX_EVENTS = 100

export function createSidebandFeed (now: () => number = Date.now): SidebandFeed {
  const kept = new LRUCache<string, SidebandEvent[]>({ max: MAX_CALLS })
  const followers = new EventEmitter().setMaxListeners(0)
  return {
    put: (offer, type) => {
      const id = /^o=\S+ (\d+) /m.exec(offer)?.[1]
      if (id === undefined) return
      const event = { type, at: now() }
      kept.set(id, [...kept.get(id) ?? [], event].slice(-MAX_EVENTS))
      followers.emit(id, event)
    },
    follow: (offerId, send) => {
      for (const event of kept.get(offerId) ?? []) send(event)
      followers.on(offerId, send)
      return () => followers.off(offerId, send)
    }
  }
}

// Connecting in bounded time, whatever the name server, the network or TLS does.

import dns from 'node:dns'
import type { LookupFunction } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

export const CONNECT_TIMEOUT_MS = 3000
/** Shorter than the connect timeout, so that a failed lookup is not taken for a failed connection. */
const LOOKUP_TIMEOUT_MS = 2500

type LookupResult = Parameters<Parameters<LookupFunction>[2]>

/** The code that the system uses for a name server that cannot be reached. */
const LOOKUP_TIMED_OUT: LookupResult =
  [Object.assign(new Error('the name server does not respond'), { code: 'EAI_AGAIN' }), '']

const inFlight = new Map<string, Promise<LookupResult>>()

/**
 * Concurrent lookups of one name share a thread. A lookup holds it until the name server responds, and few threads do
 * lookups: with one for each connection, a name server that hangs would block those of all other names.
 */
export const lookup: LookupFunction = (name, options, done) => {
  const key = JSON.stringify([name, options])
  let result = inFlight.get(key)
  if (result === undefined) {
    result = new Promise((resolve) => { dns.lookup(name, options, (...args) => resolve(args as LookupResult)) })
    inFlight.set(key, result)
    result.then(() => inFlight.delete(key))
  }
  Promise.race([result, wait(LOOKUP_TIMEOUT_MS, LOOKUP_TIMED_OUT, { ref: false })]).then((args) => done(...args))
}

/** For undici. No HTTP/2: while undici negotiates it, it opens one connection at a time and all requests queue. */
export const CONNECT_OPTIONS = { connect: { timeout: CONNECT_TIMEOUT_MS, lookup }, allowH2: false } as const

/** Rejects with the signal's reason at any time: undici heeds a request's signal only once connected. */
export function rejectOnAbort<T> (signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort)
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}

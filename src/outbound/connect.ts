// How others are connected to: in time, whatever their name server, their network or their TLS does.

import dns from 'node:dns'
import type { LookupFunction } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

export const CONNECT_TIMEOUT_MS = 3000
/** Less than that: whose name is not found is told apart from who does not answer. */
const FOUND_WITHIN_MS = 2500

type Found = Parameters<Parameters<LookupFunction>[2]>

/** What the system says of a name server that could not be asked. */
const SILENCE: Found = [Object.assign(new Error('the name server does not answer'), { code: 'EAI_AGAIN' }), '']

const asking = new Map<string, Promise<Found>>()

/**
 * A name is looked up once at a time. Where a name server is silent each lookup holds a thread, and there are two for all of
 * them: with one for each connection nobody else's name would be found either.
 */
const lookup: LookupFunction = (name, options, done) => {
  const key = JSON.stringify([name, options])
  let asked = asking.get(key)
  if (asked === undefined) {
    asked = new Promise((resolve) => { dns.lookup(name, options, (...found) => resolve(found as Found)) })
    asking.set(key, asked)
    asked.then(() => asking.delete(key))
  }
  Promise.race([asked, wait(FOUND_WITHIN_MS, SILENCE, { ref: false })]).then((found) => done(...found))
}

/** Options of undici. While it looks whether there is HTTP/2 it connects once at a time, and everybody waits for those before. */
export const CONNECTING = { connect: { timeout: CONNECT_TIMEOUT_MS, lookup }, allowH2: false } as const

/** undici hears a request's signal only once it is connected: this rejects with the signal's reason at any time. */
export function untilOver<T> (signal: AbortSignal, asked: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const over = () => reject(signal.reason)
    signal.addEventListener('abort', over)
    asked.then(resolve, reject).finally(() => signal.removeEventListener('abort', over))
  })
}

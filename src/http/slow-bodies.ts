// A bound for bodies that are still arriving after authentication: each may take as long as the request's timeout.

import type { FastifyInstance } from 'fastify'
import { ApiError } from '../errors.ts'
import { clientKey } from './address.ts'

/** At a time. One address may be a whole company, or a gateway that is not in TRUST_PROXY. */
const MAX_OF_ADDRESS = 256
const MAX_OF_CALLER = 32

/** After authentication. Refused as a rate limit, not as an overload: one sender is at fault, others have room. */
export function registerSlowBodies (app: FastifyInstance): void {
  const addresses = createCount(MAX_OF_ADDRESS)
  const callers = createCount(MAX_OF_CALLER)

  app.addHook('preParsing', ({ raw, ip, caller }, { raw: response }, payload, done) => {
    if (raw.complete) return done(null, payload)
    const address = clientKey(ip)
    const { safetyIdentifier: by } = caller as NonNullable<typeof caller>
    if (callers.isFull(by)) return done(tooMany('slow_bodies_of_caller'))
    if (addresses.isFull(address)) return done(tooMany('slow_bodies_of_address'))
    callers.enter(by)
    addresses.enter(address)
    const leave = () => {
      raw.off('end', leave)
      response.off('close', leave)
      callers.leave(by)
      addresses.leave(address)
    }
    raw.once('end', leave)
    response.once('close', leave)
    done(null, payload)
  })
}

function tooMany (reason: string): ApiError {
  return new ApiError('rate_limit_exceeded', { reason, retryAfterSeconds: 1 })
}

function createCount (max: number) {
  const counts = new Map<string, number>()
  const countOf = (key: string) => counts.get(key) ?? 0
  return {
    isFull: (key: string) => countOf(key) >= max,
    enter: (key: string) => { counts.set(key, countOf(key) + 1) },
    leave: (key: string) => { countOf(key) > 1 ? counts.set(key, countOf(key) - 1) : counts.delete(key) }
  }
}

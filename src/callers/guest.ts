// Those who presented nothing. All that is known of them is where they come from.

import { isIP } from 'node:net'
import type { FastifyRequest } from 'fastify'
import { clientKey } from '../http/address.ts'
import { type Caller, createCaller, GUEST_ISSUER, refused } from './caller.ts'
import type { Compiling } from './compile.ts'

export type ReadGuest = (request: FastifyRequest) => Caller

export function compileGuest (at: string, { log, report }: Compiling): ReadGuest {
  report.warning(
    at,
    'lets anyone in: the lifetime of a secret says how long it opens sessions, not how long a session then lasts (up to 60 minutes)'
  )
  let warned = false
  return (request) => {
    const { ip, headers, raw: { socket } } = request
    // What a trusted proxy says of its client may be any text.
    if (isIP(ip) === 0) throw refused('address_unknown')
    if (!warned && headers['x-forwarded-for'] !== undefined && ip === socket.remoteAddress) {
      warned = true
      log.warn(
        {}, 'a guest was forwarded by a peer that TRUST_PROXY does not name: behind a proxy, all guests would be one'
      )
    }
    const subject = clientKey(ip)
    return createCaller(GUEST_ISSUER, subject, { iss: GUEST_ISSUER, sub: subject })
  }
}

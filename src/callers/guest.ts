// Requests without a credential: the client's address is the subject.

import { isIP } from 'node:net'
import type { FastifyRequest } from 'fastify'
import { clientKey, withoutPort } from '../http/address.ts'
import { type Caller, createCaller, GUEST_ISSUER, refused } from './caller.ts'
import type { CompileContext } from './compile.ts'

export type ReadGuest = (request: FastifyRequest) => Caller

export function compileGuest (at: string, { log, report }: CompileContext): ReadGuest {
  report.warning(
    at,
    'lets anyone in: the lifetime of a client secret limits when it can start sessions, ' +
      'not how long a session lasts (up to 60 minutes)'
  )
  let warned = false
  return (request) => {
    const { ip, headers, raw: { socket } } = request
    // Even from a trusted proxy, the client's address may be any text.
    if (isIP(withoutPort(ip)) === 0) throw refused('address_unknown')
    if (!warned && headers['x-forwarded-for'] !== undefined && ip === socket.remoteAddress) {
      warned = true
      log.warn({}, 'a guest was forwarded by a proxy that TRUST_PROXY does not name: all of its guests count as one')
    }
    const subject = clientKey(ip)
    return createCaller({ issuer: GUEST_ISSUER, subject, claims: { iss: GUEST_ISSUER, sub: subject } })
  }
}

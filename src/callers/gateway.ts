// A gateway that has already authenticated the user and names them in a header. Anyone can send a header, so it counts
// only from the gateway's addresses and with its secret; otherwise it is refused as a forgery, not ignored.

import { hash, timingSafeEqual } from 'node:crypto'
import { addressRanges, inRanges, isRange } from '../config/addresses.ts'
import { createCaller, isSubject, refused } from './caller.ts'
import { type CompileContext, readSecret } from './compile.ts'
import { type Credential, HEADER_NAME, readHeader } from './credential.ts'
import type { GatewayEntry } from './schema.ts'

export function compileGateway (entry: GatewayEntry, at: string, context: CompileContext): Credential {
  const { issuer } = entry
  const [header, secretHeader] = [entry.header.toLowerCase(), entry.secret_header.toLowerCase()]
  const digest = (value: string) => hash('sha256', value, 'buffer')
  const secret = digest(readSecret(entry, 'secret', at, context))

  for (const key of ['header', 'secret_header'] as const) {
    if (!HEADER_NAME.test(entry[key])) {
      context.report.problem(`${at}.${key}`, 'must be a header name of letters, digits and hyphens')
    }
  }
  if (header === secretHeader) context.report.problem(`${at}.secret_header`, 'must be another header than header')
  const good = entry.from.filter((range, i) => {
    if (!isRange(range)) {
      context.report.problem(`${at}.from.${i}`, 'must be an address or a CIDR range, and not all addresses')
    }
    return isRange(range)
  })
  const ranges = addressRanges(good)

  return {
    place: { header },
    verify: (user, request) => {
      const { remoteAddress } = request.raw.socket
      if (remoteAddress === undefined || !inRanges(ranges, remoteAddress)) throw refused('gateway_not_trusted')
      if (!timingSafeEqual(digest(readHeader(request, secretHeader) ?? ''), secret)) {
        throw refused('gateway_secret_wrong')
      }
      // A comma may come from a proxy that joined two headers of this name.
      if (!isSubject(user) || !/^[\x20-\x2b\x2d-\x7e]+$/.test(user)) throw refused('subject_malformed')
      return createCaller(issuer, user, { iss: issuer, sub: user })
    }
  }
}

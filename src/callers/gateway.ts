// A gateway that has already authenticated its users and says who they are in a header. Anyone can send a header, so it counts
// only from the gateway's own addresses and with its secret; with one of them missing it is a forgery, not "no credential".

import { hash, timingSafeEqual } from 'node:crypto'
import { addressRanges, inRanges, isRange } from '../config/addresses.ts'
import { createCaller, isSubject, refused } from './caller.ts'
import { type Compiling, readSecret } from './compile.ts'
import { type Credential, HEADER_NAME, readHeader } from './credential.ts'
import type { GatewayEntry } from './schema.ts'

export function compileGateway (entry: GatewayEntry, at: string, compiling: Compiling): Credential {
  const { issuer } = entry
  const [header, secretHeader] = [entry.header.toLowerCase(), entry.secret_header.toLowerCase()]
  const digest = (value: string) => hash('sha256', value, 'buffer')
  const secret = digest(readSecret(entry, 'secret', at, compiling))

  for (const key of ['header', 'secret_header'] as const) {
    if (!HEADER_NAME.test(entry[key])) {
      compiling.report.problem(`${at}.${key}`, 'must be a header name of letters, digits and hyphens')
    }
  }
  if (header === secretHeader) compiling.report.problem(`${at}.secret_header`, 'must be another header than header')
  const good = entry.from.filter((range, i) => {
    if (!isRange(range)) {
      compiling.report.problem(`${at}.from.${i}`, 'must be an address or a CIDR range, and not everyone')
    }
    return isRange(range)
  })
  const ranges = addressRanges(good)

  return {
    place: { header },
    judge: (user, request) => {
      const { remoteAddress } = request.raw.socket
      if (remoteAddress === undefined || !inRanges(ranges, remoteAddress)) throw refused('gateway_not_trusted')
      if (!timingSafeEqual(digest(readHeader(request, secretHeader) ?? ''), secret)) {
        throw refused('gateway_secret_wrong')
      }
      // A comma is how two headers of one name look after somebody has joined them.
      if (!isSubject(user) || !/^[\x20-\x2b\x2d-\x7e]+$/.test(user)) throw refused('subject_malformed')
      return createCaller(issuer, user, { iss: issuer, sub: user })
    }
  }
}

// A gateway that has already authenticated the user and names them in a header. Anyone can send a header, so it counts
// only from the gateway's addresses and with its secret, unless `secret: none` states that there is none;
// otherwise it is refused as a forgery, not ignored.

import { hash, timingSafeEqual } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import { addressRanges, inRanges, isRange, isSingleOrLoopback } from '../config/addresses.ts'
import { createCaller, isHeaderSubject, refused } from './caller.ts'
import { type CompileContext, readOneSecret } from './compile.ts'
import { type Credential, HEADER_NAME, readHeader } from './credential.ts'
import type { GatewayEntry } from './schema.ts'

export function compileGateway (entry: GatewayEntry, at: string, context: CompileContext): Credential {
  const { issuer } = entry
  const header = entry.header.toLowerCase()
  const hasSecret = entry.secret === 'none' ? withoutSecret(entry, at, context) : secretCheck(entry, at, context)

  for (const key of ['header', 'secret_header'] as const) {
    if (entry[key] !== undefined && !HEADER_NAME.test(entry[key])) {
      context.report.problem(`${at}.${key}`, 'must be a header name of letters, digits and hyphens')
    }
  }
  const good = entry.from.filter((range, i) => {
    if (!isRange(range)) {
      context.report.problem(`${at}.from.${i}`, 'must be an address or a CIDR range, and not all addresses')
    }
    return isRange(range)
  })
  const ranges = addressRanges(good)

  return {
    carrier: { header },
    read: (request) => readHeader(request, header),
    verify: (user, request) => {
      const { remoteAddress } = request.raw.socket
      if (remoteAddress === undefined || !inRanges(ranges, remoteAddress)) throw refused('gateway_not_trusted')
      if (!hasSecret(request)) throw refused('gateway_secret_wrong')
      if (!isHeaderSubject(user)) throw refused('subject_malformed')
      return createCaller({ issuer, subject: user, claims: { iss: issuer, sub: user } })
    }
  }
}

type HasSecret = (request: FastifyRequest) => boolean

function secretCheck (entry: GatewayEntry, at: string, context: CompileContext): HasSecret {
  const digest = (value: string) => hash('sha256', value, 'buffer')
  const secret = digest(readOneSecret(entry, 'secret', at, context))
  const header = entry.secret_header?.toLowerCase() ?? ''
  if (header === '') {
    context.report.problem(`${at}.secret_header`, 'is missing; for a gateway that can send none, write secret: none')
  }
  if (header === entry.header.toLowerCase()) {
    context.report.problem(`${at}.secret_header`, 'must be another header than header')
  }
  return (request) => timingSafeEqual(digest(readHeader(request, header) ?? ''), secret)
}

function withoutSecret (entry: GatewayEntry, at: string, { report }: CompileContext): HasSecret {
  for (const key of ['secret_header', 'secret_env', 'secret_file'] as const) {
    if (entry[key] !== undefined) report.problem(`${at}.${key}`, 'contradicts secret: none: leave out one of them')
  }
  for (const [i, range] of entry.from.entries()) {
    if (isRange(range) && !isSingleOrLoopback(range)) {
      report.problem(`${at}.from.${i}`, 'must be a single address or loopback, because of secret: none')
    }
  }
  report.warning(
    at, 'trusts addresses alone: whatever connects from there, another process on that host too, can name any user'
  )
  return () => true
}

// Authentication. The credential that a request carries selects one entry, and a failure there is final: no other entry
// is tried, and a request with two credentials is refused.

import { systemClock } from '../clock.ts'
import type { Origins } from '../config/origins.ts'
import { sendRequest } from '../outbound/request.ts'
import type { Fault, Report } from '../schema/report.ts'
import { type Authenticate, GUEST_ISSUER, refused } from './caller.ts'
import type { CompileContext, CompileDeps } from './compile.ts'
import { assertAllowedPage, type Carrier, type Credential, readCookie, readHeader } from './credential.ts'
import { compileForward } from './forward.ts'
import { compileGateway } from './gateway.ts'
import { compileGuest, type ReadGuest } from './guest.ts'
import { compileIntrospection, type Introspection } from './introspection.ts'
import { compileJwt, type JwtRule } from './jwt-entry.ts'
import type { CallerEntry } from './schema.ts'
import { AUTHORIZATION, type CarriedToken, createTokenVerifier, type VerifyToken } from './tokens.ts'

export type Callers = Readonly<{
  /** Throws ApiError `invalid_credentials` with a reason, `origin_not_allowed`, or `identity_unavailable`. */
  authenticate: Authenticate
  /** True makes CORS allow credentials. */
  usesCookies: boolean
  /** Issuers whose keys have not been fetched yet; the service is not ready while there are any. */
  waitingFor: () => string[]
  /** Age of each issuer's keys; Infinity before the first fetch. */
  keyAges: () => { issuer: string, ageMs: number }[]
  /** Starts refreshing keys; resolves after the first fetch of each, even a failed one. */
  start: () => Promise<void>
  close: () => void
}>

/** `callers` must not be used if there are problems. */
export function compileCallers (
  entries: readonly CallerEntry[], deps: CompileDeps
): { callers: Callers, problems: Fault[], warnings: Fault[] } {
  const problems: Fault[] = []
  const warnings: Fault[] = []
  const context: CompileContext = {
    clock: systemClock,
    send: sendRequest,
    ...deps,
    report: {
      problem: (path, problem) => problems.push({ path, problem }),
      warning: (path, problem) => warnings.push({ path, problem })
    }
  }

  const rules = new Map<string, JwtRule>()
  const introspections: Introspection[] = []
  const credentials: Credential[] = []
  const guests: ReadGuest[] = []
  for (const [i, entry] of entries.entries()) {
    const at = `callers.${i}.${Object.keys(entry)[0]}`
    const { jwt, introspection, forward, gateway, guest } = entry
    if (jwt !== undefined) {
      const rule = compileJwt(jwt, at, context)
      for (const issuer of rule.issuers) rules.set(issuer, rule)
    }
    if (introspection !== undefined) introspections.push(compileIntrospection(introspection, at, context))
    if (forward !== undefined) credentials.push(compileForward(forward, at, context))
    if (gateway !== undefined) credentials.push(compileGateway(gateway, at, context))
    if (guest !== undefined) guests.push(compileGuest(at, context))
  }
  const [introspection] = introspections
  const verifyToken = createTokenVerifier({ rules, introspection, clock: context.clock })
  if (rules.size + introspections.length > 0) credentials.push(tokenAt(AUTHORIZATION, verifyToken))
  const read = [...rules.values()]
  for (const header of new Set(read.flatMap((rule) => rule.header ?? []))) {
    credentials.push(tokenAt({ header }, verifyToken))
  }
  for (const cookie of new Set(read.flatMap((rule) => rule.cookie ?? []))) {
    credentials.push(tokenAt({ cookie }, verifyToken))
  }

  const { allowedOrigins } = context
  const usesCookies = credentials.some(({ carrier }) => 'cookie' in carrier)

  reviewIssuers(entries, context.report)
  reviewOrigins(context, { usesCookies, admitsGuests: guests.length > 0 })
  if (introspections.length > 1) {
    context.report.problem('callers', 'has two introspection entries: an opaque token does not name its issuer')
  }
  for (const carrier of duplicates(credentials.map(({ carrier }) => Object.entries(carrier).join()))) {
    context.report.problem('callers', `has two entries for the ${carrier.replace(',', ' ')}`)
  }

  const keySets = [...new Set(rules.values())].flatMap(({ keys }) => keys ?? [])
  return {
    callers: {
      authenticate: authenticateBy({ credentials, verifyToken, readGuest: guests[0], allowedOrigins }),
      usesCookies,
      waitingFor: () => keySets.filter((keys) => !keys.wasFetched()).map(({ issuer }) => issuer),
      keyAges: () => keySets.map(({ issuer, ageMs }) => ({ issuer, ageMs: ageMs() })),
      start: async () => { await Promise.all(keySets.map((keys) => keys.open())) },
      close: () => { for (const keys of keySets) keys.close() }
    },
    problems,
    warnings
  }
}

function authenticateBy ({ credentials, verifyToken, readGuest, allowedOrigins }: {
  credentials: readonly Credential[]
  verifyToken: VerifyToken
  readGuest: ReadGuest | undefined
  allowedOrigins: Origins
}): Authenticate {
  return (request) => {
    let found: { credential: Credential, value: string } | undefined
    let copies: CarriedToken[] | undefined
    for (const credential of credentials) {
      const value = credential.read(request)
      if (value === undefined) continue
      if (found === undefined) found = { credential, value }
      else {
        if (!found.credential.isToken || !credential.isToken) throw refused('two_credentials')
        copies ??= [{ carrier: found.credential.carrier, value: found.value }]
        copies.push({ carrier: credential.carrier, value })
      }
    }
    if (found === undefined) {
      if (readGuest === undefined) throw refused('no_credentials')
      return readGuest(request)
    }
    const carriers = copies === undefined ? [found.credential.carrier] : copies.map(({ carrier }) => carrier)
    // A page that knows the token needs no cookie.
    const needsPage = carriers.some((carrier) => 'cookie' in carrier) && !carriers.includes(AUTHORIZATION)
    if (needsPage) assertAllowedPage(request, allowedOrigins)
    const { credential } = found
    return copies === undefined ? credential.verify(found.value, request) : verifyToken(copies)
  }
}

function tokenAt (carrier: Carrier, verifyToken: VerifyToken): Credential {
  return {
    carrier,
    isToken: true,
    read: (request) => 'cookie' in carrier ? readCookie(request, carrier.cookie) : readHeader(request, carrier.header),
    verify: (value) => verifyToken([{ carrier, value }])
  }
}

/** A page of any host that a pattern matches may call, with the cookies of anyone who visits it. */
function reviewOrigins (
  { allowedOrigins: { size, patterns = [] }, report }: CompileContext,
  { usesCookies, admitsGuests }: { usesCookies: boolean, admitsGuests: boolean }
): void {
  if (usesCookies && size === 0) {
    report.warning('callers', 'accept cookies, but CORS_ORIGINS names no origin that may send them')
  }
  if (usesCookies && patterns.length > 0) {
    report.problem('callers', 'accept cookies, so CORS_ORIGINS must not have a *: list the origins that may send them')
  }
  if (admitsGuests && patterns.length > 0) {
    report.warning('callers', 'let guests in, from the pages of every host that a * in CORS_ORIGINS matches')
  }
}

/** Callers are identified by issuer and subject, so no two entries may share an issuer. */
function reviewIssuers (entries: readonly CallerEntry[], { problem }: Report): void {
  const seen = new Set<string>()
  for (const [i, entry] of entries.entries()) {
    const [kind, members] = Object.entries(entry)[0] as [string, { issuer?: string | string[] }]
    const { issuer: named = GUEST_ISSUER } = members
    for (const [j, issuer] of [named].flat().entries()) {
      const path = `callers.${i}.${kind}.issuer${Array.isArray(named) ? `.${j}` : ''}`
      if (issuer === GUEST_ISSUER && kind !== 'guest') problem(path, 'is reserved for guests')
      if (seen.has(issuer)) problem(path, 'is the issuer of another entry too')
      seen.add(issuer)
    }
  }
}

function duplicates (names: readonly string[]): Set<string> {
  return new Set(names.filter((name, i) => names.indexOf(name) < i))
}

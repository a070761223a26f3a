// Who is asking. What a request presents decides which entry is responsible, and that entry decides alone: nothing falls
// through to another one after a failure, and two credentials at once are none.

import { systemClock } from '../clock.ts'
import type { Fault, Report } from '../schema/report.ts'
import { type Authenticate, GUEST_ISSUER, refused } from './caller.ts'
import type { CompileDeps, Compiling } from './compile.ts'
import { assertOwnPage, type Credential, readCookie, readHeader } from './credential.ts'
import { compileForward } from './forward.ts'
import { compileGateway } from './gateway.ts'
import { compileGuest, type ReadGuest } from './guest.ts'
import { compileIntrospection, type Introspection } from './introspection.ts'
import { compileJwt, type JwtRule } from './jwt-entry.ts'
import type { CallerEntry } from './schema.ts'
import { createTokenJudge } from './tokens.ts'

export type Callers = Readonly<{
  /** Throws ApiError `invalid_credentials` with a reason, `origin_not_allowed`, or `identity_unavailable`. */
  authenticate: Authenticate
  /** CORS then allows credentials. */
  usesCookies: boolean
  /** Issuers whose keys have not been fetched yet: not ready while there are any. */
  waitingFor: () => string[]
  /** How old the keys of each issuer are; Infinity before they were fetched. */
  keyAges: () => { issuer: string, ageMs: number }[]
  /** Begins fetching keys in the background; resolves once every issuer was asked. */
  start: () => Promise<void>
  close: () => void
}>

/** `callers` is good only where there are no problems. */
export function compileCallers (
  entries: readonly CallerEntry[], deps: CompileDeps
): { callers: Callers, problems: Fault[], warnings: Fault[] } {
  const problems: Fault[] = []
  const warnings: Fault[] = []
  const compiling: Compiling = {
    clock: systemClock,
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
    if (jwt !== undefined) rules.set(jwt.issuer, compileJwt(jwt, at, compiling))
    if (introspection !== undefined) introspections.push(compileIntrospection(introspection, at, compiling))
    if (forward !== undefined) credentials.push(compileForward(forward, at, compiling))
    if (gateway !== undefined) credentials.push(compileGateway(gateway, at, compiling))
    if (guest !== undefined) guests.push(compileGuest(at, compiling))
  }
  const [introspection] = introspections
  const cookies = new Set([...rules.values()].flatMap(({ cookie }) => cookie ?? []))
  const judgeToken = createTokenJudge({ rules, introspection, clock: compiling.clock })
  if (rules.size + introspections.length > 0) {
    credentials.push({ place: { header: 'authorization' }, judge: (value) => judgeToken(value) })
  }
  for (const cookie of cookies) credentials.push({ place: { cookie }, judge: (token) => judgeToken(token, cookie) })

  const usesCookies = credentials.some(({ place }) => 'cookie' in place)

  reviewIssuers(entries, compiling.report)
  if (usesCookies && compiling.allowedOrigins.size === 0) {
    compiling.report.warning('callers', 'take cookies, but CORS_ORIGINS names no page that may send them')
  }
  if (introspections.length > 1) {
    compiling.report.problem('callers', 'has two introspection entries: an opaque token does not say whose it is')
  }
  for (const place of duplicates(credentials.map(({ place }) => Object.entries(place).join()))) {
    compiling.report.problem('callers', `has two entries that are responsible for the ${place.replace(',', ' ')}`)
  }

  const keySets = [...rules.values()].flatMap(({ keys }) => keys ?? [])
  return {
    callers: {
      authenticate: authenticateBy(credentials, guests[0], compiling.allowedOrigins),
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

function authenticateBy (
  credentials: readonly Credential[], readGuest: ReadGuest | undefined, allowedOrigins: ReadonlySet<string>
): Authenticate {
  return (request) => {
    let found: { credential: Credential, presented: string } | undefined
    for (const credential of credentials) {
      const { place } = credential
      const presented = 'cookie' in place ? readCookie(request, place.cookie) : readHeader(request, place.header)
      if (presented === undefined) continue
      if (found !== undefined) throw refused('two_credentials')
      found = { credential, presented }
    }
    if (found === undefined) {
      if (readGuest === undefined) throw refused('no_credentials')
      return readGuest(request)
    }
    if ('cookie' in found.credential.place) assertOwnPage(request, allowedOrigins)
    return found.credential.judge(found.presented, request)
  }
}

/** Callers are counted, blocked and told apart by issuer and subject. */
function reviewIssuers (entries: readonly CallerEntry[], { problem }: Report): void {
  const seen = new Set<string>()
  for (const [i, entry] of entries.entries()) {
    const [kind, { issuer = GUEST_ISSUER }] = Object.entries(entry)[0] as [string, { issuer?: string }]
    if (issuer === GUEST_ISSUER && kind !== 'guest') problem(`callers.${i}.${kind}.issuer`, 'is reserved for guests')
    if (seen.has(issuer)) problem(`callers.${i}.${kind}.issuer`, 'is the issuer of another entry too')
    seen.add(issuer)
  }
}

function duplicates (names: readonly string[]): Set<string> {
  return new Set(names.filter((name, i) => names.indexOf(name) < i))
}

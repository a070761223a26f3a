// Who is asking. What a request presents decides which entry is responsible, and that entry decides alone: nothing falls
// through to another one after a failure, and two credentials at once are none.

import type { FastifyRequest } from 'fastify'
import type { Fault } from '../policy/file.ts'
import type { Report } from '../policy/rules.ts'
import { GUEST_ISSUER, refused, type Authenticate, type Caller } from './caller.ts'
import type { CallerEntry, SecretSource } from './entries.ts'
import type { KeySets, Log } from './jwks.ts'
import { compileJwt, type JwtRule } from './jwt-rule.ts'
import { createTokenMemory, readJwt, tokenKey, verifyJwt } from './jwt.ts'
import { assertOwnPage, readBearer, readCookie } from './presented.ts'

export type Callers = Readonly<{
  /** Throws ApiError `invalid_credentials` with a reason, `origin_not_allowed`, or `identity_unavailable`. */
  authenticate: Authenticate
  /** CORS then allows credentials. */
  usesCookies: boolean
  /** Issuers whose keys have not been fetched yet: not ready while there are any. */
  waitingFor: () => string[]
  /** Begins fetching keys in the background; resolves once every issuer was tried once. */
  start: () => Promise<void>
  close: () => void
}>

export type Surroundings = Readonly<{
  secrets: SecretSource
  log: Log
  allowedOrigins: ReadonlySet<string>
  /** Outlives a policy: the next one finds the keys that this one fetched. */
  keySets: KeySets
  /** Wall clock, milliseconds. */
  now?: () => number
}>

/** One place of a request where a credential may stand, and who judges what is found there. */
type Place = Readonly<{
  name: string
  read: (request: FastifyRequest) => string | undefined
  judge: (presented: string, request: FastifyRequest) => Caller | Promise<Caller>
}>

/** `callers` is good only where there are no problems. */
export function compileCallers (entries: readonly CallerEntry[], surroundings: Surroundings): { callers: Callers, problems: Fault[], warnings: Fault[] } {
  const { secrets, keySets, allowedOrigins, now = Date.now } = surroundings
  const problems: Fault[] = []
  const warnings: Fault[] = []
  const report: Report = {
    problem: (path, problem) => problems.push({ path, problem }),
    warning: (path, problem) => warnings.push({ path, problem })
  }
  reviewIssuers(entries, report)

  const rules = new Map<string, JwtRule>()
  for (const [i, { jwt }] of entries.entries()) {
    if (jwt !== undefined) rules.set(jwt.issuer, compileJwt(jwt, `callers.${i}.jwt`, { secrets, report, keySets }))
  }
  const keys = [...rules.values()].flatMap((rule) => rule.keys === null ? [] : { issuer: rule.issuer, keys: rule.keys })

  const memory = createTokenMemory(now)
  const judgeToken = (token: string, cookie: string | null): Caller | Promise<Caller> => {
    const key = tokenKey(token)
    const known = memory.recall(key)
    if (known !== undefined && (cookie === null || known.rule.cookie === cookie)) return known.caller
    const jwt = readJwt(token)
    if (jwt === undefined) throw refused('token_malformed')
    const rule = rules.get(jwt.claims.iss as string)
    if (rule === undefined || (cookie !== null && rule.cookie !== cookie)) throw refused('issuer_unknown')
    return verifyJwt(jwt, rule, Math.floor(now() / 1000)).then((caller) => {
      memory.remember(key, caller, rule)
      return caller
    })
  }

  const places: Place[] = []
  if (rules.size > 0) places.push({ name: 'authorization', read: readBearer, judge: (token) => judgeToken(token, null) })
  const cookies = new Set([...rules.values()].flatMap(({ cookie }) => cookie ?? []))
  for (const cookie of cookies) {
    places.push({
      name: cookie,
      read: (request) => readCookie(request, cookie),
      judge: (token, request) => {
        assertOwnPage(request, allowedOrigins)
        return judgeToken(token, cookie)
      }
    })
  }

  return {
    callers: {
      authenticate: authenticateAt(places),
      usesCookies: cookies.size > 0,
      waitingFor: () => keys.filter(({ keys }) => !keys.wasFetched()).map(({ issuer }) => issuer),
      start: async () => { await Promise.all(keys.map(({ keys }) => keys.open())) },
      close: () => { for (const { keys: set } of keys) set.close() }
    },
    problems,
    warnings
  }
}

function authenticateAt (places: readonly Place[]): Authenticate {
  return (request) => {
    let found: { place: Place, presented: string } | undefined
    for (const place of places) {
      const presented = place.read(request)
      if (presented === undefined) continue
      if (found !== undefined) throw refused('two_credentials')
      found = { place, presented }
    }
    if (found === undefined) throw refused('no_credentials')
    return found.place.judge(found.presented, request)
  }
}

/** Callers are counted, blocked and told apart by issuer and subject. */
function reviewIssuers (entries: readonly CallerEntry[], report: Report): void {
  const seen = new Set<string>([GUEST_ISSUER])
  for (const [i, entry] of entries.entries()) {
    for (const [kind, { issuer }] of Object.entries(entry) as [string, { issuer?: string }][]) {
      if (issuer === undefined) continue
      if (seen.has(issuer)) report.problem(`callers.${i}.${kind}.issuer`, issuer === GUEST_ISSUER ? 'is reserved for guests' : 'is the issuer of another entry too')
      seen.add(issuer)
    }
  }
}

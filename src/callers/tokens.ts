// Tokens from a header or cookie: JWTs are verified by the entry of their `iss`, opaque ones by introspection.

import type { Clock } from '../clock.ts'
import { type Caller, refused } from './caller.ts'
import { cacheKey, createCallerCache } from './caller-cache.ts'
import type { Introspection } from './introspection.ts'
import { readJwt, verifyJwt } from './jwt.ts'
import type { JwtRule } from './jwt-entry.ts'

const CACHE_MS = 60_000
const MAX_TOKEN_BYTES = 8 * 1024
/** RFC 6750, section 2.1: the scheme in any case, one space, a token68. */
const BEARER = /^bearer ([\w\-.~+/]+=*)$/i

/** `value` is that of the Authorization header, or of the named cookie. */
export type VerifyToken = (value: string, cookie?: string) => Caller | Promise<Caller>

export function createTokenVerifier (
  { rules, introspection, clock }: {
    rules: ReadonlyMap<string, JwtRule>, introspection: Introspection | undefined, clock: Clock
  }
): VerifyToken {
  const cache = createCallerCache(CACHE_MS, clock.wallMs)
  return (value, cookie) => {
    // No header contains a line feed, so a token cached from a cookie is not accepted elsewhere.
    const key = cacheKey(cookie === undefined ? value : `${cookie}\n${value}`)
    const cached = cache.get(key)
    if (cached !== undefined) return cached

    const token = cookie === undefined ? readBearer(value) : value
    if (token.length > MAX_TOKEN_BYTES) throw refused('token_too_large')
    // Without jwt entries, a token that looks like a JWT is opaque like any other.
    const jwt = rules.size > 0 ? readJwt(token) : undefined
    const issuer = jwt?.claims.iss
    if (introspection !== undefined && cookie === undefined && (jwt === undefined || issuer === introspection.issuer)) {
      return introspection.verify(token)
    }
    if (jwt === undefined) throw refused('token_malformed')
    const rule = typeof issuer === 'string' ? rules.get(issuer) : undefined
    if (rule === undefined || (cookie !== undefined && rule.cookie !== cookie)) throw refused('issuer_unknown')
    return verifyJwt(jwt, rule, Math.floor(clock.wallMs() / 1000)).then((caller) => {
      cache.set(key, caller, token.length)
      return caller
    })
  }
}

function readBearer (authorization: string): string {
  const token = BEARER.exec(authorization)?.[1]
  if (token === undefined) throw refused('authorization_malformed')
  return token
}

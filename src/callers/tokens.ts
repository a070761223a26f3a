// Tokens from a header or cookie: JWTs are verified by the entry of their `iss`, opaque ones by introspection.

import type { Clock } from '../clock.ts'
import { type Caller, refused } from './caller.ts'
import { cacheKey, createCallerCache } from './caller-cache.ts'
import type { Carrier } from './credential.ts'
import type { Introspection } from './introspection.ts'
import { readJwt, verifyJwt } from './jwt.ts'
import type { JwtRule } from './jwt-entry.ts'

const CACHE_MS = 60_000
const MAX_TOKEN_BYTES = 8 * 1024
/** RFC 6750, section 2.1: the scheme in any case, one space, a token68. */
const BEARER = /^bearer ([\w\-.~+/]+=*)$/i

/** The Authorization header, which every entry reads. */
export const AUTHORIZATION: Carrier = { header: 'authorization' }

/** `values`: the token by each header or cookie that carries it; more than one must be of the same entry. */
export type VerifyToken = (values: readonly CarriedToken[]) => Caller | Promise<Caller>
export type CarriedToken = Readonly<{ carrier: Carrier, value: string }>

export function createTokenVerifier (
  { rules, introspection, clock }: {
    /** By issuer. */
    rules: ReadonlyMap<string, JwtRule>, introspection: Introspection | undefined, clock: Clock
  }
): VerifyToken {
  const cache = createCallerCache(CACHE_MS, clock.wallMs)
  return (values) => {
    const key = cacheKey(values.map(nameOf).join('\n'))
    const cached = cache.get(key)
    if (cached !== undefined) return cached

    const [token = '', ...copies] = values.map(readToken)
    if (copies.some((copy) => copy !== token)) throw refused('two_credentials')
    if (token.length > MAX_TOKEN_BYTES) throw refused('token_too_large')
    // Without jwt entries, a token that looks like a JWT is opaque like any other.
    const jwt = rules.size > 0 ? readJwt(token) : undefined
    const issuer = jwt?.claims.iss
    const isBearer = values.every(({ carrier }) => carrier === AUTHORIZATION)
    if (introspection !== undefined && isBearer && (jwt === undefined || issuer === introspection.issuer)) {
      return introspection.verify(token)
    }
    const wrong = (reason: string) => refused(copies.length > 0 ? 'two_credentials' : reason)
    if (jwt === undefined) throw wrong('token_malformed')
    const rule = typeof issuer === 'string' ? rules.get(issuer) : undefined
    if (rule === undefined || !values.every(({ carrier }) => isReadBy(rule, carrier))) throw wrong('issuer_unknown')
    return verifyJwt(jwt, rule, Math.floor(clock.wallMs() / 1000)).then((caller) => {
      cache.set(key, caller, token.length)
      return caller
    })
  }
}

/** No header contains a line feed, so a token cached from one carrier is not accepted from another. */
function nameOf ({ carrier, value }: CarriedToken): string {
  return carrier === AUTHORIZATION ? value : `${JSON.stringify(carrier)}\n${value}`
}

function isReadBy ({ cookie, header }: JwtRule, carrier: Carrier): boolean {
  return carrier === AUTHORIZATION || ('cookie' in carrier ? carrier.cookie === cookie : carrier.header === header)
}

function readToken ({ carrier, value }: CarriedToken): string {
  const token = carrier === AUTHORIZATION ? BEARER.exec(value)?.[1] : value
  if (token === undefined) throw refused('authorization_malformed')
  return token
}

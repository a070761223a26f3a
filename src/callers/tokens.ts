// Tokens, wherever they were found: a JWT is judged by the entry of its `iss`, another token by the introspection endpoint.

import type { Clock } from '../clock.ts'
import { type Caller, refused } from './caller.ts'
import { createMemory, memoryKey } from './caller-cache.ts'
import type { Introspection } from './introspection.ts'
import { readJwt, verifyJwt } from './jwt.ts'
import type { JwtRule } from './jwt-entry.ts'

const REMEMBER_MS = 60_000
const MAX_TOKEN_BYTES = 8 * 1024
/** RFC 6750, section 2.1: the scheme in any case, one space, a token68. */
const BEARER = /^bearer ([\w\-.~+/]+=*)$/i

/** `presented` is the value of an Authorization header, or of the `cookie` of this name. */
export type JudgeToken = (presented: string, cookie?: string) => Caller | Promise<Caller>

export function createTokenJudge (
  { rules, introspection, clock }: {
    rules: ReadonlyMap<string, JwtRule>, introspection: Introspection | undefined, clock: Clock
  }
): JudgeToken {
  const memory = createMemory(REMEMBER_MS, clock.wallMs)
  return (presented, cookie) => {
    // No header has a line feed in it: what was good in a cookie is good nowhere else.
    const key = memoryKey(cookie === undefined ? presented : `${cookie}\n${presented}`)
    const known = memory.recall(key)
    if (known !== undefined) return known

    const token = cookie === undefined ? readBearer(presented) : presented
    if (token.length > MAX_TOKEN_BYTES) throw refused('token_too_large')
    // Where no entry is for JWTs, a token that looks like one is opaque like any other.
    const jwt = rules.size > 0 ? readJwt(token) : undefined
    const issuer = jwt?.claims.iss
    if (introspection !== undefined && cookie === undefined && (jwt === undefined || issuer === introspection.issuer)) {
      return introspection.judge(token)
    }
    if (jwt === undefined) throw refused('token_malformed')
    const rule = typeof issuer === 'string' ? rules.get(issuer) : undefined
    if (rule === undefined || (cookie !== undefined && rule.cookie !== cookie)) throw refused('issuer_unknown')
    return verifyJwt(jwt, rule, Math.floor(clock.wallMs() / 1000)).then((caller) => {
      memory.remember(key, caller, token.length)
      return caller
    })
  }
}

function readBearer (authorization: string): string {
  const token = BEARER.exec(authorization)?.[1]
  if (token === undefined) throw refused('authorization_malformed')
  return token
}

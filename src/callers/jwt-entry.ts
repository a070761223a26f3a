// A `jwt` entry, compiled: whose tokens pass, and how they are signed.

import type { JsonObject } from '../json.ts'
import { addressFault } from '../outbound/request.ts'
import { claimMatcher } from './claims.ts'
import { type Compiling, readSecrets } from './compile.ts'
import type { KeySet } from './jwks.ts'
import type { JwtEntry } from './schema.ts'

export type JwtRule = Readonly<{
  issuer: string
  /** One of these must be among the token's; null where `require` stands in for it. */
  audiences: readonly string[] | null
  /** `HS*` only where there are secrets, the others only where there are keys: neither ever meets the other. */
  algorithms: ReadonlySet<string>
  keys: KeySet | null
  secrets: readonly Uint8Array[]
  require: (claims: JsonObject) => boolean
  type: string | null
  cookie: string | null
  toleranceSeconds: number
  maxLifetimeSeconds: number
}>

const PUBLIC_KEY_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA']
const isSymmetric = (algorithm: string) => algorithm.startsWith('HS')

export function compileJwt (entry: JwtEntry, at: string, compiling: Compiling): JwtRule {
  const { keySets, report } = compiling
  const { issuer, insecure_http: insecureHttp = false } = entry
  const hasSecrets = entry.secret_env !== undefined || entry.secret_file !== undefined
  const hasKeys = entry.jwks !== undefined || !hasSecrets
  const algorithms = entry.algorithms ?? [...(hasKeys ? PUBLIC_KEY_ALGORITHMS : []), ...(hasSecrets ? ['HS256'] : [])]

  if (entry.audience === undefined && entry.require === undefined) {
    report.problem(
    `${at}.audience`, 'is missing; where tokens carry none, let require: name a claim that says whom they are for'
    )
  }
  const fault = hasKeys ? addressFault(entry.jwks ?? issuer, insecureHttp) : undefined
  if (fault !== undefined) report.problem(`${at}.${entry.jwks === undefined ? 'issuer' : 'jwks'}`, fault)
  if (algorithms.some(isSymmetric) !== hasSecrets) {
    report.problem(
    `${at}.algorithms`, hasSecrets ? 'leave the secret without use' : 'name HS*, which needs secret_env or secret_file'
    )
  }
  if (!algorithms.every(isSymmetric) !== hasKeys) {
    report.problem(`${at}.algorithms`, hasKeys ? 'leave the keys without use' : 'name some that need jwks:')
  }

  return {
    issuer,
    audiences: entry.audience === undefined ? null : [entry.audience].flat(),
    algorithms: new Set(algorithms),
    keys: hasKeys ? keySets({ issuer, jwks: entry.jwks, insecureHttp }) : null,
    secrets: hmacSecrets(entry, algorithms, at, compiling),
    require: claimMatcher(entry.require ?? {}),
    type: entry.type === undefined ? null : normalizeType(entry.type),
    cookie: entry.cookie ?? null,
    toleranceSeconds: entry.clock_tolerance ?? 30,
    maxLifetimeSeconds: entry.max_lifetime ?? Infinity
  }
}

/** Media types compare without case, and `application/` may be left out (RFC 7515, section 4.1.9). */
export function normalizeType (type: string): string {
  return type.toLowerCase().replace(/^application\//, '')
}

function hmacSecrets (entry: JwtEntry, algorithms: readonly string[], at: string, compiling: Compiling): Uint8Array[] {
  // As long as the hash at least (RFC 7518, section 3.2).
  const minBytes = Math.max(32, ...algorithms.filter(isSymmetric).map((algorithm) => Number(algorithm.slice(2)) / 8))
  return readSecrets(entry, 'secret', at, compiling).map(({ path, name, value }) => {
    const bytes = Buffer.from(value)
    if (bytes.length < minBytes) {
      compiling.report.problem(path, `names ${name}, which must be ${minBytes} bytes or longer`)
    }
    // With a public key as the secret, everybody could sign.
    if (/-----BEGIN |"kty"|^ssh-/.test(value)) {
      compiling.report.problem(path, `names ${name}, which holds a key, not a secret: name it by jwks:`)
    }
    return bytes
  })
}

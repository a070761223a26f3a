// Compiles a `jwt` entry into the rule that verifies its issuer's tokens.

import type { JsonObject } from '../json.ts'
import { addressFault } from '../outbound/request.ts'
import { claimMatcher } from './claims.ts'
import { type CompileContext, readSecrets } from './compile.ts'
import type { KeySet } from './jwks.ts'
import type { JwtEntry } from './schema.ts'

export type JwtRule = Readonly<{
  issuer: string
  /** The token's `aud` must contain one of them; null: `require` replaces the check. */
  audiences: readonly string[] | null
  /** `HS*` only with secrets, the others only with keys: a public key never serves as an HMAC secret. */
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

export function compileJwt (entry: JwtEntry, at: string, context: CompileContext): JwtRule {
  const { keySets, report } = context
  const { issuer, insecure_http: insecureHttp = false } = entry
  const hasSecrets = entry.secret_env !== undefined || entry.secret_file !== undefined
  const hasKeys = entry.jwks !== undefined || !hasSecrets
  const algorithms = entry.algorithms ?? [...(hasKeys ? PUBLIC_KEY_ALGORITHMS : []), ...(hasSecrets ? ['HS256'] : [])]

  if (entry.audience === undefined && entry.require === undefined) {
    report.problem(`${at}.audience`, 'is missing; if tokens have no aud, require: a claim that identifies your app')
  }
  const fault = hasKeys ? addressFault(entry.jwks ?? issuer, insecureHttp) : undefined
  if (fault !== undefined) report.problem(`${at}.${entry.jwks === undefined ? 'issuer' : 'jwks'}`, fault)
  if (algorithms.some(isSymmetric) !== hasSecrets) {
    const problem = hasSecrets ? 'leave the secret unused' : 'include HS*, which needs secret_env or secret_file'
    report.problem(`${at}.algorithms`, problem)
  }
  if (!algorithms.every(isSymmetric) !== hasKeys) {
    report.problem(`${at}.algorithms`, hasKeys ? 'leave the keys unused' : 'include some that need jwks:')
  }

  return {
    issuer,
    audiences: entry.audience === undefined ? null : [entry.audience].flat(),
    algorithms: new Set(algorithms),
    keys: hasKeys ? keySets({ issuer, jwks: entry.jwks, insecureHttp }) : null,
    secrets: hmacSecrets(entry, algorithms, at, context),
    require: claimMatcher(entry.require ?? {}),
    type: entry.type === undefined ? null : normalizeType(entry.type),
    cookie: entry.cookie ?? null,
    toleranceSeconds: entry.clock_tolerance ?? 30,
    maxLifetimeSeconds: entry.max_lifetime ?? Infinity
  }
}

/** Media types ignore case, and may omit `application/` (RFC 7515, section 4.1.9). */
export function normalizeType (type: string): string {
  return type.toLowerCase().replace(/^application\//, '')
}

function hmacSecrets (
  entry: JwtEntry, algorithms: readonly string[], at: string, context: CompileContext
): Uint8Array[] {
  // At least as long as the hash (RFC 7518, section 3.2).
  const minBytes = Math.max(32, ...algorithms.filter(isSymmetric).map((algorithm) => Number(algorithm.slice(2)) / 8))
  return readSecrets(entry, 'secret', at, context).map(({ path, name, value }) => {
    const bytes = Buffer.from(value)
    if (bytes.length < minBytes) {
      context.report.problem(path, `names ${name}, which must be ${minBytes} bytes or longer`)
    }
    // With a public key as the secret, anyone could sign.
    if (/-----BEGIN |"kty"|^ssh-/.test(value)) {
      context.report.problem(path, `names ${name}, which holds a key, not a secret: use jwks: for keys`)
    }
    return bytes
  })
}

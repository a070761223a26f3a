// Compiles a `jwt` entry into the rule that verifies its issuer's tokens.

import type { JsonObject } from '../json.ts'
import { addressFault } from '../outbound/request.ts'
import { isSubject, refused, subjectFrom } from './caller.ts'
import {
  claimMatcher, claimReader, impossibleConditions, isUserWritable, type MatchClaims, readsClaim, USER_WRITABLE_SUBJECT
} from './claims.ts'
import type { CompileContext } from './compile.ts'
import { HEADER_NAME } from './credential.ts'
import { hmacSecrets } from './hmac-secrets.ts'
import type { KeySet } from './jwks.ts'
import { algorithmNamed, type JwtEntry } from './schema.ts'

export const DEFAULT_TOLERANCE_SECONDS = 30

export type JwtRule = Readonly<{
  issuers: readonly string[]
  /** The token's `aud` must contain one of them; null: `require` replaces the check. */
  audiences: readonly string[] | null
  /** `HS*` only with secrets, the others only with keys: a public key never serves as an HMAC secret. */
  algorithms: ReadonlySet<string>
  keys: KeySet | null
  secrets: readonly Uint8Array[]
  require: MatchClaims
  /** Throws ApiError `invalid_credentials`. */
  readSubject: (claims: JsonObject) => string
  type: string | null
  cookie: string | null
  /** In lower case. */
  header: string | null
  toleranceSeconds: number
  maxLifetimeSeconds: number
}>

const PUBLIC_KEY_ALGORITHMS = ['RS256', 'PS256', 'ES256', 'EdDSA']
const isSymmetric = (algorithm: string) => algorithm.startsWith('HS')

export function compileJwt (entry: JwtEntry, at: string, context: CompileContext): JwtRule {
  const { keySets, report } = context
  const { issuer, insecure_http: insecureHttp = false } = entry
  const issuers = [issuer].flat()
  const [first = ''] = issuers
  const hasSecrets = entry.secret_env !== undefined || entry.secret_file !== undefined
  const hasKeys = entry.jwks !== undefined || !hasSecrets
  const usual = [...(hasKeys ? PUBLIC_KEY_ALGORITHMS : []), ...(hasSecrets ? ['HS256'] : [])]
  const algorithms = entry.algorithms?.map(algorithmNamed) ?? usual

  reviewClaims(entry, at, context)
  reviewPlaces(entry, at, context)
  const needsKeys = Array.isArray(issuer) && hasKeys && entry.jwks === undefined
  if (needsKeys) report.problem(`${at}.issuer`, 'is a list: add jwks: or a secret, since each has its own discovery')
  const fault = hasKeys && !needsKeys ? addressFault(entry.jwks ?? first, insecureHttp) : undefined
  if (fault !== undefined) report.problem(`${at}.${entry.jwks === undefined ? 'issuer' : 'jwks'}`, fault)
  if (algorithms.some(isSymmetric) !== hasSecrets) {
    const problem = hasSecrets ? 'leave the secret unused' : 'include HS*, which needs secret_env or secret_file'
    report.problem(`${at}.algorithms`, problem)
  }
  if (!algorithms.every(isSymmetric) !== hasKeys) {
    report.problem(`${at}.algorithms`, hasKeys ? 'leave the keys unused' : 'include some that need jwks:')
  }

  if (entry.secret_encoding !== undefined && !hasSecrets) {
    report.problem(`${at}.secret_encoding`, 'has no effect without secret_env or secret_file')
  }
  // At least as long as the hash (RFC 7518, section 3.2).
  const minBytes = Math.max(32, ...algorithms.filter(isSymmetric).map((algorithm) => Number(algorithm.slice(2)) / 8))

  return {
    issuers,
    audiences: entry.audience === undefined ? null : [entry.audience].flat(),
    algorithms: new Set(algorithms),
    keys: hasKeys ? keySets({ issuer: first, jwks: entry.jwks, insecureHttp }) : null,
    secrets: hmacSecrets(entry, minBytes, at, context),
    require: claimMatcher(entry.require ?? {}),
    readSubject: subjectReader(entry.subject ?? 'sub'),
    type: entry.type === undefined ? null : normalizeType(entry.type),
    cookie: entry.cookie ?? null,
    header: entry.header?.toLowerCase() ?? null,
    toleranceSeconds: entry.clock_tolerance ?? DEFAULT_TOLERANCE_SECONDS,
    maxLifetimeSeconds: entry.max_lifetime ?? Infinity
  }
}

/** Media types ignore case, and may omit `application/` (RFC 7515, section 4.1.9). */
export function normalizeType (type: string): string {
  return type.toLowerCase().replace(/^application\//, '')
}

/** Azure AD B2C sends this as the `sub` of every user. */
const NO_SUBJECT = 'Not supported currently. Use oid claim.'

function subjectReader (reference: string): JwtRule['readSubject'] {
  const isSub = readsClaim(reference, 'sub')
  const read = claimReader(reference)
  return (claims) => {
    const value = read(claims)
    if (isSub && value === NO_SUBJECT) throw refused('subject_is_the_same_for_all')
    const subject = isSub ? (isSubject(value) ? value : undefined) : subjectFrom(value)
    if (subject === undefined) throw refused('subject_malformed')
    return subject
  }
}

function reviewClaims (entry: JwtEntry, at: string, context: CompileContext): void {
  const { issuer, audience, require = {}, subject } = entry
  const { problem } = context.report
  reviewIssuer(issuer, at, context)
  // A condition that only absence meets identifies nothing.
  const isIdentified = Object.values(require).some((accepted) => [accepted].flat().some((value) => value !== null))
  if (audience === undefined && !isIdentified) {
    problem(`${at}.audience`, 'is missing; if tokens have no aud, require: a claim that identifies your app')
  }
  for (const { reference, problem: text } of impossibleConditions(require)) problem(`${at}.require.${reference}`, text)
  if (subject !== undefined && isUserWritable(subject)) problem(`${at}.subject`, USER_WRITABLE_SUBJECT)
  if (NO_USERS.some((name) => readsClaim(subject ?? 'sub', name))) {
    problem(`${at}.subject`, 'names no user: it is the same for all of them, or another one in each token')
  }
}

/** Registered claims (RFC 7519, section 4.1) that are about the token. */
const NO_USERS = ['iss', 'aud', 'exp', 'nbf', 'iat', 'jti']

/** Placeholders, and the names that Entra ID has for tokens of any tenant. */
const NO_ISSUER = /[{}<>*\s]|^https:\/\/login\.[a-z.]*microsoftonline\.[a-z]+\/(common|organizations|consumers)(\/|$)/

/** For entries whose issuer is compared with a token's `iss`. */
export function reviewIssuer (issuer: JwtEntry['issuer'], at: string, { report }: CompileContext): void {
  for (const [i, one] of [issuer].flat().entries()) {
    if (NO_ISSUER.test(one)) {
      const path = `${at}.issuer${Array.isArray(issuer) ? `.${i}` : ''}`
      report.problem(path, 'matches no token: an issuer has no placeholders and no white space; list each of several')
    }
  }
}

function reviewPlaces ({ header }: JwtEntry, at: string, { report }: CompileContext): void {
  if (header === undefined) return
  if (!HEADER_NAME.test(header)) {
    report.problem(`${at}.header`, 'must be a header name of letters, digits and hyphens')
  }
  if (['authorization', 'cookie'].includes(header.toLowerCase())) {
    report.problem(`${at}.header`, 'must be another one: Authorization is read anyway, and cookie: names a cookie')
  }
}

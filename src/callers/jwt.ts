// Parses and verifies signed JWTs. Claims are checked here and not by jose, which accepts tokens without `exp`, an
// `iat` in the future, `exp: 1e400`, an object as `sub`, and padding in base64url.

import type { KeyObject } from 'node:crypto'
import type { Json, JsonObject } from '../json.ts'
import { readObject } from '../outbound/request.ts'
import { type Caller, createCaller, refused } from './caller.ts'
import type { KeySet } from './jwks.ts'
import { type JwtRule, normalizeType } from './jwt-entry.ts'
import { algorithmNamed, ALGORITHMS } from './schema.ts'
import { isSignedBy, type Signed } from './signature.ts'

/** The last second of the year 9999. */
const LAST_DATE = 253_402_300_799

export type Jwt = Readonly<{ header: JsonObject, claims: JsonObject, signed: Buffer, signature: Buffer }>

/** The parts of a signed JWT, not yet verified; undefined if the token is anything else. */
export function readJwt (token: string): Jwt | undefined {
  const parts = token.split('.', 4)
  const [header, claims, signature] = parts.map(readBase64url)
  if (parts.length !== 3 || header === undefined || claims === undefined || signature === undefined) return undefined
  const [headerObject, claimsObject] = [readObject(header), readObject(claims)]
  return headerObject && claimsObject && {
    header: headerObject, claims: claimsObject, signed: Buffer.from(token.slice(0, token.lastIndexOf('.'))), signature
  }
}

/** Node decodes leniently, so only text that survives re-encoding counts as base64url. */
function readBase64url (part: string): Buffer | undefined {
  const bytes = Buffer.from(part, 'base64url')
  return part !== '' && bytes.toString('base64url') === part ? bytes : undefined
}

/** `claims.iss` must be one of the rule's issuers. */
export async function verifyJwt (
  { header, claims, signed, signature }: Jwt, rule: JwtRule, nowSeconds: number
): Promise<Caller> {
  const { kid, typ } = header
  const alg = readAlgorithm(header, rule)
  // No extension is supported, nor compressed or unencoded payloads.
  if (['crit', 'b64', 'zip'].some((name) => Object.hasOwn(header, name))) throw refused('header_not_understood')
  if (kid !== undefined && typeof kid !== 'string') throw refused('kid_malformed')
  if (rule.type !== null && (typeof typ !== 'string' || normalizeType(typ) !== rule.type)) {
    throw refused('type_not_accepted')
  }

  const keys = alg.startsWith('HS')
    ? rule.secrets
    : await (rule.keys as KeySet).find(kid === undefined ? { alg } : { alg, kid })
  if (keys.length === 0) throw refused('key_unknown')
  if (!await isSignedByAny(keys, { algorithm: alg, input: signed, signature })) throw refused('signature_invalid')

  checkDates(claims, rule, nowSeconds)
  const subject = rule.readSubject(claims)
  if (rule.audiences !== null && !includesAudience(claims.aud, rule.audiences)) throw refused('audience_mismatch')
  // A token bound to a key is not a bearer token (RFC 7800).
  if (Object.hasOwn(claims, 'cnf')) throw refused('token_bound_to_key')
  const own = { ...claims, sub: subject }
  if (!rule.require(own)) throw refused('required_claim_mismatch')
  return createCaller({ issuer: claims.iss as string, subject, claims: own, expiresAt: claims.exp as number })
}

/** The reason names an algorithm that we know; any other is text of the client. */
function readAlgorithm ({ alg }: JsonObject, { algorithms }: JwtRule): string {
  const known = [...ALGORITHMS, 'Ed25519'].find((name) => name === alg)
  if (known === undefined) throw refused('algorithm_not_allowed')
  const algorithm = algorithmNamed(known)
  if (!algorithms.has(algorithm)) throw refused(`algorithm_not_allowed: ${known}`)
  return algorithm
}

async function isSignedByAny (keys: readonly (KeyObject | Uint8Array)[], signed: Signed): Promise<boolean> {
  for (const key of keys) if (await isSignedBy(key, signed)) return true
  return false
}

function checkDates (
  { exp, nbf, iat }: JsonObject, { toleranceSeconds, maxLifetimeSeconds }: JwtRule, now: number
): void {
  if (!isDate(exp)) throw refused('exp_malformed')
  if ((nbf !== undefined && !isDate(nbf)) || (iat !== undefined && !isDate(iat))) throw refused('date_malformed')
  if (exp < now - toleranceSeconds) throw refused('token_expired')
  if (nbf !== undefined && nbf > now + toleranceSeconds) throw refused('token_not_yet_valid')
  if (iat !== undefined && iat > now + toleranceSeconds) throw refused('token_from_the_future')
  if (iat !== undefined && exp <= iat) throw refused('expires_before_issued')
  if (maxLifetimeSeconds !== Infinity && (iat === undefined || exp - iat > maxLifetimeSeconds)) {
    throw refused('lifetime_too_long')
  }
}

export function isDate (value: Json | undefined): value is number {
  return typeof value === 'number' && value >= 0 && value <= LAST_DATE
}

/** Compares exactly; a member that is not a string fails the whole audience. */
export function includesAudience (aud: Json | undefined, audiences: readonly string[]): boolean {
  const named = Array.isArray(aud) ? aud : [aud]
  return named.every((one) => typeof one === 'string') && named.some((one) => audiences.includes(one))
}

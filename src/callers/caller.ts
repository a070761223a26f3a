import type { FastifyRequest } from 'fastify'
import { ApiError } from '../errors.ts'
import { deepFreeze, type JsonObject } from '../json.ts'

/** An authenticated user of the app that runs this service. */
export type Caller = Readonly<{
  issuer: string
  subject: string
  claims: JsonObject
  /** Unix seconds: when the credential expires. */
  expiresAt: number
  /** True if only issuer and subject are known: no condition on another claim matches, not even on its absence. */
  hasUnknownClaims?: true
}> & {
  /** Admission's decision, kept as long as the caller is cached and the rulebook stays the same. */
  admitted: unknown
}

type Identified = Pick<Caller, 'issuer' | 'subject' | 'claims'> & Readonly<{ expiresAt?: number | undefined }>

/** Returns the caller or throws; there is no third outcome. */
export type Authenticate = (request: FastifyRequest) => Caller | Promise<Caller>

/** Issuer of requests without a credential. No other entry may use it. */
export const GUEST_ISSUER = 'guest'

/** For credentials that state no expiry. */
const NO_EXPIRY = Number.MAX_SAFE_INTEGER

/** Claims are frozen, since many requests may share them. */
export function createCaller ({ issuer, subject, claims, expiresAt = NO_EXPIRY }: Identified): Caller {
  return { issuer, subject, claims: deepFreeze(claims), expiresAt, admitted: null }
}

/** `reason` is a code for the log, never text from the client. */
export function refused (reason: string): ApiError {
  return new ApiError('invalid_credentials', { reason })
}

/** The credential cannot be checked: our fault or the issuer's, not the caller's. */
export function unavailable (reason: string, retryAfterSeconds = 1): ApiError {
  return new ApiError('identity_unavailable', { reason, retryAfterSeconds })
}

/**
 * The subject in a value that names a user: text as it is, a safe integer as its decimal text; undefined for any other
 * value. Not for a JWT's `sub`, which is text (RFC 7519, section 4.1.2).
 */
export function subjectFrom (value: unknown): string | undefined {
  if (Number.isSafeInteger(value) && !Object.is(value, -0)) return String(value)
  return isSubject(value) ? value : undefined
}

/** For a header that names a user. A comma may come from a proxy that joined two headers of this name. */
export function isHeaderSubject (value: unknown): value is string {
  return isSubject(value) && /^[\x20-\x2b\x2d-\x7e]+$/.test(value)
}

/** Counters and logs are keyed by subject, so two that look alike must not both pass. */
export function isSubject (value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= 255 && value.trim() === value &&
    value.isWellFormed() && !/\p{Cc}/u.test(value)
}

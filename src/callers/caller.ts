import type { FastifyRequest } from 'fastify'
import { ApiError } from '../errors.ts'
import { deepFreeze, type JsonObject } from '../json.ts'

/** The authenticated user of the app that runs this service. */
export type Caller = Readonly<{
  issuer: string
  subject: string
  claims: JsonObject
  /** Unix seconds; what vouches for the caller is not good any longer than this. */
  expiresAt: number
}> & {
  /** Holds what admission decided for this caller, for as long as the caller is cached and under one rulebook. */
  admitted: unknown
}

/** One way of proving who one is: a caller, or a throw; never "nobody". */
export type Authenticate = (request: FastifyRequest) => Caller | Promise<Caller>

/** The issuer of those who presented nothing. No other entry may use it. */
export const GUEST_ISSUER = 'guest'

/** For callers of whom nothing says how long they are good. */
export const NO_EXPIRY = Number.MAX_SAFE_INTEGER

/** The claims are frozen: many requests may share them. */
export function createCaller (issuer: string, subject: string, claims: JsonObject, expiresAt = NO_EXPIRY): Caller {
  return { issuer, subject, claims: deepFreeze(claims), expiresAt, admitted: null }
}

/** `reason` is a code for the log, never anything that the client sent. */
export function refused (reason: string): ApiError {
  return new ApiError('invalid_credentials', { reason })
}

/** We cannot tell who this is: our fault or the issuer's, not the caller's. */
export function unavailable (reason: string, retryAfterSeconds = 1): ApiError {
  return new ApiError('identity_unavailable', { reason, retryAfterSeconds })
}

/** Counters, quotas and logs are keyed by subject, so two that look alike must not both pass. */
export function isSubject (value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= 255 && value.trim() === value &&
    value.isWellFormed() && !/\p{Cc}/u.test(value)
}

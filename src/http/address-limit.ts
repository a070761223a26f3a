// So many requests a minute from one address, before any token is looked at: it protects the verifier, not the quota.

import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { ApiError } from '../errors.ts'
import { clientKey } from './address.ts'

const WINDOW_MS = 60_000

/** Rejects with ApiError `rate_limit_exceeded`. */
export type LimitAddress = (request: FastifyRequest) => Promise<void>

/** Zero is off. */
export async function createAddressLimit (app: FastifyInstance, perMinute: number): Promise<LimitAddress> {
  if (perMinute === 0) return async () => {}
  await app.register(rateLimit, { global: false, cache: 100_000 })
  const check = app.createRateLimit({
    max: perMinute,
    timeWindow: WINDOW_MS,
    keyGenerator: (request) => clientKey(request.ip)
  })
  return (request) => check(request).then((state) => {
    if (!state.isAllowed && state.isExceeded) {
      throw new ApiError('rate_limit_exceeded', { reason: 'address', retryAfterSeconds: state.ttlInSeconds })
    }
  })
}

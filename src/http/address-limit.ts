// Requests per minute from one address, counted before any token is verified: it protects the verifier, not the quota.

import type { FastifyRequest } from 'fastify'
import { LRUCache } from 'lru-cache'
import { ApiError } from '../errors.ts'
import { clientKey } from './address.ts'

const MINUTE_MS = 60_000
const MAX_ADDRESSES = 100_000

/** Throws ApiError `rate_limit_exceeded`. */
export type LimitAddress = (request: Pick<FastifyRequest, 'ip'>) => void

/**
 * Zero is off. `now` is monotonic, in milliseconds. Counts and checks in one step: @fastify/rate-limit checks later,
 * and refuses all of a burst once its last request has been counted.
 */
export function createAddressLimit (perMinute: number, now = () => performance.now()): LimitAddress {
  if (perMinute === 0) return () => {}
  const windows = new LRUCache<string, { count: number, endsAtMs: number }>({ max: MAX_ADDRESSES })
  return ({ ip }) => {
    const address = clientKey(ip)
    const nowMs = now()
    let window = windows.get(address)
    if (window === undefined || window.endsAtMs <= nowMs) {
      window = { count: 0, endsAtMs: nowMs + MINUTE_MS }
      windows.set(address, window)
    }
    if (++window.count > perMinute) {
      const retryAfterSeconds = Math.ceil((window.endsAtMs - nowMs) / 1000)
      throw new ApiError('rate_limit_exceeded', { reason: 'address', retryAfterSeconds })
    }
  }
}

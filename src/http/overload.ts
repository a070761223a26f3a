// Sheds load before things break: what cannot be served in time is told so at once.
// @fastify/under-pressure is not used: it asks for the resident memory, which ends the process where there is no /proc.

import type { FastifyInstance } from 'fastify'
import { getHeapStatistics } from 'node:v8'
import { ApiError } from '../errors.ts'

const LOOK_MS = 500
const MAX_LATE_MS = 1000
const MAX_HEAP_SHARE = 0.85

/** `maxInFlight` bounds the requests that are being answered. */
export function registerOverload (app: FastifyInstance, maxInFlight: number): void {
  let inFlight = 0
  let pressure: string | null = null
  let lookedAt = performance.now()
  const timer = setInterval(() => {
    const lateMs = performance.now() - lookedAt - LOOK_MS
    const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics()
    pressure = lateMs > MAX_LATE_MS ? 'event_loop' : used > MAX_HEAP_SHARE * limit ? 'heap' : null
    lookedAt = performance.now()
  }, LOOK_MS).unref()
  app.addHook('onClose', async () => clearInterval(timer))

  const leave = () => { inFlight-- }
  app.addHook('onRequest', (_request, reply, done) => {
    const reason = inFlight >= maxInFlight ? 'in_flight' : pressure
    if (reason !== null) return done(new ApiError('overloaded', { reason, retryAfterSeconds: 1 }))
    inFlight++
    reply.raw.once('close', leave)
    done()
  })
}

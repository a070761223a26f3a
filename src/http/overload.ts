// Sheds load before things break: what cannot be served in time is told so at once.

import underPressure from '@fastify/under-pressure'
import type { FastifyInstance } from 'fastify'
import { getHeapStatistics } from 'node:v8'
import { ApiError } from '../errors.ts'

const MAX_EVENT_LOOP_DELAY_MS = 1000
const MAX_HEAP_SHARE = 0.85

/** `maxInFlight` bounds the requests that are being answered. */
export async function registerOverload (app: FastifyInstance, maxInFlight: number): Promise<void> {
  let inFlight = 0
  app.addHook('onRequest', (_request, reply, done) => {
    if (inFlight >= maxInFlight) return done(new ApiError('overloaded', { reason: 'in_flight', retryAfterSeconds: 1 }))
    inFlight++
    reply.raw.once('close', () => { inFlight-- })
    done()
  })
  await app.register(underPressure, {
    maxEventLoopDelay: MAX_EVENT_LOOP_DELAY_MS,
    maxHeapUsedBytes: MAX_HEAP_SHARE * getHeapStatistics().heap_size_limit,
    pressureHandler: (_request, _reply, type) => {
      throw new ApiError('overloaded', { reason: type, retryAfterSeconds: 1 })
    }
  })
}

// Sheds load before things break: what cannot be served in time is told so at once.
// @fastify/under-pressure is not used: it asks for the resident memory, which ends the process where there is no /proc.

import type { ServerResponse } from 'node:http'
import { getHeapStatistics } from 'node:v8'
import type { FastifyInstance } from 'fastify'
import { ApiError } from '../errors.ts'

const LOOK_MS = 500
const MAX_LATE_MS = 1000
const MAX_HEAP_SHARE = 0.85

/** `maxInFlight` bounds the requests in work: their body is there, and their answer is not handed over. */
export function registerOverload (app: FastifyInstance, maxInFlight: number): void {
  const inWork = new Set<ServerResponse>()
  let pressure: string | null = null
  let lookedAt = performance.now()
  const timer = setInterval(() => {
    const lateMs = performance.now() - lookedAt - LOOK_MS
    const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics()
    pressure = lateMs > MAX_LATE_MS ? 'event_loop' : used > MAX_HEAP_SHARE * limit ? 'heap' : null
    lookedAt = performance.now()
  }, LOOK_MS).unref()
  app.addHook('onClose', async () => clearInterval(timer))

  // Also for what is not handed over at all, because the client has gone.
  const leaveAtClose = function (this: ServerResponse) { inWork.delete(this) }
  app.addHook('onRequest', (_request, _reply, done) => {
    done(pressure === null ? undefined : overloaded(pressure))
  })
  // Behind the address limit, authentication and the body: none of those who wait there takes a place from the others.
  app.addHook('preValidation', (_request, { raw }, done) => {
    if (inWork.size >= maxInFlight) return done(overloaded('in_flight'))
    inWork.add(raw)
    raw.once('close', leaveAtClose)
    done()
  })
  // When the client reads the answer is the client's choice.
  app.addHook('onSend', (_request, { raw }, _payload, done) => {
    inWork.delete(raw)
    done()
  })
}

function overloaded (reason: string): ApiError {
  return new ApiError('overloaded', { reason, retryAfterSeconds: 1 })
}

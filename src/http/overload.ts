// Sheds load: a request that cannot be served in time is refused at once.
// @fastify/under-pressure is not used: it reads the resident memory, which ends the process where there is no /proc.

import type { ServerResponse } from 'node:http'
import { getHeapStatistics } from 'node:v8'
import type { FastifyInstance } from 'fastify'
import type { Clock } from '../clock.ts'
import { ApiError } from '../errors.ts'

const LOOK_MS = 400
const MAX_LATE_MS = 1000
const MAX_HEAP_SHARE = 0.85

/** `maxInFlight` bounds the requests in work: body received, answer not handed over to the socket yet. */
export function registerOverload (app: FastifyInstance, clock: Clock, maxInFlight: number): void {
  let inFlight = 0
  // A Set would keep answered responses alive: each table it has outgrown does, up to the next full garbage collection.
  const inWork = new WeakSet<ServerResponse>()
  const leave = (response: ServerResponse) => { if (inWork.delete(response)) inFlight-- }
  let pressure: string | null = null
  const lookLater = () => {
    const fromMs = clock.monotonicMs()
    return clock.after(LOOK_MS, () => {
      const lateMs = clock.monotonicMs() - fromMs - LOOK_MS
      const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics()
      pressure = lateMs > MAX_LATE_MS ? 'event_loop' : used > MAX_HEAP_SHARE * limit ? 'heap' : null
      stop = lookLater()
    })
  }
  let stop = lookLater()
  app.addHook('onClose', async () => stop())

  // For answers that are never handed over, because the client has gone.
  const leaveAtClose = function (this: ServerResponse) { leave(this) }
  app.addHook('onRequest', (_request, _reply, done) => {
    done(pressure === null ? undefined : overloaded(pressure))
  })
  // After address limit, authentication and body: a request that waits there takes no place from others.
  app.addHook('preValidation', (_request, { raw }, done) => {
    if (inFlight >= maxInFlight) return done(overloaded('in_flight'))
    inFlight++
    inWork.add(raw)
    raw.on('close', leaveAtClose)
    done()
  })
  // Not when the answer is read: a client could hold its place by not reading.
  app.addHook('onSend', (_request, { raw }, _payload, done) => {
    leave(raw)
    done()
  })
}

function overloaded (reason: string): ApiError {
  return new ApiError('overloaded', { reason, retryAfterSeconds: 1 })
}

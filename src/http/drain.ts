// A stop: connections are given up one answer at a time, and at the end nothing new is begun.

import type { FastifyInstance } from 'fastify'
import { ApiError } from '../errors.ts'

export function registerDrain (app: FastifyInstance, isDraining: () => boolean): void {
  let closing = false
  app.addHook('preClose', async () => { closing = true })
  app.addHook('onRequest', async () => {
    if (closing) throw new ApiError('draining', { retryAfterSeconds: 1 })
  })
  app.addHook('onSend', async (_request, reply) => {
    if (isDraining()) reply.header('connection', 'close')
  })
}

import type { FastifyInstance } from 'fastify'

/** `waitingFor` names the parts that are not ready: never an address. */
export function registerHealth (app: FastifyInstance, waitingFor: () => readonly string[]): void {
  app.get('/livez', async () => ({ status: 'ok' }))
  app.get('/readyz', async (_request, reply) => {
    const parts = waitingFor()
    return reply.code(parts.length === 0 ? 200 : 503).send({ status: parts.length === 0 ? 'ok' : 'unavailable', waiting_for: parts })
  })
}

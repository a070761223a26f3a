import type { FastifyInstance } from 'fastify'

/** What is waited for, by the name of the part: never an address. */
export type Readiness = Readonly<{ ready: boolean, waitingFor: readonly string[] }>

export function registerHealth (app: FastifyInstance, readiness: () => Readiness): void {
  app.get('/livez', async () => ({ status: 'ok' }))
  app.get('/readyz', async (_request, reply) => {
    const { ready, waitingFor } = readiness()
    return reply.code(ready ? 200 : 503).send({ status: ready ? 'ok' : 'unavailable', waiting_for: waitingFor })
  })
}

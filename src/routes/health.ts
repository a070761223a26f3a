import type { FastifyInstance } from 'fastify'
import Type from 'typebox'

/** For the reference alone: by it a refusal of the same status would lose its error. */
export const HealthAnswer = Type.Object({
  status: Type.Enum(['ok', 'unavailable']),
  waiting_for: Type.Optional(Type.Array(Type.String()))
})

/** `waitingFor` names the parts that are not ready: never an address. */
export function registerHealth (app: FastifyInstance, waitingFor: () => readonly string[]): void {
  app.get('/livez', async () => ({ status: 'ok' }))
  app.get('/readyz', async (_request, reply) => {
    const parts = waitingFor()
    return reply.code(parts.length === 0 ? 200 : 503).send(
      { status: parts.length === 0 ? 'ok' : 'unavailable', waiting_for: parts }
    )
  })
}

import type { FastifyInstance } from 'fastify'
import Type from 'typebox'

/** For the reference only: as a response schema it would strip the error from a refusal of the same status. */
export const HealthAnswer = Type.Object({
  status: Type.Enum(['ok', 'unavailable']),
  waiting_for: Type.Optional(Type.Array(Type.String()))
})

/** `waitingFor` names the parts that are not ready, without addresses. */
export function registerHealth (app: FastifyInstance, waitingFor: () => readonly string[]): void {
  const probe = { config: { isProbe: true }, exposeHeadRoute: true }
  app.get('/livez', probe, async () => ({ status: 'ok' }))
  app.get('/readyz', probe, async (_request, reply) => {
    const parts = waitingFor()
    const isReady = parts.length === 0
    return reply.code(isReady ? 200 : 503).send({ status: isReady ? 'ok' : 'unavailable', waiting_for: parts })
  })
}

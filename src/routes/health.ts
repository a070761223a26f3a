import type { FastifyInstance, RouteHandler } from 'fastify'
import Type from 'typebox'

/** For the reference only: as a response schema it would strip the error from a refusal of the same status. */
export const HealthAnswer = Type.Object({
  status: Type.Enum(['ok', 'unavailable']),
  waiting_for: Type.Optional(Type.Array(Type.String()))
})

/** `waitingFor` names the parts that are not ready, without addresses. */
export function registerHealth (app: FastifyInstance, waitingFor: () => readonly string[]): void {
  const addProbe = (url: string, handler: RouteHandler) => app.route({
    // OPTIONS is what HAProxy sends where its configuration names no method.
    method: ['GET', 'HEAD', 'OPTIONS'], url, handler, config: { isProbe: true }
  })
  addProbe('/livez', async () => ({ status: 'ok' }))
  addProbe('/readyz', async (_request, reply) => {
    const parts = waitingFor()
    const isReady = parts.length === 0
    return reply.code(isReady ? 200 : 503).send({ status: isReady ? 'ok' : 'unavailable', waiting_for: parts })
  })
}

// Everything of the sandbox listens on this machine only.

import type { FastifyInstance } from 'fastify'

export const HOST = '127.0.0.1'

/** On the port that is wanted, or on any free one where that is taken. Resolves to the origin. */
export async function listen (app: FastifyInstance, port: number): Promise<string> {
  try {
    return await app.listen({ host: HOST, port })
  } catch (error) {
    if (port === 0 || (error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
    return app.listen({ host: HOST, port: 0 })
  }
}

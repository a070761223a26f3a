import type { FastifyRequest } from 'fastify'

/** The client can receive no answer any more. */
export function isClientGone ({ raw: { socket } }: FastifyRequest): boolean {
  return socket.destroyed || !socket.writable
}

import type { FastifyRequest } from 'fastify'

/** The client can receive no answer any more. */
export function isGone ({ raw: { socket } }: FastifyRequest): boolean {
  return socket.destroyed || !socket.writable
}

// The responses that each connection waits for, in the order of their requests.

import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/** By open connection. The list of an idle one is empty, so that its requests can be freed. */
export type Unanswered = ReadonlyMap<Socket, readonly ServerResponse[]>

/** Before any other listener of the server's connections. */
export function trackUnanswered (server: Server): Unanswered {
  const unanswered = new Map<Socket, ServerResponse[]>()
  const strikeOff = function (this: ServerResponse) {
    const responses = unanswered.get(this.req.socket)
    responses?.splice(responses.indexOf(this), 1)
  }
  server.on('connection', (socket: Socket) => {
    unanswered.set(socket, [])
    socket.once('close', () => unanswered.delete(socket))
  })
  server.on('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
    (unanswered.get(socket) as ServerResponse[]).push(response)
    response.on('close', strikeOff)
  })
  return unanswered
}

// A stop: connections are given up one answer at a time, and at the end nothing new is begun.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { ApiError } from '../errors.ts'

/** Once or twice this long may a request take that is still being sent at the end, or a client to read its answer. */
const PATIENCE_MS = 500

export function registerDrain (app: FastifyInstance, isDraining: () => boolean): void {
  let isClosing = false
  /** Null where nothing is being answered. */
  const latest = new Map<Socket, ServerResponse | null>()
  app.server.on('connection', (socket: Socket) => {
    latest.set(socket, null)
    socket.once('close', () => latest.delete(socket))
  })
  app.server.on('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
    latest.set(socket, response)
    // What was said on a connection that idles is not kept with it.
    response.once('close', () => { if (latest.get(socket) === response) latest.set(socket, null) })
  })

  // A server that closes looks no more at its own timeouts, and waits for whoever has connected and says nothing.
  app.addHook('preClose', async () => {
    isClosing = true
    for (const [socket] of latest) if (socket.bytesRead === 0) socket.destroy()
    let waitedFor = new Set<Socket>()
    const timer = setInterval(() => {
      const waiting = [...latest].filter(([, response]) => response === null || !isInWork(response)).map(
        ([socket]) => socket
      )
      for (const socket of waiting) if (waitedFor.has(socket)) socket.destroy()
      waitedFor = new Set(waiting)
    }, PATIENCE_MS)
    app.server.once('close', () => clearInterval(timer))
  })
  app.addHook('onRequest', (_request, _reply, done) => {
    done(isClosing ? new ApiError('draining', { retryAfterSeconds: 1 }) : undefined)
  })
  app.addHook('onSend', (_request, reply, _payload, done) => {
    if (isDraining()) reply.header('connection', 'close')
    done()
  })
}

/** Asked in full and not answered, be it because an earlier one on the same connection is not. */
function isInWork ({ req, socket, writableEnded, writableFinished }: ServerResponse): boolean {
  /* c8 ignore next -- a pipelined answer that waits has no socket yet: seen by processes that the tests start */
  return req.complete && !writableFinished && (!writableEnded || socket === null)
}

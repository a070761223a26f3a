// A graceful stop: each answer closes its connection, and at the end no new request is begun.

import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { ApiError } from '../errors.ts'
import type { Unanswered } from './unanswered.ts'

/** While the server closes, a silent client is disconnected after one to two of these periods. */
const PATIENCE_MS = 500

export function registerDrain (app: FastifyInstance, unanswered: Unanswered, isDraining: () => boolean): void {
  let isClosing = false

  // Node's server no longer checks its timeouts while it closes, and would wait for silent connections forever.
  app.addHook('preClose', async () => {
    isClosing = true
    for (const [socket] of unanswered) if (socket.bytesRead === 0) socket.destroy()
    let waitedFor = new Set<Socket>()
    const timer = setInterval(() => {
      const waiting = [...unanswered].filter(([, responses]) => !responses.some(isInWork)).map(([socket]) => socket)
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

/** Received in full and not answered yet, maybe because an earlier request on the connection is not. */
function isInWork ({ req, socket, writableEnded, writableFinished }: ServerResponse): boolean {
  /* c8 ignore next -- a pipelined answer that waits has no socket yet: reached only in processes that tests start */
  return req.complete && !writableFinished && (!writableEnded || socket === null)
}

// What Node's parser lets through, or would answer by itself, and what nobody honest sends.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { envelope } from '../errors.ts'
import { answerMalformed } from './malformed.ts'

/** Node drops headers beyond its own limit in silence, a second Authorization among them. */
const MAX_HEADERS = 200

export function registerWire (app: FastifyInstance): void {
  for (const event of ['checkContinue', 'checkExpectation']) {
    app.server.on(event, (request: IncomingMessage, response: ServerResponse) => app.server.emit('request', request, response))
  }
  app.server.on('connect', (_request: IncomingMessage, socket: Socket) => answerMalformed({}, socket))

  app.addHook('onRequest', async ({ raw }, reply) => {
    const status = faultOf(raw)
    // Like what the parser refuses: no code of the catalogue has these statuses, and it is no decision about a caller.
    return status === null ? undefined : reply.code(status).header('connection', 'close').send(envelope('invalid_request'))
  })
  app.addHook('preParsing', async ({ caller, headers: { expect } }, reply) => {
    // A body is asked for once it is known whose it is.
    if (expect !== undefined && caller !== null) reply.raw.writeContinue()
  })
}

function faultOf ({ url = '', headers, rawHeaders }: IncomingMessage): number | null {
  if (rawHeaders.length > 2 * MAX_HEADERS) return 431
  const hosts = rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === 'host').length
  // A URL with a host of its own (RFC 9112, section 3.2.2) is for proxies, and we are none.
  if (hosts !== 1 || !url.startsWith('/')) return 400
  return headers.expect === undefined || headers.expect.toLowerCase() === '100-continue' ? null : 417
}

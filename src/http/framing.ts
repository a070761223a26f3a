// Requests that no honest client sends, and that Node's parser would let through or answer by itself.

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { envelope } from '../errors.ts'
import { answerMalformed, answersNoMore, surviveErrors } from './parse-errors.ts'
import { boundPipelines } from './pipeline.ts'
import { findRtsp } from './rtsp.ts'
import { trackUnanswered, type Unanswered } from './unanswered.ts'

/** Node drops headers beyond its own limit in silence, a second Authorization among them. */
const MAX_HEADERS = 200

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Answers without a Host too: health checks of load balancers send HTTP/1.0, without any header. */
    isProbe?: boolean
  }
}

export function registerFraming (app: FastifyInstance): Unanswered {
  // Node removes its own error listener from a socket that it hands over. A reset would then end the process.
  app.server.on('connection', surviveErrors)
  const unanswered = trackUnanswered(app.server)
  const isRtsp = findRtsp()
  boundPipelines(app.server, unanswered, (bytes, socket) => {
    if (isRtsp(bytes, socket)) answerMalformed({}, socket)
  })
  for (const event of ['checkContinue', 'checkExpectation']) {
    app.server.on(event, (request: IncomingMessage, response: ServerResponse) => {
      app.server.emit('request', request, response)
    })
  }
  app.server.on('connect', (_request: IncomingMessage, socket: Socket) => answerMalformed({}, socket))

  app.addHook('onRequest', ({ raw, routeOptions: { config: { isProbe = false } } }, reply, done) => {
    const status = faultOf(raw, isProbe)
    if (status === null) return done()
    answersNoMore(raw.socket)
    // Answered like a parse error: the error catalogue has no such statuses, and there is no decision to audit.
    reply.code(status).header('connection', 'close').send(envelope('invalid_request'))
  })
  app.addHook('preParsing', ({ caller, raw: { httpVersion, headers: { expect } } }, reply, payload, done) => {
    // 100 Continue is sent only to an authenticated caller. HTTP/1.0 has no such answer.
    if (expect !== undefined && caller !== null && httpVersion === '1.1') reply.raw.writeContinue()
    done(null, payload)
  })
  return unanswered
}

function faultOf (
  { url = '', httpVersion, headers, rawHeaders }: IncomingMessage, mayLackHost: boolean
): number | null {
  const hosts = times('host', rawHeaders)
  if (rawHeaders.length > 2 * MAX_HEADERS) return 431
  // Node keeps the first of two types; a gateway may have checked the other one.
  if ((hosts !== 1 && !(hosts === 0 && mayLackHost)) || times('content-type', rawHeaders) > 1) return 400
  // A URL in absolute form (RFC 9112, section 3.2.2) is for proxies, and this is none.
  if (!url.startsWith('/') || !isFramedPlainly(httpVersion, headers['transfer-encoding'])) return 400
  return headers.expect === undefined || headers.expect.toLowerCase() === '100-continue' ? null : 417
}

function times (wanted: string, rawHeaders: readonly string[]): number {
  let found = 0
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    if (name.length === wanted.length && name.toLowerCase() === wanted) found++
  }
  return found
}

/** Node also takes codings before `chunked` (RFC 9112, section 6.1), chunks in HTTP/1.0, and HTTP/0.9 or 2.0. */
function isFramedPlainly (httpVersion: string, coding: string | undefined): boolean {
  return coding === undefined
    ? /^1\.[01]$/.test(httpVersion)
    : httpVersion === '1.1' && coding.toLowerCase() === 'chunked'
}

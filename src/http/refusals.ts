// How every request is answered when it is not granted: the error envelope, and the headers that every answer carries.

import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { ApiError, envelope } from '../errors.ts'
import type { IsTrusted } from './address.ts'

const REQUEST_ID = /^[A-Za-z0-9._-]{1,128}$/

/** One that comes in is kept only from a trusted proxy, and only if nothing can hide in it. */
export function requestIdOf (isTrusted: IsTrusted): (request: IncomingMessage) => string {
  return ({ headers: { 'x-request-id': given }, socket }) =>
    typeof given === 'string' && REQUEST_ID.test(given) && isTrusted(socket.remoteAddress, 0) ? given : randomUUID()
}

export function registerAnswers (
  app: FastifyInstance, onError: (error: ApiError, request: FastifyRequest, reply: FastifyReply) => void
): void {
  const methods = new Map<string, string[]>()
  app.addHook('onRoute', ({ method, url }) => { methods.set(url, [...methods.get(url) ?? [], ...[method].flat()]) })
  app.addHook('onRequest', (_request, reply, done) => {
    reply.headers(headersOf(reply))
    done()
  })
  app.setErrorHandler((cause, request, reply) => {
    const error = toApiError(cause)
    onError(error, request, reply)
    return refuse(reply, error)
  })
  const unanswered = ({ url }: FastifyRequest) => {
    const answered = methods.get(url.split('?', 1)[0] as string)
    return answered === undefined
      ? new ApiError('not_found')
      : new ApiError('method_not_allowed', { allow: answered.join(', ') })
  }
  // Before the body: Fastify would parse it, whoever sent it, and then say that nobody wants it.
  app.addHook('preParsing', (request, _reply, _payload, done) => done(request.is404 ? unanswered(request) : null))
  app.setNotFoundHandler((request) => { throw unanswered(request) })
}

function headersOf ({ request }: FastifyReply): Record<string, string> {
  return {
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    vary: 'Authorization, Origin',
    'x-request-id': request.id
  }
}

export function toApiError (cause: unknown): ApiError {
  if (cause instanceof ApiError) return cause
  const { code, statusCode = 500 } = cause as { code?: string, statusCode?: number }
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') return new ApiError('body_too_large', { cause })
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return new ApiError('unsupported_media_type', { cause })
  return new ApiError(statusCode < 500 ? 'invalid_request' : 'internal_error', { cause })
}

export function refuse (
  reply: FastifyReply, { code, statusCode, param, retryAfterSeconds, retryCannotHelp, allow }: ApiError
): FastifyReply {
  // A URL that cannot be read is refused before any hook has run.
  reply.headers(headersOf(reply))
  if (statusCode === 401) reply.header('www-authenticate', 'Bearer')
  if (allow !== undefined) reply.header('allow', allow)
  if (retryAfterSeconds !== undefined) reply.header('retry-after', retryAfterSeconds)
  if (retryCannotHelp) reply.header('x-should-retry', 'false')
  return reply.code(statusCode).send(envelope(code, param))
}

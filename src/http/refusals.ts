// Refusals in the error envelope, and the headers that every answer carries.

import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { ApiError, envelope } from '../errors.ts'
import type { IsTrusted } from './address.ts'
import { collectMethods } from './methods.ts'

const REQUEST_ID = /^[A-Za-z0-9._-]{1,128}$/

/** An id that comes in is kept only from a trusted proxy, and only with harmless characters. */
export function requestIdOf (isTrusted: IsTrusted): (request: IncomingMessage) => string {
  return ({ headers: { 'x-request-id': given }, socket }) =>
    typeof given === 'string' && REQUEST_ID.test(given) && isTrusted(socket.remoteAddress, 0) ? given : randomUUID()
}

export type OnRefused = (error: ApiError, request: FastifyRequest, reply: FastifyReply) => void

export function registerRefusals (app: FastifyInstance, onRefused: OnRefused): void {
  const allowed = collectMethods(app)
  app.addHook('onRequest', (_request, reply, done) => {
    reply.headers(headersOf(reply))
    done()
  })
  app.setErrorHandler((cause, request, reply) => {
    const error = toApiError(cause)
    onRefused(error, request, reply)
    return sendRefusal(reply, error)
  })
  const noRoute = ({ url }: FastifyRequest) => {
    const methods = allowed(url)
    return methods.length === 0
      ? new ApiError('not_found')
      : new ApiError('method_not_allowed', { allow: methods.join(', ') })
  }
  // Refused before the body is read: Fastify would parse it first, from any sender.
  app.addHook('preParsing', (request, _reply, _payload, done) => done(request.is404 ? noRoute(request) : null))
  app.setNotFoundHandler((request) => { throw noRoute(request) })
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

export function sendRefusal (
  reply: FastifyReply, { code, statusCode, param, retryAfterSeconds, retryCannotHelp, allow }: ApiError
): FastifyReply {
  // Set again: a URL that cannot be decoded is refused before any hook has run.
  reply.headers(headersOf(reply))
  if (statusCode === 401) reply.header('www-authenticate', 'Bearer')
  if (allow !== undefined) reply.header('allow', allow)
  if (retryAfterSeconds !== undefined) reply.header('retry-after', retryAfterSeconds)
  if (retryCannotHelp) reply.header('x-should-retry', 'false')
  return reply.code(statusCode).send(envelope(code, param))
}

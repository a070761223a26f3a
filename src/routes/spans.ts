// A server span for each request, until its answer is handed over. Nothing that a client wrote is in it: no host, no
// address, no query; a path only where it is the route's own, and a method only if it is a usual one.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { toApiError } from '../http/refusals.ts'
import type { ServerSpan, Tracing } from '../tracing/tracing.ts'

const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'CONNECT', 'OPTIONS', 'TRACE', 'PATCH'])

/** Registered directly after the decision: log and audit lines name the trace that is set here. */
export function registerSpans (app: FastifyInstance, { serve }: Pick<Tracing, 'serve'>): void {
  app.addHook('onRequest', (request, reply, done) => {
    const { decision, raw, routeOptions: { config: { isProbe = false } } } = request
    // Load balancers send several a second, all alike.
    if (isProbe) return done()
    const isContinued = decision.trace.trace_id !== undefined
    const span = decision.span = serve(...describe(request), isContinued ? raw.headers : {})
    decision.trace = { ...decision.trace, trace_id: span.traceId }
    reply.raw.once('close', () => span.end(reply.raw.headersSent ? reply.raw.statusCode : null))
    done()
  })
  app.addHook('onError', ({ decision }, _reply, error, done) => {
    decision.span?.failed(toApiError(error).code)
    done()
  })
}

/** Makes the span of the request current again: batched work and body parsers run outside of any request. */
export function registerSpanContext (admitted: FastifyInstance): void {
  const enter = ({ decision: { span } }: FastifyRequest, _reply: unknown, done: () => void) =>
    (span as ServerSpan).within(done)
  admitted.addHook('onRequest', enter)
  admitted.addHook('preValidation', enter)
}

function describe ({ method, protocol, routeOptions: { url = '' } }: FastifyRequest) {
  const known = METHODS.has(method) ? method : '_OTHER'
  const route = url.startsWith('/') ? url : null
  return [`${known === '_OTHER' ? 'HTTP' : known}${route === null ? '' : ` ${route}`}`, {
    'http.request.method': known,
    'url.scheme': protocol === 'https' ? 'https' : 'http',
    ...(route === null ? {} : { 'http.route': route }),
    ...(route === null || route.includes(':') ? {} : { 'url.path': route })
  }] as const
}

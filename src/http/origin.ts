// Which origins may call, and what their pages may read. CORS alone only withholds answers: a request from a foreign
// origin would still mint, so it is refused before anything else happens.

import cors, { type FastifyCorsOptions } from '@fastify/cors'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Origins } from '../config/origins.ts'
import { ApiError } from '../errors.ts'

const METHODS = ['GET', 'POST']
const HEADERS = ['authorization', 'content-type']
/** Named only where they are requested. Firefox and Safari ask for `user-agent`, which OpenAI's SDKs set. */
const REQUESTED_HEADERS = ['user-agent', 'x-requested-with', 'traceparent', 'tracestate', 'baggage', 'sentry-trace']
// Sent by OpenAI's SDKs. Each is named in the answer: browsers do not understand `x-stainless-*`.
const SDK_HEADERS = /^(x-stainless-|openai-|x-openai-)[a-z0-9-]{1,64}$/
const EXPOSED = [
  'X-Realtime-Url', 'RateLimit-Limit', 'RateLimit-Remaining', 'RateLimit-Reset', 'X-Request-Id', 'Retry-After'
].join(', ')

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Headers of this route that pages may read, beside the common ones. */
    exposedHeaders?: readonly string[]
  }
}

export type OriginOptions = Readonly<{
  origins: Pick<Origins, 'has'>
  /** Request headers that pages may send beside the usual ones, in lower case. */
  requestHeaders?: ReadonlySet<string>
  credentials: () => boolean
}>

export async function registerOrigin (
  app: FastifyInstance, { origins, requestHeaders = new Set(), credentials }: OriginOptions
): Promise<void> {
  const mayBeSent = new Set([...REQUESTED_HEADERS, ...requestHeaders])
  app.addHook('onRequest', ({ method, headers, routeOptions }, reply, done) => {
    const { origin, 'sec-fetch-site': site } = headers
    const isForeign = origin === undefined ? site === 'cross-site' : !origins.has(origin)
    if (isForeign) return done(new ApiError('origin_not_allowed'))
    if (origin !== undefined && method !== 'OPTIONS') {
      reply.headers({
        'access-control-allow-origin': origin,
        'access-control-expose-headers': exposedHeaders(routeOptions.config.exposedHeaders)
      })
      if (credentials()) reply.header('access-control-allow-credentials', 'true')
    }
    done()
  })
  const options = (request: FastifyRequest): FastifyCorsOptions => ({
    // An OPTIONS that is no preflight is a method like any other.
    origin: isPreflight(request) ? request.headers.origin as string : false,
    credentials: credentials(),
    methods: METHODS,
    allowedHeaders: allowedHeaders(request, mayBeSent),
    maxAge: 600
  })
  // Preflights only: at every request the plugin costs a tenth of a mint.
  await app.register(async (preflights) => {
    await preflights.register(cors, { delegator: (request, callback) => callback(null, options(request)) })
  })
}

function exposedHeaders (own: readonly string[] | undefined): string {
  return own === undefined ? EXPOSED : [EXPOSED, ...own].join(', ')
}

function isPreflight ({ headers }: FastifyRequest): boolean {
  return headers.origin !== undefined && METHODS.includes(headers['access-control-request-method'] ?? '')
}

function allowedHeaders ({ headers }: FastifyRequest, mayBeSent: ReadonlySet<string>): string[] {
  const requested = headers['access-control-request-headers'] ?? ''
  const names = requested.length > 4096 ? [] : requested.toLowerCase().split(',').map((name) => name.trim())
  return [...HEADERS, ...names.filter((name) => mayBeSent.has(name) || SDK_HEADERS.test(name))]
}

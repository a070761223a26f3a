// The options and hooks of both listeners: how long a client may take, and the first steps of every request.

import type { Server } from 'node:http'
import { type FastifyBaseLogger, type FastifyHttpOptions, type FastifyInstance, LogController } from 'fastify'
import { takeBodies } from './bodies.ts'
import { registerFraming } from './framing.ts'
import { answerMalformed } from './parse-errors.ts'
import { type OnRefused, registerRefusals, sendRefusal, toApiError } from './refusals.ts'
import { schemaController } from './serializer.ts'
import { BODY_LIMIT_BYTES, STRICT_JSON } from './strict-json.ts'
import type { Unanswered } from './unanswered.ts'

export function listenerOptions (log: FastifyBaseLogger) {
  return {
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    // No request logs by itself, so none needs a child logger.
    childLoggerFactory: (logger) => logger,
    bodyLimit: BODY_LIMIT_BYTES,
    return503OnClosing: false,
    requestTimeout: 15_000,
    http: { headersTimeout: 10_000, connectionsCheckingInterval: 1000, requireHostHeader: false },
    schemaController,
    frameworkErrors: (error, request, reply) => sendRefusal(reply, toApiError(error)),
    clientErrorHandler: answerMalformed
  } satisfies FastifyHttpOptions<Server>
}

/** JSON is the only body that routes take, unless the plugin they are in takes others. */
export function registerListener (app: FastifyInstance, onRefused: OnRefused): Unanswered {
  app.decorateRequest('caller', null)
  registerRefusals(app, onRefused)
  const unanswered = registerFraming(app)
  takeBodies(app, [STRICT_JSON])
  return unanswered
}

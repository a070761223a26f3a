// What both listeners have in common: how long a client may take, and who answers what never becomes a request.

import type { Server } from 'node:http'
import { type FastifyHttpOptions, LogController } from 'fastify'
import type { Log } from '../records/log.ts'
import { answerMalformed } from './parse-errors.ts'
import { refuse, toApiError } from './refusals.ts'
import { schemaController } from './serializer.ts'
import { BODY_LIMIT_BYTES } from './strict-json.ts'

export function listenerOptions (log: Log) {
  return {
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    // Nothing is logged by way of a request, so none needs a logger of its own.
    childLoggerFactory: (logger) => logger,
    bodyLimit: BODY_LIMIT_BYTES,
    return503OnClosing: false,
    requestTimeout: 15_000,
    http: { headersTimeout: 10_000, connectionsCheckingInterval: 1000, requireHostHeader: false },
    schemaController,
    frameworkErrors: (error, request, reply) => refuse(reply, toApiError(error)),
    clientErrorHandler: answerMalformed
  } satisfies FastifyHttpOptions<Server, Log>
}

// The list of the listener for operations: what a probe, a scraper and an engineer may see. Nothing of it is for the public.

import { randomUUID } from 'node:crypto'
import { fastify, LogController, type FastifyInstance } from 'fastify'
import { registerAnswers } from './http/refusals.ts'
import { answerMalformed } from './http/parse-errors.ts'
import { schemaController } from './http/serializer.ts'
import type { Log } from './records/log.ts'
import { METRICS_TYPE, type Metrics } from './records/metrics.ts'
import { registerReference } from './reference/register.ts'
import { registerHealth } from './routes/health.ts'

export type OpsDeps = Readonly<{
  log: Log
  metrics: Metrics
  waitingFor: () => readonly string[]
}>

export async function buildOps ({ log, metrics, waitingFor }: OpsDeps): Promise<FastifyInstance> {
  const ops = fastify({
    loggerInstance: log,
    logController: new LogController({ disableRequestLogging: true }),
    childLoggerFactory: (logger) => logger,
    genReqId: () => randomUUID(),
    // It is the last to close, and then nobody is waited for.
    forceCloseConnections: true,
    return503OnClosing: false,
    schemaController,
    requestTimeout: 15_000,
    http: { headersTimeout: 10_000 },
    clientErrorHandler: answerMalformed
  }) as unknown as FastifyInstance
  ops.removeAllContentTypeParsers()
  registerAnswers(ops, (error) => {
    if (error.statusCode >= 500) log.error({ code: error.code, err: error.cause }, 'refused at the listener for operations')
  })

  registerHealth(ops, waitingFor)
  ops.get('/metrics', async (_request, reply) => reply.type(METRICS_TYPE).send(await metrics.text()))
  registerReference(ops)
  return ops
}

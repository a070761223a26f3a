// Every route of the listener for operations: for probes, scrapers and engineers, never for the public.

import { randomUUID } from 'node:crypto'
import { fastify, type FastifyInstance } from 'fastify'
import { listenerOptions, registerListener } from './http/listener.ts'
import type { Log } from './records/log.ts'
import { type Metrics, METRICS_TYPE } from './records/metrics.ts'
import { registerReference } from './reference/register.ts'
import { type AdminDeps, registerAdmin } from './routes/admin.ts'
import { registerHealth } from './routes/health.ts'
import { registerVersion, type Running } from './routes/version.ts'

export type OpsDeps = Readonly<{
  log: Log
  metrics: Metrics
  waitingFor: () => readonly string[]
  running?: (() => Running) | null
  /** Null without ADMIN_TOKEN: then there are no routes for administration. */
  admin?: AdminDeps | null
}>

export async function buildOps (
  { log, metrics, waitingFor, running = null, admin = null }: OpsDeps
): Promise<FastifyInstance> {
  const ops = fastify({
    ...listenerOptions(log),
    genReqId: () => randomUUID(),
    // This listener closes last, and waits for no connection.
    forceCloseConnections: true
  }) as unknown as FastifyInstance
  registerListener(ops, ({ code, statusCode, cause }) => {
    if (statusCode >= 500) log.error({ code, err: cause }, 'refused at the listener for operations')
  })

  registerHealth(ops, waitingFor)
  if (running !== null) registerVersion(ops, running)
  ops.get('/metrics', async (_request, reply) => reply.type(METRICS_TYPE).send(await metrics.text()))
  registerReference(ops)
  if (admin !== null) registerAdmin(ops, admin)
  return ops
}

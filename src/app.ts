// Every hook and route of the public listener, in the order in which they run. Security depends on this order.

import { fastify, type FastifyInstance } from 'fastify'
import type { Config } from './config/environment.ts'
import { trustedProxies } from './http/address.ts'
import { createAddressLimit } from './http/address-limit.ts'
import { registerDrain } from './http/drain.ts'
import { listenerOptions, registerListener } from './http/listener.ts'
import { registerOrigin } from './http/origin.ts'
import { registerOverload } from './http/overload.ts'
import { requestIdOf } from './http/refusals.ts'
import { registerSlowBodies } from './http/slow-bodies.ts'
import type { LimitStore } from './limits/limits.ts'
import type { Audit } from './records/audit.ts'
import type { Log } from './records/log.ts'
import type { Metrics } from './records/metrics.ts'
import { registerAdmission } from './routes/admission.ts'
import type { CallEntryDeps } from './routes/call-entry.ts'
import { registerCalls } from './routes/calls.ts'
import { registerDecision } from './routes/decision.ts'
import { registerHealth } from './routes/health.ts'
import { registerMint } from './routes/mint.ts'
import { registerPolicy } from './routes/policy.ts'
import { registerRealtimeUrl } from './routes/realtime-url.ts'
import { createRefusalRecords } from './routes/refused.ts'
import { registerSpanContext, registerSpans } from './routes/spans.ts'
import type { Rulebook } from './rulebook/rulebook.ts'
import type { Tracing } from './tracing/tracing.ts'
import { createBatch } from './turn-batch.ts'
import { createDeadlines } from './upstream/deadline.ts'
import type { Mint } from './upstream/mint.ts'

export type AppDeps = Readonly<{
  config: Config
  log: Log
  audit: Audit
  rulebook: () => Rulebook
  limits: LimitStore
  mint: Mint
  timed: Metrics['timed']
  tracing: Tracing | null
  calls: Pick<CallEntryDeps, 'calls' | 'upstream' | 'metrics' | 'clock' | 'currentRules' | 'load'>
  isDraining: () => boolean
  /** The names of the parts that are not ready. */
  waitingFor: () => readonly string[]
}>

/** How many requests may be in progress beside those that wait for upstream. */
const BEFORE_UPSTREAM = 1000

export async function buildApp (
  { config, log, audit, rulebook, limits, mint, timed, tracing, calls, isDraining, waitingFor }: AppDeps
): Promise<FastifyInstance> {
  const isTrusted = trustedProxies(config.trustProxy)
  const app = fastify({
    ...listenerOptions(log),
    genReqId: requestIdOf(isTrusted),
    trustProxy: config.trustProxy === false ? false : isTrusted,
    keepAliveTimeout: config.keepAliveMs,
    // Idle sockets are closed by the drain; Node would wait for their keep-alive to run out.
    forceCloseConnections: 'idle',
    exposeHeadRoutes: false,
    // Any length: an id that is too long gets the same 404 as any unknown one. Node bounds the whole head.
    routerOptions: { maxParamLength: 16_384 }
  }) as unknown as FastifyInstance

  const refusals = createRefusalRecords(log, audit, timed)
  app.addHook('onClose', async () => refusals.close())
  const unanswered = registerListener(app, refusals.record)
  registerDecision(app, isTrusted)
  if (tracing !== null) registerSpans(app, tracing)
  await registerOrigin(app, {
    origins: config.origins,
    requestHeaders: config.requestHeaders,
    credentials: () => rulebook().callers.usesCookies
  })
  registerDrain(app, unanswered, isDraining)
  registerRealtimeUrl(app, config.realtimePublicUrl)

  registerHealth(app, waitingFor)
  const limitAddress = createAddressLimit(config.addressLimitPerMinute)
  await app.register(async (admitted) => {
    registerOverload(admitted, calls.clock, config.upstream.concurrency + BEFORE_UPSTREAM)
    const arrived = createBatch()
    admitted.addHook('onRequest', (_request, _reply, done) => arrived(done))
    if (tracing !== null) registerSpanContext(admitted)
    registerAdmission(admitted, { rulebook, limitAddress, safetyIdentifierSecret: config.safetyIdentifierSecret })
    registerSlowBodies(admitted)
    registerPolicy(admitted, limits)
    registerMint(admitted, {
      mint,
      limits,
      audit,
      timed,
      realtimePublicUrl: config.realtimePublicUrl,
      deadline: createDeadlines(config.upstream.timeoutMs)
    })
    registerCalls(admitted, {
      ...calls, limits, audit, setupMs: config.calls.setupMs, upstreamMs: config.upstream.timeoutMs
    })
  })
  return app
}

// The list: every hook and route of the public listener, in the order they run. Here the order is the security.

import { fastify, type FastifyInstance } from 'fastify'
import { registerAdmission, type Rulebook } from './admission.ts'
import type { Audit } from './audit.ts'
import type { Config } from './config.ts'
import { createAddressLimit } from './http/address-limit.ts'
import { trustedProxies } from './http/address.ts'
import { registerAnswers, requestIdOf } from './http/answers.ts'
import { registerOrigin } from './http/origin.ts'
import { projector } from './http/project.ts'
import { BODY_LIMIT_BYTES, registerStrictJson } from './http/strict-json.ts'
import type { LimitStore } from './limits/limits.ts'
import type { Log } from './logging.ts'
import { registerHealth, type Readiness } from './routes/health.ts'
import { decisionOf, MINT_ROUTES, registerMint } from './routes/mint.ts'
import type { Mint } from './upstream/mint.ts'

export type AppDeps = Readonly<{
  config: Config
  log: Log
  audit: Audit
  rulebook: () => Rulebook
  limits: LimitStore
  mint: Mint
  readiness: () => Readiness
}>

const MINT_URLS = new Set(MINT_ROUTES.map(({ url }) => url))

export async function buildApp ({ config, log, audit, rulebook, limits, mint, readiness }: AppDeps): Promise<FastifyInstance> {
  const isTrusted = trustedProxies(config.trustProxy)
  const app = fastify({
    loggerInstance: log,
    disableRequestLogging: true,
    bodyLimit: BODY_LIMIT_BYTES,
    genReqId: requestIdOf(isTrusted),
    trustProxy: isTrusted,
    keepAliveTimeout: config.keepAliveMs,
    requestTimeout: 15_000,
    http: { headersTimeout: 10_000, connectionsCheckingInterval: 1000 },
    exposeHeadRoutes: false
  }) as unknown as FastifyInstance
  app.decorateRequest('caller', null)
  // What a schema does not name does not leave. (Fastify's own serializer throws or coerces where a value departs from its type.)
  app.setSerializerCompiler(({ schema }) => {
    const project = projector(schema as object)
    return (value) => JSON.stringify(project(value))
  })

  registerAnswers(app, (error, request, reply) => {
    const facts = { request_id: request.id, code: error.code, reason: error.reason, err: error.cause }
    if (error.statusCode >= 500) log.error(facts, 'refused')
    else log.info({ ...facts, err: undefined }, 'refused')
    if (!MINT_URLS.has(request.routeOptions.url ?? '')) return
    const decision = decisionOf(request, reply, error)
    if (error.mayHaveMinted) audit.record('mint.unknown', decision)
    else if (request.caller === null) audit.refusedAnonymous(decision)
    else audit.record('mint.refused', decision)
  })
  await registerOrigin(app, { origins: config.origins, credentials: () => rulebook().callers.usesCookies })
  registerStrictJson(app)

  registerHealth(app, readiness)
  const limitAddress = await createAddressLimit(app, config.addressLimitPerMinute)
  await app.register(async (admitted) => {
    registerAdmission(admitted, { rulebook, limitAddress, safetyIdentifierSecret: config.safetyIdentifierSecret })
    registerMint(admitted, { mint, limits, audit, realtimePublicUrl: config.realtimePublicUrl, timeoutMs: config.upstream.timeoutMs })
  })
  return app
}

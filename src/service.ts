// Every part of the service, made once, joined and stopped in order: for the process and for tests alike.

import { setTimeout as wait } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { buildApp } from './app.ts'
import { createKeySets } from './callers/jwks.ts'
import { type Clock, systemClock } from './clock.ts'
import { type Config, ConfigError, policyEnvironment, readConfig } from './config/environment.ts'
import type { Environment } from './config/secrets.ts'
import type { LimitStore } from './limits/limits.ts'
import { openLimits } from './limits/open.ts'
import { buildOps } from './ops.ts'
import { createAudit } from './records/audit.ts'
import { type Lines, openLines } from './records/lines.ts'
import { createLogger, type Log } from './records/log.ts'
import { createMetrics } from './records/metrics.ts'
import { openRulebook } from './rulebook/rulebook.ts'
import { createClient, type Watch } from './upstream/client.ts'
import { openKey } from './upstream/key.ts'
import { createMint } from './upstream/mint.ts'

/** Kubernetes kills after 30 s. */
export const EXIT_WITHIN_MS = 25_000
const LEFT_TO_CLOSE_MS = 3000
const LOOK_EVERY_MS = 10

export type Service = Readonly<{
  app: FastifyInstance
  log: Log
  /** Opens both listeners and everything that is fetched in the background; resolves once both listen. */
  listen: () => Promise<Readonly<{ url: string, opsUrl: string | undefined }>>
  /** Readiness fails first; resolves once nothing is in flight and every line is written. */
  stop: () => Promise<void>
  reopenAudit: () => void
  /** What is queued, at once, for a process that is about to end. */
  flushNow: () => void
}>

/** A part that takes the place of the one that the environment describes, or that watches it. */
export type Replacements = Readonly<{
  lines?: Readonly<{ stdout: Lines, audit: Lines }>
  limits?: LimitStore
  clock?: Clock
  watchUpstream?: Watch
  isDraining?: () => boolean
  waitingFor?: () => readonly string[]
  /** True: no connection to upstream is opened before the first mint, for tests that count requests. */
  isCold?: boolean
}>

/** Throws ConfigError with every problem of the environment, then of the policy file. */
export async function openService (environment: Environment, replaced: Replacements = {}): Promise<Service> {
  const config = readConfig(environment)
  const clock = replaced.clock ?? systemClock
  const lines = replaced.lines ?? await linesFor(config)
  const log = createLogger(config.logLevel, lines.stdout)
  const metrics = createMetrics()
  const audit = metrics.audited(createAudit(lines.audit))

  const rulebook = openRulebook(config.policyFile, {
    ...policyEnvironment(environment, config.policyFile),
    log,
    keySets: createKeySets({ log })
  })
  const key = openKey(config.upstream, log)
  const client = createClient(config.upstream, key, log, replaced.watchUpstream ?? metrics)
  const limits = await openLimits(config, log)
  const store = replaced.limits ?? limits.store
  if (config.safetyIdentifierSecret === null) {
    log.warn({}, 'SAFETY_IDENTIFIER_SECRET is not set: safety identifiers are plain hashes')
  }
  const drainMs = drainTime(config, log)

  let isStopping = false
  const isDraining = replaced.isDraining ?? (() => isStopping)
  const waitingFor = replaced.waitingFor ?? (() => [
    ...rulebook.current().callers.waitingFor().length > 0 ? ['identity'] : [],
    ...limits.isReady() ? [] : ['limits']
  ])
  const app = await buildApp({
    config,
    log,
    audit,
    rulebook: rulebook.current,
    limits: store,
    mint: createMint(client, config.upstream.mintApi, clock.wallMs),
    timed: metrics.timed,
    isDraining,
    waitingFor
  })
  const outOfRotation = () => isDraining() ? ['drain'] : waitingFor()
  const ops = config.ops === null
    ? null
    : { at: config.ops, app: await buildOps({ log, metrics, waitingFor: outOfRotation }) }
  metrics.watch({
    isReady: () => outOfRotation().length === 0,
    upstream: client.state,
    keyAges: () => rulebook.current().callers.keyAges(),
    policy: () => ({ generation: rulebook.generation(), failedReloads: rulebook.failedReloads() }),
    limits: limits.state,
    linesLost: () => ({
      stdout: lines.stdout.lost(),
      ...(lines.audit === lines.stdout ? {} : { audit_file: lines.audit.lost() })
    })
  })

  return {
    app,
    log,
    listen: async () => {
      for (const issuer of rulebook.current().callers.waitingFor()) {
        log.info({ issuer }, 'waiting for the keys of an issuer')
      }
      if (!limits.isReady()) log.info({}, 'waiting for Redis')
      log.info({ upstream: config.upstream.baseUrl.origin }, 'waiting for a connection to upstream')
      const [url, opsUrl] = await Promise.all([
        app.listen(config.listen), ops?.app.listen(ops.at), rulebook.start(), replaced.isCold ? null : client.warm()
      ])
      log.info({ url, ops_url: opsUrl }, 'listening')
      return { url, opsUrl }
    },
    stop: async () => {
      // Answers say `Connection: close` from here on; the gateway has this long to go elsewhere.
      isStopping = true
      await wait(drainMs)
      await app.close()
      // Also mints whose client is gone: what upstream minted is audited.
      while (client.state().inFlight > 0) await wait(LOOK_EVERY_MS)
      rulebook.close()
      key.close()
      audit.close()
      await store.close()
      await client.close()
      await ops?.app.close()
      await Promise.all([lines.stdout.close(), lines.audit.close()])
    },
    reopenAudit: () => {
      lines.audit.reopen().catch((err) => log.error({ err }, 'audit file could not be reopened'))
    },
    flushNow: () => {
      lines.stdout.flushNow()
      lines.audit.flushNow()
    }
  }
}

async function linesFor ({ auditFile }: Config): Promise<{ stdout: Lines, audit: Lines }> {
  const stdout = await openLines(null)
  if (auditFile === null) return { stdout, audit: stdout }
  const audit = await openLines(auditFile)
    .catch(() => { throw new ConfigError(['AUDIT_FILE cannot be opened for appending']) })
  return { stdout, audit }
}

/** A mint that begins at the last moment still has its deadline and its audit line within EXIT_WITHIN_MS. */
function drainTime ({ drainMs, upstream }: Config, log: Log): number {
  const longest = Math.max(0, EXIT_WITHIN_MS - upstream.timeoutMs - LEFT_TO_CLOSE_MS)
  if (drainMs <= longest) return drainMs
  const text = 'DRAIN_SECONDS is shortened: with UPSTREAM_TIMEOUT_MS it leaves no time to finish what is in flight'
  log.warn({ drain_ms: longest }, text)
  return longest
}

// Every part of the service, made once, joined and stopped in order: for the process, tests and commands alike.

import { setTimeout as wait } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import packageJson from '../package.json' with { type: 'json' }
import { buildApp } from './app.ts'
import { createKeySets, type KeySets } from './callers/jwks.ts'
import { createCalls } from './calls/calls.ts'
import { createPlaces } from './calls/place.ts'
import type { SharedCalls } from './calls/shared.ts'
import { type Clock, systemClock } from './clock.ts'
import { type Config, ConfigError, LOG_LEVELS, policyEnvironment, readConfig } from './config/environment.ts'
import { isShared } from './config/origins.ts'
import { OWN_MOUNT, ownMounts } from './config/own-mount.ts'
import type { Environment } from './config/secrets.ts'
import { settingsOf } from './config/settings.ts'
import { whyUnreadable } from './config/unreadable.ts'
import { listenAt } from './http/listen.ts'
import type { LimitStore } from './limits/limits.ts'
import { openLimits } from './limits/open.ts'
import type { RedisConnection } from './limits/redis.ts'
import { buildOps } from './ops.ts'
import { routeOf } from './outbound/proxy.ts'
import { createSender, type SendRequest } from './outbound/request.ts'
import { REALTIME_CALLS } from './realtime/call-protocol.ts'
import { createAudit } from './records/audit.ts'
import { type Lines, openLines } from './records/lines.ts'
import { createLogger, type Log, type PlainLog } from './records/log.ts'
import { followLevel } from './records/log-level.ts'
import { createMetrics } from './records/metrics.ts'
import { adoptedTerms, type CallOwner, callRulesOf } from './rulebook/call-rules.ts'
import { openRulebook } from './rulebook/rulebook.ts'
import { createUpstreamCalls } from './upstream/calls.ts'
import { createUpstreamClient, type Watch } from './upstream/client.ts'
import { openKey } from './upstream/key.ts'
import { createMint } from './upstream/mint.ts'
import type { Dial, Sidebands } from './upstream/sideband.ts'

/** Kubernetes kills after 30 s. */
export const EXIT_WITHIN_MS = 25_000
const LEFT_TO_CLOSE_MS = 3000
/** By then no request may be in flight. */
const STOPPED_WITHIN_MS = EXIT_WITHIN_MS - LEFT_TO_CLOSE_MS
const LOOK_EVERY_MS = 10

export type Service = Readonly<{
  app: FastifyInstance
  log: Log
  /**
   * Opens both listeners. Resolves once they listen, and the first fetch of keys and the first connection to upstream
   * have succeeded or failed.
   */
  listen: () => Promise<Readonly<{ url: string, opsUrl: string | undefined }>>
  /** Readiness fails first; resolves once nothing is in flight and every line is written. */
  stop: () => Promise<void>
  reopenAudit: () => void
  /** Writes queued lines synchronously, for a process that is about to end. */
  flushNow: () => void
}>

/** Parts for tests, instead of those that the environment describes. */
export type Replacements = Readonly<{
  lines?: Readonly<{ stdout: Lines, audit: Lines }>
  limits?: LimitStore
  clock?: Clock
  watchUpstream?: Watch
  isDraining?: () => boolean
  waitingFor?: () => readonly string[]
  /** How long an answer of Redis is waited for. */
  redisWithinMs?: number
  /** True: no connection to upstream is opened before the first mint, for tests that count requests. */
  isCold?: boolean
}>

/** Throws ConfigError with every problem of the environment, then of the policy file. */
export async function openService (environment: Environment, replaced: Replacements = {}): Promise<Service> {
  const config = readConfig(environment)
  const clock = replaced.clock ?? systemClock
  const notReopened = (err: Error) => log.error({ err }, 'audit file could not be reopened')
  const lines = replaced.lines ?? await linesFor(config, notReopened)
  const log: Log = createLogger(config.logLevel, lines.stdout)
  const { logLevelFile } = config
  const unfollowLevel = logLevelFile === null ? null : followLevel(logLevelFile, LOG_LEVELS, log)
  const metrics = createMetrics()
  const audit = metrics.audited(createAudit(lines.audit))

  const traces = await tracesFor(config, log)
  const rulebook = openRulebook(config.policyFile, {
    ...policyEnvironment(environment, config.policyFile),
    ...openProviders(config, log, traces),
    log,
    onSwap: () => calls.recheck(currentRules)
  })
  const upstream = openUpstream(config, { log, clock, watch: replaced.watchUpstream ?? metrics, traces })
  const { client } = upstream
  const limits = await openLimits(config, log, { around: traces?.around, withinMs: replaced.redisWithinMs })
  const store = replaced.limits ?? limits.store
  const build = { version: packageJson.version, revision: config.revision }
  const running = () => ({ ...build, policy_hash: rulebook.hash() })
  log.info({ ...running(), ...settingsOf(config) }, 'starting')
  warnOf(config, log)
  const drainMs = drainTime(config, log)

  const currentRules = (owner: CallOwner) => callRulesOf(rulebook.current(), owner)
  const calls = createCalls({
    clock,
    protocol: REALTIME_CALLS,
    upstream: upstream.calls,
    dial: upstream.dial,
    limits: store,
    audit,
    metrics: metrics.calls,
    log,
    claimsRead: () => rulebook.current().policies.claimsRead,
    places: createPlaces(config.calls.max),
    sharing: limits.connection === null || store !== limits.store
      ? null
      : {
          shared: await openSharedCalls(limits.connection),
          clock: systemClock,
          isLocal: config.onRedisLoss === 'local',
          currentRules,
          regrant: (call) => adoptedTerms(rulebook.current(), call),
          key: upstream.key.headers,
          load: upstream.loadSidebands,
          onAdopted: metrics.calls.adopted
        }
  })

  let isStopping = false
  const isDraining = replaced.isDraining ?? (() => isStopping)
  const waitingFor = replaced.waitingFor ?? (() => [
    ...rulebook.current().callers.waitingFor().length > 0 ? ['identity'] : [],
    ...limits.isReady() ? [] : ['limits']
  ])
  let isInRotation = true
  const rotation = {
    isIn: () => isInRotation,
    set: (isIn: boolean) => {
      isInRotation = isIn
      log.info({}, isIn ? 'put into rotation by an operator' : 'taken out of rotation by an operator')
    }
  }
  const outOfRotation = () => isDraining() ? ['drain'] : [...isInRotation ? [] : ['rotation'], ...waitingFor()]
  const app = await buildApp({
    config,
    log,
    audit,
    rulebook: rulebook.current,
    limits: store,
    mint: upstream.mint,
    timed: metrics.timed,
    tracing: traces,
    calls: {
      calls, upstream: upstream.calls, metrics: metrics.calls, clock, currentRules, load: upstream.loadSidebands
    },
    isDraining,
    waitingFor: outOfRotation
  })
  const { adminToken: token } = config
  const admin = token === null ? null : { token, calls, clock, rotation }
  const ops = config.ops === null
    ? null
    : { at: config.ops, app: await buildOps({ log, metrics, waitingFor: outOfRotation, running, admin }) }
  metrics.readFrom({
    isReady: () => outOfRotation().length === 0,
    build,
    upstream: () => ({ ...client.state(), concurrency: config.upstream.concurrency }),
    keyAges: () => rulebook.current().callers.keyAges(),
    policy: () => ({
      generation: rulebook.generation(),
      failedReloads: rulebook.failedReloads(),
      isRefused: rulebook.isRefused(),
      hash: rulebook.hash()
    }),
    limits: limits.state,
    linesLost: () => ({
      stdout: lines.stdout.lost(),
      ...(lines.audit === lines.stdout ? {} : { audit_file: lines.audit.lost() })
    })
  })

  metrics.calls.readFrom({ live: calls.countLive, hangUpsPending: calls.countHangingUp })

  return {
    app,
    log,
    listen: async () => {
      for (const issuer of rulebook.current().callers.waitingFor()) {
        log.info({ issuer }, 'waiting for the keys of an issuer')
      }
      if (!limits.isReady()) log.info({}, 'waiting for Redis')
      const { origin } = config.upstream.baseUrl
      log.info({ upstream: origin, proxy: upstream.proxy?.host }, 'waiting for a connection to upstream')
      const [url, opsUrl] = await Promise.all([
        listenAt(app, config.listen, { host: 'HOST', port: 'PORT' }),
        ops === null ? undefined : listenAt(ops.app, ops.at, { host: 'OPS_HOST', port: 'OPS_PORT' }),
        rulebook.start(),
        calls.start(),
        replaced.isCold ? null : client.warm()
      ])
      log.info({ url, ops_url: opsUrl }, 'listening')
      return { url, opsUrl }
    },
    stop: async () => {
      // From here on answers have `Connection: close`; the gateway has this long to go elsewhere.
      isStopping = true
      const drained = wait(drainMs)
      const hungUp = calls.stop(drained, STOPPED_WITHIN_MS)
      await drained
      await app.close()
      // Mints whose client is gone are waited for, too: their audit lines come.
      while (client.state().inFlight > 0) await wait(LOOK_EVERY_MS)
      await hungUp
      rulebook.close()
      unfollowLevel?.()
      audit.close()
      await store.close()
      await upstream.close()
      await traces?.close()
      await ops?.app.close()
      await Promise.all([lines.stdout.close(), lines.audit.close()])
    },
    reopenAudit: () => {
      lines.audit.reopen().catch(notReopened)
    },
    flushNow: () => {
      lines.stdout.flushNow()
      lines.audit.flushNow()
    }
  }
}

/** Sends requests to identity providers: for the service, and for commands that read a policy file. */
export function openProviders (
  { proxies }: Pick<Config, 'proxies'>, log: PlainLog, traces: Traces | null = null
): Readonly<{ send: SendRequest, keySets: KeySets }> {
  const send = traced(traces?.send, createSender(proxies))
  return { send, keySets: createKeySets({ log, send }) }
}

export type Upstream = ReturnType<typeof openUpstream>

/** All parts that use the key: for the service, and for a command that tries it. Throws ConfigError. */
export function openUpstream (config: Pick<Config, 'upstream' | 'proxies'>, { log, clock, watch, traces }: Readonly<{
  log: Pick<Log, 'info' | 'warn' | 'error' | 'debug'>
  clock: Clock
  watch?: Watch
  traces?: Traces | null
}>) {
  const proxy = routeOf(config.proxies, config.upstream.baseUrl)
  const key = openKey(config.upstream, log)
  const client = createUpstreamClient(config.upstream, { key, log, watch, proxy, clock, send: traces?.attempt })
  const mint = createMint(client, config.upstream.mintApi, clock.wallMs)
  let loading: Promise<Sidebands> | null = null
  let sidebands: Sidebands | null = null
  const dial: Dial = (...call) => (sidebands as Sidebands).dial(...call)
  return {
    proxy,
    key,
    client,
    mint,
    calls: createUpstreamCalls({
      client, mint: config.upstream.callsApi === 'secret' ? mint : null, protocol: REALTIME_CALLS, log
    }),
    /** Must resolve before the first `dial`. A service without calls loads nothing of this. */
    loadSidebands: async () => {
      loading ??= import('./upstream/sideband.ts').then(({ createSidebands }) => {
        const made = createSidebands({ config: config.upstream, proxy, clock, log })
        return { ...made, dial: traced(traces?.dial, made.dial) }
      })
      sidebands = await loading
    },
    dial,
    close: async () => {
      sidebands?.close()
      key.close()
      await client.close()
    }
  }
}

/** Warns of settings that are valid but probably a mistake. */
function warnOf (config: Config, log: Log): void {
  for (const { variable, meant } of config.nearMisses) {
    log.warn({ variable, meant }, 'unknown variable: its name is almost that of a variable that is not set')
  }
  /* c8 ignore next -- a mount of its own: test/config/own-mount.test.ts */
  for (const file of ownMounts(watchedFiles(config))) log.warn({ file }, `a file ${OWN_MOUNT}`)
  if (!/\/v\d/.test(config.upstream.baseUrl.pathname)) {
    log.warn({}, 'OPENAI_BASE_URL has no version in its path, as https://api.openai.com/v1 has')
  }
  if (config.safetyIdentifierSecret === null) {
    log.warn({}, 'SAFETY_IDENTIFIER_SECRET is not set: safety identifiers are plain hashes')
  }
  // Not refused: without them every user would get another identifier.
  if (/^(["'`]).*\1$/.test(config.safetyIdentifierSecret ?? '')) {
    log.warn({}, 'SAFETY_IDENTIFIER_SECRET has quotation marks around it: Docker keeps them, and Node.js does not')
  }
  for (const origin of config.origins.patterns?.filter(isShared) ?? []) {
    log.warn({ origin }, 'CORS_ORIGINS: people other than you can get a host that this pattern matches')
  }
}

function watchedFiles ({ policyFile, logLevelFile, upstream: { key } }: Config): string[] {
  return [policyFile, logLevelFile, 'file' in key ? key.file : null].filter((path) => path !== null)
}

type Traces = NonNullable<Awaited<ReturnType<typeof tracesFor>>>

/** Loads OpenTelemetry only if tracing is configured. */
async function tracesFor (config: Config, log: Log) {
  if (config.tracing === null) return null
  const [{ openTracing }, { traceRequests }] = await Promise.all(
    [import('./tracing/tracing.ts'), import('./tracing/requests.ts')]
  )
  const tracing = await openTracing(config.tracing, { version: packageJson.version, log })
  return { ...tracing, ...traceRequests(tracing, config) }
}

function traced<T> (wrap: ((part: T) => T) | undefined, part: T): T {
  return wrap === undefined ? part : wrap(part)
}

async function linesFor (
  { auditFile }: Config, onFault: (error: Error) => void
): Promise<{ stdout: Lines, audit: Lines }> {
  const stdout = await openLines(null)
  if (auditFile === null) return { stdout, audit: stdout }
  const audit = await openLines(auditFile, onFault)
    .catch((error) => { throw new ConfigError([`AUDIT_FILE cannot be opened for appending: ${whyUnreadable(error)}`]) })
  return { stdout, audit }
}

/** Loaded only where there is a Redis. */
async function openSharedCalls (connection: RedisConnection): Promise<SharedCalls> {
  const { createSharedCalls } = await import('./calls/shared.ts')
  return createSharedCalls(connection)
}

/** A mint that begins at the last moment still has its deadline and its audit line within EXIT_WITHIN_MS. */
function drainTime ({ drainMs, upstream }: Config, log: Log): number {
  const longest = Math.max(0, STOPPED_WITHIN_MS - upstream.timeoutMs)
  if (drainMs <= longest) return drainMs
  const text = 'DRAIN_SECONDS is shortened: with UPSTREAM_TIMEOUT_MS it leaves no time to finish what is in flight'
  log.warn({ drain_ms: longest }, text)
  return longest
}

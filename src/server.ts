// The process: configuration, listeners, signals, drain.

import closeWithGrace from 'close-with-grace'
import { setTimeout as wait } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { buildApp } from './app.ts'
import { createAudit } from './records/audit.ts'
import { createKeySets } from './callers/jwks.ts'
import { ConfigError, policyEnvironment, processEnv, readConfig } from './config/environment.ts'
import { openLimits } from './limits/open.ts'
import { openLines } from './records/lines.ts'
import { createLogger } from './records/log.ts'
import { createMetrics } from './records/metrics.ts'
import { buildOps } from './ops.ts'
import { openRulebook } from './rulebook/rulebook.ts'
import { createClient } from './upstream/client.ts'
import { openKey } from './upstream/key.ts'
import { createMint } from './upstream/mint.ts'

/** Kubernetes kills after 30 s. */
const EXIT_WITHIN_MS = 25_000
const LEFT_TO_CLOSE_MS = 3000

// V8 learns at the start which objects live long, and then makes such objects old from birth. What a request leaves behind is
// held by them until the next full collection: a fifth of the processor for collecting, and twice the memory.
setFlagsFromString('--no-allocation-site-pretenuring')

try {
  await start()
} catch (error) {
  // What cannot work says so at once, by name and without a value, and does not start.
  /* c8 ignore next -- whichever it is: test/boot.test.ts */
  const problems = error instanceof ConfigError ? error.problems : [(error as Error).message]
  for (const problem of problems) process.stderr.write(`ephemint: ${problem}\n`)
  process.exit(1)
}

/* c8 ignore start -- what a process does at signals and at its end is done by processes that test/boot.test.ts and test/faults start */
async function start (): Promise<void> {
  // Should somebody ask Node.js for reports: they would hold the environment.
  if (process.report !== undefined) process.report.excludeEnv = true
  // Node's answer to this signal is to open a debugger port.
  process.on('SIGUSR1', () => {})
  process.on('SIGHUP', () => reopenAudit())
  let reopenAudit = () => {}

  const config = readConfig(processEnv)
  const stdout = await openLines(null)
  const auditLines = config.auditFile === null ? stdout : await openLines(config.auditFile).catch(() => { throw new ConfigError(['AUDIT_FILE cannot be opened for appending']) })
  const log = createLogger(config.logLevel, stdout)
  const metrics = createMetrics()
  const audit = metrics.audited(createAudit(auditLines))
  reopenAudit = () => { auditLines.reopen().catch((err) => log.error({ err }, 'audit file could not be opened anew')) }

  const rulebook = openRulebook(config.policyFile, {
    ...policyEnvironment(processEnv, config.policyFile),
    log,
    keySets: createKeySets({ log })
  })
  const key = openKey(config.upstream, log)
  const client = createClient(config.upstream, key, log, metrics)
  const limits = await openLimits(config, log)
  if (config.safetyIdentifierSecret === null) log.warn('SAFETY_IDENTIFIER_SECRET is not set: safety identifiers are plain hashes')
  // A mint that is begun at the last moment has its own deadline yet, and its audit line.
  const drainMs = Math.max(0, Math.min(config.drainMs, EXIT_WITHIN_MS - config.upstream.timeoutMs - LEFT_TO_CLOSE_MS))
  if (drainMs < config.drainMs) log.warn({ drain_ms: drainMs }, 'DRAIN_SECONDS is shortened: with UPSTREAM_TIMEOUT_MS it leaves no time to finish what is in flight')

  const flushNow = () => {
    stdout.flushNow()
    auditLines.flushNow()
  }
  let draining = false
  const waitingFor = () => [
    ...rulebook.current().callers.waitingFor().length > 0 ? ['identity'] : [],
    ...limits.isReady() ? [] : ['limits']
  ]
  const app = await buildApp({
    config,
    log,
    audit,
    rulebook: rulebook.current,
    limits: limits.store,
    mint: createMint(client, config.upstream.mintApi),
    timed: metrics.timed,
    isDraining: () => draining,
    waitingFor
  })
  const ops = config.ops === null ? null : await buildOps({ log, metrics, waitingFor: () => draining ? ['drain'] : waitingFor() })
  metrics.watch({
    isReady: () => !draining && waitingFor().length === 0,
    upstream: client.state,
    keyAges: () => rulebook.current().callers.keyAges(),
    policy: () => ({ generation: rulebook.generation(), failedReloads: rulebook.failedReloads() }),
    limits: limits.state,
    linesLost: () => ({ stdout: stdout.lost(), ...(auditLines === stdout ? {} : { audit_file: auditLines.lost() }) })
  })
  for (const issuer of rulebook.current().callers.waitingFor()) log.info({ issuer }, 'waiting for the keys of an issuer')
  if (!limits.isReady()) log.info({}, 'waiting for Redis')
  log.info({ upstream: config.upstream.baseUrl.origin }, 'waiting for a connection to upstream')
  // Before it listens: whoever is answered while the rest is still being waited for is not cut off either.
  closeWithGrace({ delay: EXIT_WITHIN_MS, logger: false, skip: ['SIGHUP'], onSecondSignal: flushNow, onSecondError: flushNow, onTimeout: flushNow }, async ({ signal, err }) => {
    if (err !== undefined) log.fatal({ err }, 'failed')
    // Readiness fails first and answers say `Connection: close`; then the gateway has this long to go elsewhere.
    draining = true
    log.info({ signal }, 'draining')
    await wait(drainMs)
    await app.close()
    // Also those whose client is gone: what they minted is written down.
    while (client.state().inFlight > 0) await wait(10)
    rulebook.close()
    key.close()
    audit.close()
    await limits.store.close()
    await client.close()
    await ops?.close()
    await Promise.all([stdout.close(), auditLines.close()])
  })

  const [url, opsUrl] = await Promise.all([app.listen(config.listen), ops?.listen(config.ops ?? {}), rulebook.start(), client.warm()])
  log.info({ url, ops_url: opsUrl }, 'listening')
}

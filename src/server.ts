// The process: configuration, listeners, signals, drain.

import closeWithGrace from 'close-with-grace'
import { setTimeout as wait } from 'node:timers/promises'
import { buildApp } from './app.ts'
import { createAudit } from './audit.ts'
import { createKeySets } from './callers/jwks.ts'
import { ConfigError, policyEnvironment, readConfig } from './config.ts'
import { createMemoryStore } from './limits/memory.ts'
import { openLines } from './lines.ts'
import { createLogger } from './logging.ts'
import { openRulebook } from './rulebook.ts'
import { createClient } from './upstream/client.ts'
import { openKey } from './upstream/key.ts'
import { createMint } from './upstream/mint.ts'

/** Kubernetes kills after 30 s. */
const EXIT_WITHIN_MS = 25_000

try {
  await start()
} catch (error) {
  // What cannot work says so at once, by name and without a value, and does not start.
  const problems = error instanceof ConfigError ? error.problems : [(error as Error).message]
  for (const problem of problems) process.stderr.write(`ephemint: ${problem}\n`)
  process.exit(1)
}

async function start (): Promise<void> {
  const config = readConfig(process.env)
  const stdout = await openLines(null)
  const auditLines = config.auditFile === null ? stdout : await openLines(config.auditFile)
  const log = createLogger(config.logLevel, stdout)
  const audit = createAudit(auditLines)

  const rulebook = openRulebook(config.policyFile, {
    ...policyEnvironment(process.env, config.policyFile),
    log,
    keySets: createKeySets({ log })
  })
  const key = openKey(config.upstream, log)
  const client = createClient(config.upstream, key, log)
  if (config.safetyIdentifierSecret === null) log.warn('SAFETY_IDENTIFIER_SECRET is not set: safety identifiers are plain hashes')
  if (config.drainMs + config.upstream.timeoutMs > EXIT_WITHIN_MS) log.warn('DRAIN_SECONDS and UPSTREAM_TIMEOUT_MS together exceed 25 s: a mint in flight may be cut off at a stop')

  let draining = false
  const app = await buildApp({
    config,
    log,
    audit,
    rulebook: rulebook.current,
    limits: createMemoryStore(),
    mint: createMint(client, config.upstream.mintApi),
    isDraining: () => draining,
    waitingFor: () => rulebook.current().callers.waitingFor().length > 0 ? ['identity'] : []
  })
  const listening = app.listen(config.listen)
  await Promise.all([rulebook.start(), client.warm()])
  log.info({ url: await listening }, 'listening')

  process.on('SIGHUP', () => { auditLines.reopen().catch((err) => log.error({ err }, 'audit file could not be opened anew')) })
  // Node's answer to this signal is to open a debugger port.
  process.on('SIGUSR1', () => {})
  closeWithGrace({ delay: EXIT_WITHIN_MS, logger: false, skip: ['SIGHUP'] }, async ({ signal, err }) => {
    if (err !== undefined) log.fatal({ err }, 'failed')
    // Readiness fails first and answers say `Connection: close`; then the gateway has this long to go elsewhere.
    draining = true
    log.info({ signal }, 'draining')
    await wait(config.drainMs)
    await app.close()
    rulebook.close()
    key.close()
    audit.close()
    await client.close()
    await Promise.all([stdout.close(), auditLines.close()])
  })
}

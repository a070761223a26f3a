// The process: configuration, listeners, signals, drain.

import closeWithGrace from 'close-with-grace'
import type { FastifyInstance } from 'fastify'
import { buildApp } from './app.ts'
import { createAudit } from './audit.ts'
import { createKeySets } from './callers/jwks.ts'
import { ConfigError, policyEnvironment, readConfig } from './config.ts'
import { createMemoryStore } from './limits/memory.ts'
import { openLines } from './lines.ts'
import { createLogger } from './logging.ts'
import { readPolicyFile, readRulebook } from './rulebook.ts'
import { createClient } from './upstream/client.ts'
import { openKey } from './upstream/key.ts'
import { createMint } from './upstream/mint.ts'

try {
  await start()
} catch (error) {
  // What cannot work says so at once, by name and without a value, and does not start.
  const problems = error instanceof ConfigError ? error.problems : [(error as Error).message]
  for (const problem of problems) process.stderr.write(`ephemint: ${problem}\n`)
  process.exit(1)
}

async function start (): Promise<void> {
  const env = process.env
  const config = readConfig(env)
  const stdout = await openLines(null)
  const log = createLogger(config.logLevel, stdout)
  const auditLines = config.auditFile === null ? stdout : await openLines(config.auditFile)
  const audit = createAudit(auditLines)

  const { rulebook, problems, warnings } = readRulebook(readPolicyFile(config.policyFile), {
    ...policyEnvironment(env, config.policyFile),
    log,
    keySets: createKeySets({ log })
  })
  if (rulebook === null) throw new ConfigError(problems.map(({ path, problem }) => `${config.policyFile}: ${path} ${problem}`))
  for (const { path, problem } of warnings) log.warn({ path }, `policy file: ${problem}`)
  const client = createClient(config.upstream, openKey(config.upstream))
  let draining = false
  const app = await buildApp({
    config,
    log,
    audit,
    rulebook: () => rulebook,
    limits: createMemoryStore(),
    mint: createMint(client, config.upstream.mintApi),
    readiness: () => {
      const waitingFor = [...(draining ? ['drain'] : []), ...rulebook.callers.waitingFor().map(() => 'identity')]
      return { ready: waitingFor.length === 0, waitingFor: [...new Set(waitingFor)] }
    }
  })
  if (config.safetyIdentifierSecret === null) log.warn('SAFETY_IDENTIFIER_SECRET is not set: safety identifiers are plain hashes')

  await Promise.all([rulebook.callers.start(), client.warm()])
  const url = await app.listen(config.listen)
  log.info({ url }, 'listening')

  closeWithGrace({ delay: 25_000, logger: false }, async ({ signal, err }) => {
    if (err !== undefined) log.fatal({ err }, 'failed')
    draining = true
    log.info({ signal }, 'draining')
    await drain(app, config.drainMs)
    rulebook.callers.close()
    audit.close()
    await client.close()
    await Promise.all([stdout.close(), auditLines.close()])
  })
}

async function drain (app: FastifyInstance, ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms))
  await app.close()
}

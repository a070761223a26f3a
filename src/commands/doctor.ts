// npm run doctor: checks everything that the service depends on, and advises what to fix. Mints nothing without --mint,
// and makes no call without --call. Exits with 1 if anything is wrong.

import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import type { CallerEntry } from '../callers/schema.ts'
import { systemClock } from '../clock.ts'
import {
  type Config, ConfigError, policyEnvironment, policyFileOf, processEnv, readConfig
} from '../config/environment.ts'
import { isShared } from '../config/origins.ts'
import { NO_PROXIES } from '../config/proxies.ts'
import { type SecretSource, secretSource } from '../config/secrets.ts'
import type { Policies } from '../policy/policy.ts'
import { readPolicies } from '../rulebook/policies.ts'
import { readPolicyFile, readRulebook } from '../rulebook/rulebook.ts'
import { openProviders, openUpstream } from '../service.ts'
import { run, silentLog } from './command.ts'
import { makeCall } from './doctor/call.ts'
import { compareClocks } from './doctor/clock.ts'
import { type Finding, note, ok, wrong } from './doctor/finding.ts'
import { checkCaller } from './doctor/identity.ts'
import { describeRoutes } from './doctor/proxy.ts'
import { checkAudit, checkRedis } from './doctor/redis-and-audit.ts'
import { checkUpstream, tryMint } from './doctor/upstream.ts'
import { startProgress } from './progress.ts'

type ReportFinding = (finding: Finding) => void

await run(async () => {
  const { values: { mint = false, call = false } } = parseArgs({
    options: { mint: { type: 'boolean' }, call: { type: 'boolean' } }
  })
  const progress = startProgress()
  const clocks = compareClocks()
  let isWell = true
  const report: ReportFinding = ({ state, subject, message, advice }) => {
    progress.clear()
    if (state === 'wrong') isWell = false
    console.log(`${state.padEnd(6)} ${subject}: ${message}${advice === undefined ? '' : `\n       → ${advice}`}`)
  }

  const config = checkEnvironment(report)
  const { policies, callers, secrets } = checkPolicyFile(report)
  if (config === null) report(note('upstream', 'was not checked', 'fix the environment first'))
  else {
    const upstream = openUpstream(config, { log: silentLog, clock: systemClock })
    progress.show('checking upstream')
    report(await checkUpstream(config.upstream, upstream.client, clocks))
    if (mint) {
      progress.show('minting')
      report(policies === null
        ? note('mint', 'was not tried', 'fix the policy file first')
        : await tryMint(config, upstream.mint, policies))
    }
    if (call && policies === null) report(note('call', 'was not made', 'fix the policy file first'))
    if (call && policies !== null) {
      progress.show('making a call')
      await makeCall({ config, upstream, policies, report })
    }
    await upstream.close()
  }
  if (config !== null) describeRoutes(config, callers.map(([, entry]) => entry)).forEach(report)
  const proxies = config?.proxies ?? NO_PROXIES
  for (const [i, entry] of callers) {
    progress.show(`checking callers.${i}`)
    const finding = await checkCaller(entry, i, { secrets, clocks, proxies })
    if (finding !== null) report(finding)
  }
  if (config !== null && config.redis !== null) {
    progress.show('checking Redis')
    report(await checkRedis(config.redis))
  }
  if (config !== null) report(await checkAudit(config.auditFile))
  clocks.findings().forEach(report)
  progress.end()
  return isWell ? 0 : 1
})

/** Null if the environment has a problem. */
function checkEnvironment (report: ReportFinding): Config | null {
  try {
    const config = readConfig(processEnv)
    report(config.safetyIdentifierSecret === null
      ? note(
        'environment',
        'is valid, but SAFETY_IDENTIFIER_SECRET is not set',
        'set it, 32 bytes or more: without it, safety identifiers are plain hashes'
      )
      : ok('environment', 'is valid'))
    for (const origin of config.origins.patterns?.filter(isShared) ?? []) {
      report(note(
        'environment',
        `CORS_ORIGINS: people other than you can get a host that ${origin} matches`,
        'list the origins, or serve previews under a domain of your own'
      ))
    }
    return config
  } catch (error) {
    for (const problem of problemsOf(error)) {
      report(wrong('environment', problem, 'see .env.example for all variables'))
    }
    return null
  }
}

type CheckedFile = Readonly<{
  policies: Policies | null,
  callers: readonly (readonly [place: number, entry: CallerEntry])[],
  secrets: SecretSource
}>

/** Reports the problems of the file, and leaves caller entries with a problem out of `callers`. */
function checkPolicyFile (report: ReportFinding): CheckedFile {
  const path = policyFileOf(processEnv)
  const secrets = secretSource(processEnv, dirname(path))
  const environment = environmentOf(path)
  if (environment === null) {
    report(note('policy file', 'was not checked', 'fix the environment first'))
    return { policies: null, callers: [], secrets }
  }
  try {
    const text = readPolicyFile(path)
    const { problems, warnings } = readRulebook(
      text, { ...environment, ...openProviders({ proxies: NO_PROXIES }, silentLog), log: silentLog }
    )
    for (const { path: at, problem } of problems) {
      report(wrong('policy file', `${at} ${problem}`, `npm run check-config -- ${path}`))
    }
    if (problems.length === 0) {
      const hint = warnings.length === 0 ? '' : `; see warnings with npm run check-config -- ${path}`
      report(ok('policy file', `${path} is valid${hint}`))
    }
    const { policies, callers } = readPolicies(text, { ...environment, legacyOnly: environment.mintApi === 'sessions' })
    const isValid = (i: number) => !problems.some(({ path: at }) => at === 'callers' || at.startsWith(`callers.${i}.`))
    return { policies, callers: [...(callers ?? []).entries()].filter(([i]) => isValid(i)), secrets }
  } catch (error) {
    for (const problem of problemsOf(error)) {
      report(wrong('policy file', problem, 'cp ephemint.example.yaml ephemint.yaml'))
    }
    return { policies: null, callers: [], secrets }
  }
}

/** Null if a variable that the policy file depends on has a problem, which checkEnvironment reports. */
function environmentOf (path: string): ReturnType<typeof policyEnvironment> | null {
  try {
    return policyEnvironment(processEnv, path)
  } catch (error) {
    problemsOf(error)
    return null
  }
}

/** Throws any other error. */
function problemsOf (error: unknown): readonly string[] {
  /* c8 ignore next -- a fault of ours */
  if (!(error instanceof ConfigError)) throw error
  return error.problems
}

// npm run doctor: asks everything that the service leans on whether it answers, and says what to do where it does not. Mints
// nothing, unless it is asked to by --mint. Exits 1 where anything is wrong.

import { parseArgs } from 'node:util'
import { createKeySets } from '../callers/jwks.ts'
import type { CallerEntry } from '../callers/schema.ts'
import {
  type Config, ConfigError, policyEnvironment, policyFileOf, processEnv, readConfig
} from '../config/environment.ts'
import type { Policies } from '../policy/policy.ts'
import { readPolicies } from '../rulebook/policies.ts'
import { readPolicyFile, readRulebook } from '../rulebook/rulebook.ts'
import { type Client, createClient } from '../upstream/client.ts'
import { openKey } from '../upstream/key.ts'
import { run, silentLog } from './command.ts'
import { compareClocks } from './doctor/clock.ts'
import { type Finding, note, ok, wrong } from './doctor/finding.ts'
import { examineCaller } from './doctor/identity.ts'
import { examineAudit, examineRedis } from './doctor/surroundings.ts'
import { examineUpstream, tryMint } from './doctor/upstream.ts'
import { startProgress } from './progress.ts'

type Tell = (finding: Finding) => void

await run(async () => {
  const { values: { mint = false } } = parseArgs({ options: { mint: { type: 'boolean' } } })
  const progress = startProgress()
  const clocks = compareClocks()
  let isWell = true
  const tell: Tell = ({ state, subject, says, advice }) => {
    progress.clear()
    if (state === 'wrong') isWell = false
    console.log(`${state.padEnd(6)} ${subject}: ${says}${advice === undefined ? '' : `\n       → ${advice}`}`)
  }

  const config = examineEnvironment(tell)
  const { policies, callers, secrets } = examinePolicyFile(tell)
  if (config === null) tell(note('upstream', 'was not asked', 'mend the environment first'))
  else {
    await withClient(config, async (client) => {
      progress.tell('asking upstream')
      tell(await examineUpstream(config.upstream, client, clocks))
      if (!mint) return
      progress.tell('minting')
      tell(policies === null
        ? note('mint', 'was not tried', 'mend the policy file first')
        : await tryMint(config, client, policies))
    })
  }
  for (const [i, entry] of callers) {
    progress.tell(`asking callers.${i}`)
    const finding = await examineCaller(entry, i, { secrets, clocks })
    if (finding !== null) tell(finding)
  }
  if (config !== null && config.redis !== null) {
    progress.tell('asking Redis')
    tell(await examineRedis(config.redis))
  }
  if (config !== null) tell(await examineAudit(config.auditFile))
  clocks.findings().forEach(tell)
  progress.end()
  return isWell ? 0 : 1
})

/** Null where the service would not start with it. */
function examineEnvironment (tell: Tell): Config | null {
  try {
    const config = readConfig(processEnv)
    tell(config.safetyIdentifierSecret === null
      ? note(
        'environment',
        'can be used, but SAFETY_IDENTIFIER_SECRET is not set',
        'set it, 32 bytes or more: without it, safety identifiers are plain hashes'
      )
      : ok('environment', 'can be used'))
    return config
  } catch (error) {
    for (const problem of (error as ConfigError).problems) {
      tell(wrong('environment', problem, '.env.example has every variable'))
    }
    return null
  }
}

type Read = Readonly<{
  policies: Policies | null,
  callers: readonly (readonly [place: number, entry: CallerEntry])[],
  secrets: ReturnType<typeof policyEnvironment>['secrets']
}>

/** Callers without the entries that are wrong as they stand. */
function examinePolicyFile (tell: Tell): Read {
  const path = policyFileOf(processEnv)
  const environment = policyEnvironment(processEnv, path)
  const { secrets } = environment
  try {
    const text = readPolicyFile(path)
    const { problems, warnings } = readRulebook(
      text, { ...environment, log: silentLog, keySets: createKeySets({ log: silentLog }) }
    )
    for (const { path: at, problem } of problems) {
      tell(wrong('policy file', `${at} ${problem}`, `npm run check-config -- ${path}`))
    }
    if (problems.length === 0) {
      tell(ok(
        'policy file',
      `${path} is in order${warnings.length === 0 ? '' : `, and npm run check-config -- ${path} has warnings`}`
      ))
    }
    const { policies, callers } = readPolicies(text, { ...environment, legacyOnly: environment.mintApi === 'sessions' })
    const isSound = (i: number) => !problems.some(({ path: at }) => at === 'callers' || at.startsWith(`callers.${i}.`))
    return { policies, callers: [...(callers ?? []).entries()].filter(([i]) => isSound(i)), secrets }
  } catch (error) {
    for (const problem of (error as ConfigError).problems) {
      tell(wrong('policy file', problem, 'cp ephemint.example.yaml ephemint.yaml'))
    }
    return { policies: null, callers: [], secrets }
  }
}

async function withClient (config: Config, use: (client: Client) => Promise<void>): Promise<void> {
  const key = openKey(config.upstream, silentLog)
  const client = createClient(config.upstream, key, silentLog)
  await use(client)
  key.close()
  await client.close()
}

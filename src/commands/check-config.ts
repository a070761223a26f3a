// npm run check-config -- FILE: reports every problem of a policy file, and runs an operator's test cases. Exits with 1
// if there is a problem or a failed case.

import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { ConfigError, policyEnvironment, processEnv, readSafetyIdentifierSecret } from '../config/environment.ts'
import { OWN_MOUNT, ownMounts } from '../config/own-mount.ts'
import { NO_PROXIES } from '../config/proxies.ts'
import { whyUnreadable } from '../config/unreadable.ts'
import { readPolicies } from '../rulebook/policies.ts'
import { readPolicyFile, readRulebook } from '../rulebook/rulebook.ts'
import type { Fault } from '../schema/report.ts'
import { openProviders } from '../service.ts'
import { type Case, checkCase, readCases, type ValidFile } from './cases.ts'
import { run, silentLog, UsageError } from './command.ts'
import { STAND_INS } from './dry-run.ts'
import { startProgress } from './progress.ts'

await run(async () => {
  const { positionals: [file, ...more], values: { cases: casesFile } } = parseArgs(
    { allowPositionals: true, options: { cases: { type: 'string' } } }
  )
  if (file === undefined || more.length > 0) throw new UsageError('npm run check-config -- FILE [--cases CASES]')

  const environment = policyEnvironment(processEnv, file)
  const text = readPolicyFile(file)
  const { problems, warnings } = readRulebook(
    text, { ...environment, ...openProviders({ proxies: NO_PROXIES }, silentLog), isStrict: true, log: silentLog }
  )
  const { cases, problems: faults } = casesFile === undefined
    ? { cases: [], problems: [] }
    : readCases(readCasesFile(casesFile))
  print('warning', ownMounts([file]).map((path) => ({ path, problem: OWN_MOUNT })))
  print('warning', warnings)
  print('problem', problems)
  print('problem', faults.map(({ path, problem }) => ({ path: `${casesFile}: ${path}`, problem })))
  if (problems.length > 0 || faults.length > 0) return 1
  console.log(`${file} is valid`)
  if (casesFile === undefined) return 0

  // Without the secrets themselves: differences are printed.
  const read = readPolicies(
    text, { secrets: STAND_INS, legacyOnly: environment.mintApi === 'sessions', hasSafetyIdentifierSecret: true }
  )
  return runCases(read as ValidFile, cases) ? 0 : 1
})

function readCasesFile (path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new ConfigError([`${path} cannot be read: ${whyUnreadable(error)}`])
  }
}

/** True if all cases pass. */
function runCases (file: ValidFile, cases: readonly Case[]): boolean {
  const secret = readSafetyIdentifierSecret(processEnv)
  const progress = startProgress()
  const failed = cases.flatMap((one, i) => {
    progress.show(`case ${i + 1} of ${cases.length}`)
    const differences = checkCase(file, one, secret)
    return differences.length === 0 ? [] : [{ name: one.name, differences }]
  })
  progress.end()
  for (const { name, differences } of failed) {
    console.log(`failed   ${name}`)
    for (const { what, expected, got } of differences) {
      console.log(`           ${what}: expected ${expected}, got ${got}`)
    }
  }
  console.log(failed.length === 0
    ? `${cases.length} ${cases.length === 1 ? 'case passed' : 'cases passed'}`
    : `${failed.length} of ${cases.length} cases failed`)
  return failed.length === 0
}

function print (label: string, faults: readonly Fault[]): void {
  for (const { path, problem } of faults) console.log(`${label}  ${path} ${problem}`)
}

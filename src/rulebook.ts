// The policy file read into what a request is judged by.

import { readFileSync } from 'node:fs'
import type { Rulebook } from './admission.ts'
import { compileCallers } from './callers/authenticate.ts'
import type { SecretSource } from './callers/entries.ts'
import type { KeySets } from './callers/jwks.ts'
import { ConfigError, type Config } from './config.ts'
import type { Log } from './logging.ts'
import { readPolicies, type Fault } from './policy/file.ts'

export type RulebookSources = Readonly<{
  secrets: SecretSource
  mintApi: Config['upstream']['mintApi']
  hasSafetyIdentifierSecret: boolean
  origins: ReadonlySet<string>
  log: Pick<Log, 'info' | 'warn' | 'error'>
  /** Outlives a rulebook: the next one finds the keys that this one fetched. */
  keySets: KeySets
}>

/** Null where there are problems: then every one of them is told. */
export type RulebookReading = Readonly<{ rulebook: Rulebook | null, problems: readonly Fault[], warnings: readonly Fault[] }>

export function readRulebook (text: string, { secrets, mintApi, hasSafetyIdentifierSecret, origins, log, keySets }: RulebookSources): RulebookReading {
  const reading = readPolicies(text, { secrets, legacyOnly: mintApi === 'sessions', hasSafetyIdentifierSecret })
  if (reading.callers === null) return { ...reading, rulebook: null }
  const compiled = compileCallers([...reading.callers], { secrets, log, keySets, allowedOrigins: origins })
  const problems = [...reading.problems, ...compiled.problems]
  return {
    rulebook: problems.length > 0 || reading.policies === null ? null : { policies: reading.policies, callers: compiled.callers },
    problems,
    warnings: [...reading.warnings, ...compiled.warnings]
  }
}

/** Throws ConfigError. */
export function readPolicyFile (path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    throw new ConfigError([`${path} cannot be read (EPHEMINT_CONFIG names it)`])
  }
}

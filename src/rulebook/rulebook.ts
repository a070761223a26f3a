// The policy file, compiled into the rules of a request and reloaded when it changes: completely, or not at all.

import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type Callers, compileCallers } from '../callers/authenticate.ts'
import type { KeySets } from '../callers/jwks.ts'
import { type Config, ConfigError } from '../config/environment.ts'
import type { Origins } from '../config/origins.ts'
import type { SecretSource } from '../config/secrets.ts'
import { whyUnreadable } from '../config/unreadable.ts'
import { watchText } from '../config/watch.ts'
import { type SendRequest, sendRequest } from '../outbound/request.ts'
import type { Policies } from '../policy/policy.ts'
import type { Log } from '../records/log.ts'
import type { Fault } from '../schema/report.ts'
import { readPolicies } from './policies.ts'

/** One version of the file. A request uses the same one from beginning to end. */
export type Rulebook = Readonly<{ policies: Policies, callers: Callers }>

export type RulebookSources = Readonly<{
  secrets: SecretSource
  mintApi: Config['upstream']['mintApi']
  hasSafetyIdentifierSecret: boolean
  isStrict?: boolean
  origins: Origins
  log: Pick<Log, 'info' | 'warn' | 'error'>
  /** Shared across reloads, so fetched keys are kept. */
  keySets: KeySets
  /** Sends requests to identity providers. Without it: directly. */
  send?: SendRequest
  /** Called after another version has come into use. */
  onSwap?: (rulebook: Rulebook) => void
}>

/** `rulebook` is null if there are problems. */
export type RulebookReading = Readonly<{
  rulebook: Rulebook | null, problems: readonly Fault[], warnings: readonly Fault[]
}>

export function readRulebook (
  text: string,
  { secrets, mintApi, hasSafetyIdentifierSecret, isStrict, origins, log, keySets, send = sendRequest }: RulebookSources
): RulebookReading {
  const reading = readPolicies(
    text, { secrets, legacyOnly: mintApi === 'sessions', hasSafetyIdentifierSecret, isStrict }
  )
  if (reading.callers === null) return { ...reading, rulebook: null }
  const compiled = compileCallers(reading.callers, { secrets, log, keySets, send, allowedOrigins: origins })
  const problems = [...reading.problems, ...compiled.problems]
  return {
    rulebook: problems.length > 0 || reading.policies === null
      ? null
      : { policies: reading.policies, callers: compiled.callers },
    problems,
    warnings: [...reading.warnings, ...compiled.warnings]
  }
}

export type LiveRulebook = Readonly<{
  current: () => Rulebook
  /** How many loads have succeeded, the first included. */
  generation: () => number
  /** How many reloads were refused. */
  failedReloads: () => number
  /** The file as it is now was refused: a replica that starts with it fails. */
  isRefused: () => boolean
  /** SHA-256 in hex of the text in use, with the names of its secrets and not their values. */
  hash: () => string
  start: () => Promise<void>
  close: () => void
}>

/** Throws ConfigError with every problem at once. */
export function openRulebook (path: string, sources: RulebookSources): LiveRulebook {
  const { log } = sources
  const text = readPolicyFile(path)
  const { rulebook, problems, warnings } = readRulebook(text, sources)
  if (rulebook === null) throw new ConfigError(problems.map((fault) => `${path}: ${fault.path} ${fault.problem}`))
  warn(warnings)

  let current = rulebook
  let currentHash = hash('sha256', text)
  let generation = 1
  let failedReloads = 0
  let isRefused = false
  let isClosed = false
  let stopWatching = () => {}

  function warn (faults: readonly Fault[]): void {
    for (const { path, problem } of faults) log.warn({ path }, `policy file: ${problem}`)
  }

  /** The last good version stays in use: a missing file never means "no policy". */
  function refuse (problems: readonly Fault[]): void {
    failedReloads++
    isRefused = true
    for (const { path, problem } of problems) log.error({ path }, `policy file refused: ${problem}`)
  }

  /** Never rejects: any failure before the swap means that the file is refused. */
  async function reload (text: string | null, why: string): Promise<void> {
    try {
      if (text === null) return refuse([{ path, problem: `it cannot be read: ${why}` }])
      const reading = readRulebook(text, sources)
      if (reading.rulebook === null) return refuse(reading.problems)
      warn(reading.warnings)
      // Fetches the keys of new issuers first, so that the reload refuses no caller.
      await reading.rulebook.callers.start()
      /* c8 ignore next -- a stop in the moment of a reload */
      if (isClosed) return reading.rulebook.callers.close()
      swap(reading.rulebook, text)
    /* c8 ignore next 4 -- a fault of ours is not to end the process */
    } catch (err) {
      log.error({ err }, 'policy file could not be reloaded')
      refuse([{ path, problem: 'it cannot be used' }])
    }
  }

  /** Never throws: once in use, a file is no longer refused. */
  function swap (next: Rulebook, text: string): void {
    const old = current
    current = next
    currentHash = hash('sha256', text)
    isRefused = false
    generation++
    log.info({ generation, policy_hash: currentHash }, 'policy file reloaded')
    try {
      old.callers.close()
      sources.onSwap?.(current)
    /* c8 ignore next 3 -- a fault of ours is not to end the process */
    } catch (err) {
      log.error({ err }, 'not everything has noticed the new policy file')
    }
  }

  function isUsable (text: string): boolean {
    try {
      return readRulebook(text, sources).rulebook !== null
    /* c8 ignore next 3 -- a fault of ours is not to end the process */
    } catch {
      return false
    }
  }

  return {
    current: () => current,
    generation: () => generation,
    failedReloads: () => failedReloads,
    isRefused: () => isRefused,
    hash: () => currentHash,
    start: async () => {
      stopWatching = watchText(path, text, { onText: reload, isUsable })
      await current.callers.start()
    },
    close: () => {
      isClosed = true
      stopWatching()
      current.callers.close()
    }
  }
}

/** Throws ConfigError. */
export function readPolicyFile (path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new ConfigError([`${path} cannot be read: ${whyUnreadable(error)} (EPHEMINT_CONFIG names it)`])
  }
}

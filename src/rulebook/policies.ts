// Reads the policy file, YAML or JSON, into a frozen value, or reports all of its problems at once.

import { claimOf, impossibleConditions, isUserWritable } from '../callers/claims.ts'
import type { CallerEntry } from '../callers/schema.ts'
import type { SecretSource } from '../config/secrets.ts'
import { deepFreeze, isObject, type Json, type JsonObject } from '../json.ts'
import { type Limits, WINDOWS, type Windows } from '../limits/limits.ts'
import { schemaCompiler } from '../policy/allowed-schema.ts'
import { compilePrompt, compileRules, type SessionRules } from '../policy/compile.ts'
import type { Policies, Policy } from '../policy/policy.ts'
import { promptsOf, reviewRules, reviewTemplate } from '../policy/review.ts'
import { type PolicyEntry, PolicyFile } from '../policy/schema.ts'
import { compileBlocked, compileWhen, covers } from '../policy/select.ts'
import { type Kind, KINDS } from '../realtime/session.ts'
import { faultFinder } from '../schema/faults.ts'
import type { Fault, Report, StrictReport } from '../schema/report.ts'
import { parseYaml } from '../schema/yaml.ts'
import { inlineSecrets } from './inline-secrets.ts'
import { withoutFaults } from './without-faults.ts'

export type Reading = Readonly<{
  /** Null if there are problems. */
  policies: Policies | null
  /** Not compiled yet. Present even if policies have problems, so that those of callers are reported too. */
  callers: readonly CallerEntry[] | null
  problems: readonly Fault[]
  warnings: readonly Fault[]
}>

export type PolicySources = Readonly<{
  secrets: SecretSource
  /** OPENAI_MINT_API=sessions: settings that the legacy API cannot express are problems. */
  legacyOnly: boolean
  hasSafetyIdentifierSecret: boolean
  /** Mistakes are problems, not warnings. */
  isStrict?: boolean | undefined
}>

const findFaults = faultFinder(PolicyFile)

export function readPolicies (text: string, sources: PolicySources): Reading {
  const problems: Fault[] = []
  const warnings: Fault[] = []
  const mistakes: Fault[] = []
  const report: StrictReport = {
    problem: (path, problem) => problems.push({ path, problem }),
    warning: (path, problem) => warnings.push({ path, problem }),
    mistake: (path, problem) => mistakes.push({ path, problem })
  }
  const raw = parseYaml(text, report)
  if (problems.length > 0) return { policies: null, callers: null, problems, warnings }
  const faults = findFaults(raw)
  for (const { path, problem } of faults) report.problem(path.join('.'), problem)
  // Without the faulty parts, the rest is checked for contradictions in the same run.
  const rest = faults.length === 0 ? raw : withoutFaults(raw as Json, faults)
  if (findFaults(rest).length > 0) return { policies: null, callers: null, problems, warnings }
  const file = rest as PolicyFile
  const policies = compile(file, sources, report)
  // An entry that was left out for its faults may be one that the rest refers to.
  if (faults.length === 0) (sources.isStrict ? problems : warnings).push(...mistakes)
  const callers = faults.some(({ path }) => [undefined, 'callers'].includes(path[0])) ? null : file.callers
  return { policies: problems.length > 0 ? null : policies, callers, problems, warnings }
}

function compile (
  file: PolicyFile, { secrets: source, legacyOnly, hasSafetyIdentifierSecret }: PolicySources, report: StrictReport
): Policies {
  const secrets = new Set<string>()
  const context = { compileSchema: schemaCompiler(), report, secrets }
  const inlined = (session: unknown, at: string) => {
    const found = inlineSecrets((session ?? {}) as JsonObject, at, source, report)
    for (const { value } of found.secrets) secrets.add(value)
    return found
  }

  const prompts = new Map(Object.entries(file.prompts ?? {}).map(([name, entry]) => {
    const at = `prompts.${name}`
    const prompt = compilePrompt(name, entry, inlined(entry.session, `${at}.session`), context)
    reviewTemplate(prompt.session, `${at}.session`, report, [...prompt.variables.keys()])
    return [name, prompt]
  }))
  const policies = file.policies.map((entry, i): Policy => {
    const at = `policies.${i}`
    reviewPolicy(entry, at, file, report)
    const sessions: Partial<Record<Kind, SessionRules>> = {}
    for (const kind of KINDS) {
      const policy = entry[kind]
      if (policy === undefined) continue
      if (kind === 'translation' && legacyOnly) {
        report.problem(`${at}.translation`, 'cannot be minted with OPENAI_MINT_API=sessions')
      }
      const rules = compileRules(kind, {
        ...policy,
        fixed: inlined(policy.fixed, `${at}.${kind}.fixed`),
        defaults: inlined(policy.defaults, `${at}.${kind}.defaults`)
      }, `${at}.${kind}`, { ...context, prompts })
      const variables = promptsOf(rules).flatMap((prompt) => [...prompt.variables.keys()])
      reviewTemplate(rules.fixed, `${at}.${kind}.fixed`, report, variables)
      reviewTemplate(rules.defaults, `${at}.${kind}.defaults`, report, variables)
      reviewRules(rules, `${at}.${kind}`, report, legacyOnly)
      sessions[kind] = rules
    }
    return {
      name: entry.name,
      matches: compileWhen(entry.when),
      denies: entry.deny === true,
      limits: isObject(entry.limits) ? limitsOf(entry.limits) : null,
      sessions
    }
  })
  const names = policies.map(({ name }) => name)
  for (const [i, name] of names.entries()) {
    if (names.indexOf(name) < i) report.problem(`policies.${i}.name`, 'is the name of another policy too')
  }

  for (const [i, { when }] of file.policies.entries()) {
    const before = file.policies.slice(0, i).findIndex((earlier) => covers(earlier.when, when))
    if (before !== -1) {
      report.mistake(`policies.${i}.when`, `is never reached: policies.${before} has all of its callers already`)
    }
  }
  for (const [i, { guest }] of file.callers.entries()) {
    if (guest !== undefined && !hasSafetyIdentifierSecret) {
      const problem = 'needs SAFETY_IDENTIFIER_SECRET: the plain hash of an address can be reversed'
      report.problem(`callers.${i}.guest`, problem)
    }
  }
  return deepFreeze({
    policies, isBlocked: compileBlocked(file.blocked ?? []), claimsRead: claimsReadBy(file, policies)
  })
}

function claimsReadBy (file: PolicyFile, policies: readonly Policy[]): ReadonlySet<string> {
  const conditions = file.policies.flatMap(({ when }) => isObject(when) ? Object.keys(when) : [])
  const templates = policies.flatMap(({ sessions }) => Object.values(sessions)).flatMap((rules) =>
    [rules.fixed, rules.defaults, ...promptsOf(rules).map(({ session }) => session)])
  return new Set([...conditions, ...templates.flatMap(({ references }) => references)].map(claimOf))
}

function reviewPolicy (entry: PolicyEntry, at: string, file: PolicyFile, report: Report): void {
  const kinds = KINDS.filter((kind) => entry[kind] !== undefined)
  const guest = entry.when === 'guest'
  if (entry.deny) {
    for (const key of [...kinds, ...(entry.limits === undefined ? [] : ['limits'])]) {
      report.problem(`${at}.${key}`, 'has no effect with deny: true')
    }
  } else {
    if (entry.limits === undefined) {
      report.problem(at, 'needs limits: (write limits: none for no limits)')
    }
    if (kinds.length === 0) report.problem(at, `has no session kind: add ${KINDS.join(', ')}, or deny: true`)
    if (guest && entry.limits === 'none') report.problem(`${at}.limits`, 'cannot be none for guests')
    if (guest && isObject(entry.limits) && !countsMints(entry.limits)) {
      report.problem(`${at}.limits`, 'limits only seconds, which is not enough for guests: add minute, hour or day')
    }
    if (isObject(entry.limits) && limitsSeconds(entry.limits) && entry.realtime?.calls === undefined) {
      report.warning(`${at}.limits`, 'has call_seconds, which have no effect without calls:')
    }
  }
  if (guest && !file.callers.some((caller) => caller.guest !== undefined)) {
    report.warning(at, 'is for guests, but callers: has no guest: {}')
  }
  for (const { reference, problem } of isObject(entry.when) ? impossibleConditions(entry.when) : []) {
    report.problem(`${at}.when.${reference}`, problem)
  }
  for (const reference of isObject(entry.when) ? Object.keys(entry.when) : []) {
    if (isUserWritable(reference)) report.warning(`${at}.when`, `uses ${reference}, which users can write themselves`)
  }
}

type WrittenWindows = Windows & Readonly<{ call_seconds?: Windows }>
type WrittenLimits = WrittenWindows & Readonly<{ total?: WrittenWindows }>

function countsMints ({ total = {}, ...own }: WrittenLimits): boolean {
  return WINDOWS.some((window) => own[window] !== undefined || total[window] !== undefined)
}

function limitsSeconds ({ total, call_seconds: seconds }: WrittenLimits): boolean {
  return seconds !== undefined || total?.call_seconds !== undefined
}

function limitsOf (written: WrittenLimits): Limits {
  const { total: { call_seconds: totalSeconds = {}, ...total } = {}, call_seconds: seconds = {}, ...caller } = written
  return { caller, total, callSeconds: { caller: seconds, total: totalSeconds } }
}

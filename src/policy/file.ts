// The policy file: YAML or JSON, read once into a frozen value, or refused with every problem at once.

import { Ajv2020, type ErrorObject } from 'ajv/dist/2020.js'
import { parseDocument } from 'yaml'
import type { CallerEntry, SecretSource } from '../callers/entries.ts'
import { deepFreeze, isObject, type Json, type JsonObject } from '../json.ts'
import { KINDS, type Kind } from '../realtime/session.ts'
import { schemaCompiler } from './allowed-schema.ts'
import { isUserWritable } from './claims.ts'
import { reviewRules, reviewTemplate } from './review.ts'
import { compilePrompt, compileRules, type Report, type SessionRules } from './rules.ts'
import { PolicyFile, type PolicyEntry } from './schema.ts'
import { compileBlocked, compileWhen, type Matches } from './select.ts'
import { inlineSecrets } from './secrets.ts'

export const WINDOWS = ['minute', 'hour', 'day'] as const
/** Mints per window. */
export type Windows = Readonly<Partial<Record<typeof WINDOWS[number], number>>>

export type Policy = Readonly<{
  name: string
  matches: Matches
  denies: boolean
  /** Null where the file says `limits: none`. */
  limits: Readonly<{ caller: Windows, total: Windows }> | null
  sessions: Readonly<Partial<Record<Kind, SessionRules>>>
}>

export type Policies = Readonly<{
  policies: readonly Policy[]
  isBlocked: ReturnType<typeof compileBlocked>
  /** Values that stood behind `$env` and `$file`: never to be shown. */
  secrets: ReadonlySet<string>
}>

export type Fault = Readonly<{ path: string, problem: string }>
export type Reading = Readonly<{
  /** Null where there are problems. */
  policies: Policies | null
  /** As written: compiled elsewhere, also where the policies have problems, so that all are reported at once. */
  callers: readonly CallerEntry[] | null
  problems: readonly Fault[]
  warnings: readonly Fault[]
}>

export type Surroundings = Readonly<{
  secrets: SecretSource
  /** OPENAI_MINT_API=sessions: what the legacy API cannot carry is a contradiction. */
  legacyOnly: boolean
  hasSafetyIdentifierSecret: boolean
}>

const validate = new Ajv2020({ allErrors: true, strict: false, logger: false }).compile<PolicyFile>(PolicyFile)

export function readPolicies (text: string, surroundings: Surroundings): Reading {
  const problems: Fault[] = []
  const warnings: Fault[] = []
  const report: Report = {
    problem: (path, problem) => problems.push({ path, problem }),
    warning: (path, problem) => warnings.push({ path, problem })
  }
  const raw = parse(text, report)
  if (problems.length > 0) return { policies: null, callers: null, problems, warnings }
  if (!validate(raw)) {
    for (const error of validate.errors as ErrorObject[]) report.problem(...describe(error))
    return { policies: null, callers: null, problems, warnings }
  }
  const policies = compile(raw, surroundings, report)
  return { policies: problems.length > 0 ? null : policies, callers: raw.callers, problems, warnings }
}

function compile (file: PolicyFile, { secrets: source, legacyOnly, hasSafetyIdentifierSecret }: Surroundings, report: Report): Policies {
  const secrets = new Set<string>()
  const context = { compileSchema: schemaCompiler(), report, secrets }
  const inlined = (session: unknown, at: string) => inlineSecrets((session ?? {}) as JsonObject, at, source, secrets, report)

  const prompts = new Map(Object.entries(file.prompts ?? {}).map(([name, entry]) => {
    const at = `prompts.${name}`
    const prompt = compilePrompt(name, { ...entry, session: inlined(entry.session, `${at}.session`) }, context)
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
      if (kind === 'translation' && legacyOnly) report.problem(`${at}.translation`, 'cannot be minted with OPENAI_MINT_API=sessions')
      const rules = compileRules(kind, {
        ...policy,
        fixed: inlined(policy.fixed, `${at}.${kind}.fixed`),
        defaults: inlined(policy.defaults, `${at}.${kind}.defaults`)
      }, `${at}.${kind}`, { ...context, prompts })
      reviewTemplate(rules.fixed, `${at}.${kind}.fixed`, report, null)
      reviewTemplate(rules.defaults, `${at}.${kind}.defaults`, report, null)
      reviewRules(rules, `${at}.${kind}`, report, legacyOnly)
      sessions[kind] = rules
    }
    const { total = {}, ...caller } = isObject(entry.limits) ? entry.limits as Windows & { total?: Windows } : {}
    return {
      name: entry.name,
      matches: compileWhen(entry.when),
      denies: entry.deny === true,
      limits: isObject(entry.limits) ? { caller, total } : null,
      sessions
    }
  })
  const names = policies.map(({ name }) => name)
  for (const [i, name] of names.entries()) if (names.indexOf(name) < i) report.problem(`policies.${i}.name`, 'is the name of another policy too')

  if (file.callers.some((entry) => entry.guest !== undefined) && !hasSafetyIdentifierSecret) {
    report.problem('callers', 'guest needs SAFETY_IDENTIFIER_SECRET: the plain hash of an address can be reversed')
  }
  return deepFreeze({ policies, isBlocked: compileBlocked(file.blocked ?? []), secrets })
}

function reviewPolicy (entry: PolicyEntry, at: string, file: PolicyFile, report: Report): void {
  const kinds = KINDS.filter((kind) => entry[kind] !== undefined)
  const guest = entry.when === 'guest'
  if (entry.deny) {
    for (const key of [...kinds, ...(entry.limits === undefined ? [] : ['limits'])]) report.problem(`${at}.${key}`, 'means nothing beside deny: true')
  } else {
    if (entry.limits === undefined) report.problem(at, 'needs limits: (limits: none says in writing that there are none)')
    if (kinds.length === 0) report.problem(at, `names no session kind: say ${KINDS.join(', ')}, or deny: true`)
    if (guest && entry.limits === 'none') report.problem(`${at}.limits`, 'cannot be none for guests')
  }
  if (guest && !file.callers.some((caller) => caller.guest !== undefined)) report.warning(at, 'is for guests, but callers: has no guest: {}')
  for (const reference of isObject(entry.when) ? Object.keys(entry.when) : []) {
    if (isUserWritable(reference)) report.warning(`${at}.when`, `asks ${reference}, which users can write themselves`)
  }
}

function parse (text: string, report: Report): unknown {
  // Without pretty errors: they quote the file, which may hold what nobody should read in a log.
  const document = parseDocument(text, { merge: true, prettyErrors: false, logLevel: 'error' })
  for (const { code, pos } of document.errors) report.problem(`line ${text.slice(0, pos[0]).split('\n').length}`, `is not YAML: ${code}`)
  if (document.errors.length > 0) return undefined
  let value: unknown
  try {
    // Aliases are counted: a few lines can otherwise expand to gigabytes.
    value = document.toJS({ maxAliasCount: 100 })
  } catch {
    report.problem('', 'has an alias without an anchor, or far too many of them')
  }
  reviewKeys(value as Json, '', report)
  return value
}

/** Names that would reach a prototype have no place in a policy. */
function reviewKeys (value: Json, at: string, report: Report): void {
  if (typeof value !== 'object' || value === null) return
  for (const [key, inner] of Object.entries(value)) {
    const path = at === '' ? key : `${at}.${key}`
    if (['__proto__', 'constructor', 'prototype'].includes(key)) report.problem(path, 'is not a name that may be used')
    else reviewKeys(inner, path, report)
  }
}

function describe ({ instancePath, keyword, params, message }: ErrorObject): [path: string, problem: string] {
  const path = instancePath.slice(1).split('/').filter(Boolean).map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'))
  switch (keyword) {
    case 'additionalProperties': return [[...path, params.additionalProperty].join('.'), 'is not a known key']
    case 'required': return [[...path, params.missingProperty].join('.'), 'is missing']
    case 'const': return [path.join('.'), `must be ${JSON.stringify(params.allowedValue)}`]
    case 'enum': return [path.join('.'), `must be one of ${params.allowedValues.join(', ')}`]
    default: return [path.join('.'), message as string]
  }
}

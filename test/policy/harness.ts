// Compiles one session policy, as the only one of a policy file, and applies it to requests.

import { ApiError } from '../../src/errors.ts'
import type { JsonObject } from '../../src/json.ts'
import { applyPolicy, type Granted } from '../../src/policy/apply.ts'
import type { CallRules, SessionRules } from '../../src/policy/compile.ts'
import type { Kind } from '../../src/realtime/session.ts'
import { readGa, readLegacyBody } from '../../src/routes/mint-body.ts'
import { type PolicySources, type Reading, readPolicies } from '../../src/rulebook/policies.ts'
import type { Fault } from '../../src/schema/report.ts'

const CALLERS = [{ jwt: { issuer: 'https://auth.example.com/', audience: 'voice-app' } }, { guest: {} }]

export const CALL_RULES: CallRules = {
  maxSeconds: 60,
  idleSeconds: 60,
  concurrent: 1,
  whenFull: 'refuse',
  total: null,
  hasDataChannel: true,
  onChange: 'restore'
}

export type Written = Readonly<{
  kind?: Kind
  /** The session policy, as in the file. */
  session?: unknown
  prompts?: unknown
  /** Members of the policy entry, or those that replace them. */
  entry?: JsonObject
}>

export function fileWith ({ kind = 'realtime', session = {}, prompts, entry = {} }: Written): string {
  return JSON.stringify(
    { callers: CALLERS, prompts, policies: [{ name: 'only', when: 'any', limits: 'none', [kind]: session, ...entry }] }
  )
}

export function readPolicy (text: string, sources: Partial<PolicySources> = {}): Reading {
  const secrets = { env: (name: string) => `secret of ${name}`, file: (path: string) => `secret in ${path}` }
  return readPolicies(text, { secrets, legacyOnly: false, hasSafetyIdentifierSecret: true, ...sources })
}

/** Problems as printed, one per line. */
export function lines (faults: readonly Fault[]): string[] {
  return faults.map(({ path, problem }) => `${path} ${problem}`)
}

export function problemsOf (written: Written, sources?: Partial<PolicySources>): string[] {
  return lines(readPolicy(fileWith(written), sources).problems)
}

/** Throws if the policy is invalid. */
export function rulesOf (written: Written, sources?: Partial<PolicySources>): SessionRules {
  const { policies, problems } = readPolicy(fileWith(written), sources)
  if (policies === null) throw new Error(lines(problems).join('\n'))
  return policies.policies[0]?.sessions[written.kind ?? 'realtime'] as SessionRules
}

export type How = Readonly<{ legacy?: boolean, claims?: JsonObject }>

export function ask (rules: SessionRules, body: unknown, { legacy = false, claims = {} }: How = {}): Granted {
  const { kind } = rules
  const reader = legacy
    ? readLegacyBody(kind as 'realtime' | 'transcription')
    : readGa(kind === 'translation' ? ['translation'] : ['realtime', 'transcription'])
  const { kind: asked, asked: request } = reader(body)
  if (asked !== kind) throw new Error(`asked for ${asked}, where the test is about ${kind}`)
  return applyPolicy(rules, { iss: 'https://auth.example.com/', sub: 'u1', ...claims }, request)
}

/** The grant, or the refusal as `403 policy_violation session.model`. Other errors are rethrown. */
export function outcome (rules: SessionRules, body: unknown, how?: How): Granted | string {
  try {
    return ask(rules, body, how)
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    return `${error.statusCode} ${error.code} ${error.param}`
  }
}

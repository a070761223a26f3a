// An operator's test cases for a policy file: a caller, a request and the expected decision. Needs no key, no network.

import { isDeepStrictEqual } from 'node:util'
import Type, { type Static } from 'typebox'
import type { Caller } from '../callers/caller.ts'
import type { CallerEntry } from '../callers/schema.ts'
import type { ApiError, ErrorCode } from '../errors.ts'
import { getIn, type Json, type JsonObject, leafPaths } from '../json.ts'
import { describeCalls } from '../policy/compile.ts'
import type { Policies } from '../policy/policy.ts'
import { CallPolicy } from '../policy/schema.ts'
import { KINDS } from '../realtime/session.ts'
import { faultFinder } from '../schema/faults.ts'
import type { Fault } from '../schema/report.ts'
import { parseYaml } from '../schema/yaml.ts'
import { callerOf, type DryRoute, type DryRun, dryRun, masked, ROUTE_NAMES, routeNamed } from './dry-run.ts'

const closed = { additionalProperties: false }
const anyObject = Type.Record(Type.String(), Type.Unknown())
/** Refusals that depend on the policy: a case has no token to reject. */
const REFUSALS = [
  'no_policy', 'caller_blocked', 'policy_violation', 'invalid_request', 'invalid_json'
] as const satisfies readonly ErrorCode[]

const Expect = Type.Object({
  policy: Type.Optional(Type.String()),
  refused: Type.Optional(Type.Enum([...REFUSALS])),
  param: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  kind: Type.Optional(Type.Enum([...KINDS])),
  prompt: Type.Optional(Type.Union([Type.String(), Type.Null()])),
  ignored: Type.Optional(Type.Array(Type.String())),
  expires_after: Type.Optional(Type.Integer()),
  upstream: Type.Optional(anyObject),
  calls: Type.Optional(Type.Partial(CallPolicy))
}, { ...closed, minProperties: 1 })
type Expect = Static<typeof Expect>

const Cases = Type.Array(Type.Object({
  name: Type.String({ minLength: 1 }),
  claims: Type.Union([Type.Literal('guest'), anyObject]),
  route: Type.Enum(ROUTE_NAMES),
  body: Type.Optional(Type.Unknown()),
  expect: Expect
}, closed), { minItems: 1 })

export type Case = Readonly<{
  name: string
  callerWith: (entries: readonly CallerEntry[]) => Caller
  route: DryRoute
  body: string
  expect: Expect
}>

const findFaults = faultFinder(Cases)
const ONLY_IF_GRANTED = ['prompt', 'ignored', 'expires_after', 'upstream', 'calls'] as const

/** `cases` is empty or incomplete if there are problems. */
export function readCases (text: string): { cases: Case[], problems: Fault[] } {
  const problems: Fault[] = []
  const problem = (path: string, problem: string) => { problems.push({ path, problem }) }
  const raw = parseYaml(text, { problem, warning: problem })
  if (problems.length > 0) return { cases: [], problems }
  for (const fault of findFaults(raw)) problem(fault.path.join('.'), fault.problem)
  if (problems.length > 0) return { cases: [], problems }

  const cases = raw as Static<typeof Cases>
  const names = cases.map(({ name }) => name)
  for (const [i, { name, route, expect }] of cases.entries()) {
    if (names.indexOf(name) < i) problem(`${i}.name`, 'is the name of another case too')
    if (expect.refused === undefined && expect.param !== undefined) {
      problem(`${i}.expect.param`, 'has no meaning without refused')
    }
    // A call has no lifetime of a secret, and a mint nothing of a call.
    const foreign = routeNamed(route)?.isCall ? 'expires_after' : 'calls'
    if (expect[foreign] !== undefined) problem(`${i}.expect.${foreign}`, 'has no meaning for this route')
    for (const key of ONLY_IF_GRANTED) {
      if (expect.refused !== undefined && expect[key] !== undefined) {
        problem(`${i}.expect.${key}`, 'has no meaning together with refused')
      }
    }
  }
  return {
    cases: cases.map(({ name, claims, route, body, expect }) => ({
      name,
      callerWith: (entries) => callerOf(claims as Json, entries) as Caller,
      route: routeNamed(route) as DryRoute,
      body: body === undefined ? '' : JSON.stringify(body),
      expect
    })),
    problems
  }
}

/** A policy file without problems. */
export type ValidFile = Readonly<{ policies: Policies, callers: readonly CallerEntry[] }>

export type Difference = Readonly<{ what: string, expected: string, got: string }>

/** Empty if the case passes. */
export function checkCase (
  { policies, callers }: ValidFile,
  { callerWith, route, body, expect }: Case,
  safetyIdentifierSecret: string | null
): Difference[] {
  const result = dryRun(policies, { caller: callerWith(callers), route, body, safetyIdentifierSecret })
  const { policy, kind, granted, calls } = result
  const differences: Difference[] = []
  const compare = (what: string, expected: Json | undefined, got: Json | undefined) => {
    if (expected !== undefined && !isDeepStrictEqual(expected, got)) {
      differences.push({ what, expected: written(expected), got: written(got) })
    }
  }
  compare('policy', expect.policy, policy)
  compare('kind', expect.kind, kind)
  const outcome = expect.refused === undefined ? 'a grant' : refusalIn(expect.refused, expect.param)
  const got = outcomeOf(result, expect.param !== undefined)
  if (outcome !== got) differences.push({ what: 'outcome', expected: outcome, got })
  if (granted === null || expect.refused !== undefined) return differences

  compare('prompt', expect.prompt, granted.prompt)
  compare('ignored', expect.ignored?.toSorted(), granted.ignored.toSorted())
  compare('expires_after', expect.expires_after, granted.expiresAfterSeconds)
  const rules: JsonObject = calls === null ? {} : describeCalls(calls)
  for (const [key, value] of Object.entries(expect.calls ?? {})) compare(`calls ${key}`, value, rules[key])
  const upstream = (expect.upstream ?? {}) as JsonObject
  for (const path of leafPaths(upstream)) {
    compare(`upstream ${path.join('.')}`, getIn(upstream, path), getIn(granted.session, path))
  }
  return differences
}

function outcomeOf ({ granted, refusal }: DryRun, withParam: boolean): string {
  if (granted !== null) return 'a grant'
  const { code, param } = refusal as ApiError
  return refusalIn(code, withParam ? param : undefined)
}

function refusalIn (code: ErrorCode, param: string | null | undefined): string {
  return `refused ${code}${param === undefined ? '' : ` at ${param ?? 'no param'}`}`
}

function written (value: Json | undefined): string {
  return value === undefined ? 'nothing' : JSON.stringify(value, masked)
}

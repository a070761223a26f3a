// The decision of the service about a request: a mint without limits and without upstream.

import { type Caller, createCaller, GUEST_ISSUER, subjectFrom } from '../callers/caller.ts'
import { claimReader } from '../callers/claims.ts'
import { safetyIdentifier } from '../callers/safety-identifier.ts'
import type { CallerEntry } from '../callers/schema.ts'
import { ApiError } from '../errors.ts'
import { parseStrictly } from '../http/strict-json.ts'
import { isObject, type Json } from '../json.ts'
import { applyPolicy, type Granted } from '../policy/apply.ts'
import type { Policies } from '../policy/policy.ts'
import { selectPolicy } from '../policy/select.ts'
import type { Kind } from '../realtime/session.ts'
import { MINT_ROUTES } from '../routes/mint.ts'

export type MintRoute = typeof MINT_ROUTES[number]

/** Replaces secrets by the name of their source: a decision needs no values. */
export const STAND_INS = { env: (name: string) => `($env ${name})`, file: (path: string) => `($file ${path})` }

export const ROUTE_NAMES = MINT_ROUTES.map(({ url }) => url.slice('/v1/'.length))

/** `name` is a path, with or without `/v1/`. */
export function routeNamed (name: string): MintRoute | undefined {
  return MINT_ROUTES.find(({ url }) => url === `/v1/${name.replace(/^\/?(v1\/)?/, '')}`)
}

/**
 * From verified claims, or from `guest`; undefined for anything else. `entries`: the claims' `iss` selects the one that
 * says where the subject is.
 */
export function callerOf (claims: Json | undefined, entries: readonly CallerEntry[] = []): Caller | undefined {
  const given = claims === 'guest' ? { iss: GUEST_ISSUER, sub: 'guest' } : claims
  if (given === undefined || !isObject(given)) return undefined
  const { iss: issuer = 'https://issuer.example/', sub = 'someone' } = given
  const entry = entries.find(({ jwt }) => [jwt?.issuer].flat().includes(String(issuer)))
  const subject = subjectFrom(claimReader(entry?.jwt?.subject ?? 'sub')(given)) ?? sub
  return createCaller(String(issuer), String(subject), { ...given, iss: issuer, sub: String(subject) })
}

export type DryRun = Readonly<{
  /** Null if the request was refused before a policy was selected; likewise `kind`. */
  policy: string | null
  kind: Kind | null
  granted: Granted | null
  refusal: ApiError | null
}>

type Request = Readonly<{ caller: Caller, route: MintRoute, body: string, safetyIdentifierSecret: string | null }>

export function dryRun (policies: Policies, { caller, route, body, safetyIdentifierSecret }: Request): DryRun {
  let result: DryRun = { policy: null, kind: null, granted: null, refusal: null }
  try {
    const policy = selectPolicy(
      policies, caller, safetyIdentifier(caller.issuer, caller.subject, safetyIdentifierSecret)
    )
    result = { ...result, policy: policy.name }
    const { kind, asked } = route.read(body === '' ? undefined : parseStrictly(Buffer.from(body)))
    result = { ...result, kind }
    const rules = policy.sessions[kind]
    if (rules === undefined) throw new ApiError('policy_violation')
    return { ...result, granted: applyPolicy(rules, caller.claims, asked) }
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    return { ...result, refusal: error }
  }
}

/** A replacer for JSON.stringify: credentials of tools are secret even if the file contains them literally. */
export function masked (this: unknown, key: string, value: Json): Json {
  if (key === 'authorization') return '(secret)'
  if (key === 'headers' && isObject(value)) {
    return Object.fromEntries(Object.keys(value).map((name) => [name, '(secret)']))
  }
  return value
}

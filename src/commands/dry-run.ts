// What the service would decide of a request: the way of a mint without its limits, and without upstream.

import { type Caller, createCaller, GUEST_ISSUER } from '../callers/caller.ts'
import { safetyIdentifier } from '../callers/safety-identifier.ts'
import { ApiError } from '../errors.ts'
import { parseStrictly } from '../http/strict-json.ts'
import { isObject, type Json } from '../json.ts'
import { applyPolicy, type Granted } from '../policy/apply.ts'
import type { Policies } from '../policy/policy.ts'
import { selectPolicy } from '../policy/select.ts'
import type { Kind } from '../realtime/session.ts'
import { MINT_ROUTES } from '../routes/mint.ts'

export type Route = typeof MINT_ROUTES[number]

/** Where secrets come from stands for them: deciding needs none. */
export const STAND_INS = { env: (name: string) => `($env ${name})`, file: (path: string) => `($file ${path})` }

export const ROUTE_NAMES = MINT_ROUTES.map(({ url }) => url.slice('/v1/'.length))

/** By its name, or by its path. */
export function routeNamed (name: string): Route | undefined {
  return MINT_ROUTES.find(({ url }) => url === `/v1/${name.replace(/^\/?(v1\/)?/, '')}`)
}

/** Of verified claims, or of `guest`; undefined where it is neither. */
export function callerOf (claims: Json | undefined): Caller | undefined {
  const known = claims === 'guest' ? { iss: GUEST_ISSUER, sub: 'guest' } : claims
  if (known === undefined || !isObject(known)) return undefined
  const { iss: issuer = 'https://issuer.example/', sub: subject = 'someone' } = known
  return createCaller(String(issuer), String(subject), { ...known, iss: issuer, sub: subject })
}

export type Decided = Readonly<{
  /** Null where it did not come so far. */
  policy: string | null
  kind: Kind | null
  granted: Granted | null
  refusal: ApiError | null
}>

type Request = Readonly<{ caller: Caller, route: Route, body: string, safetyIdentifierSecret: string | null }>

export function decide (policies: Policies, { caller, route, body, safetyIdentifierSecret }: Request): Decided {
  let decided: Decided = { policy: null, kind: null, granted: null, refusal: null }
  try {
    const policy = selectPolicy(
      policies, caller, safetyIdentifier(caller.issuer, caller.subject, safetyIdentifierSecret)
    )
    decided = { ...decided, policy: policy.name }
    const { kind, asked } = route.read(body === '' ? undefined : parseStrictly(Buffer.from(body)))
    decided = { ...decided, kind }
    const rules = policy.sessions[kind]
    if (rules === undefined) throw new ApiError('policy_violation')
    return { ...decided, granted: applyPolicy(rules, caller.claims, asked) }
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    return { ...decided, refusal: error }
  }
}

/** What a tool authenticates with is a secret also where the file spells it out: for JSON.stringify. */
export function masked (this: unknown, key: string, value: Json): Json {
  if (key === 'authorization') return '(secret)'
  if (key === 'headers' && isObject(value)) {
    return Object.fromEntries(Object.keys(value).map((name) => [name, '(secret)']))
  }
  return value
}

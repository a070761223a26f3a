// The decision of the service about a request: a mint or a call without limits and without upstream.

import { type Caller, createCaller, GUEST_ISSUER, subjectFrom } from '../callers/caller.ts'
import { claimReader } from '../callers/claims.ts'
import { safetyIdentifier } from '../callers/safety-identifier.ts'
import type { CallerEntry } from '../callers/schema.ts'
import { ApiError } from '../errors.ts'
import { assertOffer } from '../http/sdp.ts'
import { parseStrictly } from '../http/strict-json.ts'
import { isObject, type Json } from '../json.ts'
import type { Asked, Granted } from '../policy/apply.ts'
import type { CallRules } from '../policy/compile.ts'
import { grantCall, type Grantee, grantSecret } from '../policy/grant.ts'
import type { Policies } from '../policy/policy.ts'
import { selectPolicy } from '../policy/select.ts'
import type { Kind } from '../realtime/session.ts'
import { MINT_ROUTES } from '../routes/mint.ts'
import { bodyObject, type ReadBody, readGa } from '../routes/mint-body.ts'

type Decided = Readonly<{ granted: Granted, calls: CallRules | null }>
type GrantBody = (grantee: Grantee, kind: Kind, asked: Asked, body: unknown) => Decided

export type DryRoute = Readonly<{ url: string, legacy: boolean, isCall: boolean, read: ReadBody, grant: GrantBody }>

const ROUTES: readonly DryRoute[] = [
  ...MINT_ROUTES.map(({ url, legacy, read }): DryRoute => ({
    url,
    legacy,
    isCall: false,
    read,
    grant: (grantee, kind, asked) => ({ granted: grantSecret(grantee, kind, asked), calls: null })
  })),
  {
    url: '/v1/realtime/calls',
    legacy: false,
    isCall: true,
    read: (body) => readGa(['realtime'])({ session: partsIn(body).session }),
    grant: (grantee, kind, asked, body) => {
      const { granted, rules } = grantCall(grantee, kind, asked)
      const { sdp } = partsIn(body)
      if (sdp !== undefined) assertOffer(sdp, rules)
      return { granted, calls: rules }
    }
  }
]

/** Replaces secrets by the name of their source: a decision needs no values. */
export const STAND_INS = { env: (name: string) => `($env ${name})`, file: (path: string) => `($file ${path})` }

/** A call's body, written as JSON: the parts of its form by their names, each of which may be left out. */
function partsIn (body: unknown): { sdp: string | undefined, session: Json | undefined } {
  const { sdp, session, ...others } = bodyObject(body)
  if (Object.keys(others).length > 0) throw new ApiError('invalid_request')
  if (sdp !== undefined && typeof sdp !== 'string') throw new ApiError('invalid_request', { param: 'sdp' })
  return { sdp, session }
}

export const ROUTE_NAMES = ROUTES.map(({ url }) => url.slice('/v1/'.length))

/** `name` is a path, with or without `/v1/`. */
export function routeNamed (name: string): DryRoute | undefined {
  return ROUTES.find(({ url }) => url === `/v1/${name.replace(/^\/?(v1\/)?/, '')}`)
}

/**
 * From verified claims, or from `guest`; undefined for anything else. `entries`: the claims' `iss` selects the one that
 * says where the subject is.
 */
export function callerOf (claims: Json | undefined, entries: readonly CallerEntry[] = []): Caller | undefined {
  const given = claims === 'guest' ? { iss: GUEST_ISSUER, sub: 'guest' } : claims
  if (given === undefined || !isObject(given)) return undefined
  const { iss: issuer = 'https://issuer.example/', sub = 'someone' } = given
  const entry = entries.find(({ jwt, forward }) =>
    [jwt?.issuer, forward?.issuer].flat().includes(String(issuer)))
  const subject = String(subjectFrom(claimReader(entry?.jwt?.subject ?? 'sub')(given)) ?? sub)
  const caller = createCaller({ issuer: String(issuer), subject, claims: { ...given, iss: issuer, sub: subject } })
  // An endpoint that names the user in a header may answer no claims.
  const hasUnknownClaims = entry?.forward?.subject_header !== undefined &&
    Object.keys(given).every((name) => name === 'iss' || name === 'sub')
  return hasUnknownClaims ? { ...caller, hasUnknownClaims } : caller
}

export type DryRun = Readonly<{
  /** Null if the request was refused before a policy was selected. */
  policy: string | null
  /** Null if the request was refused before its body was read. */
  kind: Kind | null
  granted: Granted | null
  /** Null also for a mint. */
  calls: CallRules | null
  refusal: ApiError | null
}>

type Request = Readonly<{ caller: Caller, route: DryRoute, body: string, safetyIdentifierSecret: string | null }>

export function dryRun (policies: Policies, { caller, route, body, safetyIdentifierSecret }: Request): DryRun {
  let result: DryRun = { policy: null, kind: null, granted: null, calls: null, refusal: null }
  try {
    const policy = selectPolicy(
      policies, caller, safetyIdentifier(caller.issuer, caller.subject, safetyIdentifierSecret)
    )
    result = { ...result, policy: policy.name }
    const parsed = body === '' ? undefined : parseStrictly(Buffer.from(body))
    const { kind, asked } = route.read(parsed)
    result = { ...result, kind }
    return { ...result, ...route.grant({ policy, claims: caller.claims }, kind, asked, parsed) }
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

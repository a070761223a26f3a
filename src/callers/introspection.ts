// Opaque tokens, introspected by the authorization server (RFC 7662).

import {
  allowInsecureRequests, ClientSecretBasic, customFetch, type CustomFetchOptions, introspectionRequest
} from 'oauth4webapi'
import type { JsonObject } from '../json.ts'
import { addressFault, OutboundError, readObject, type SendRequest } from '../outbound/request.ts'
import { type Caller, createCaller, refused, subjectFrom } from './caller.ts'
import { createChecker } from './checker.ts'
import { type CompileContext, readOneSecret } from './compile.ts'
import { includesAudience, isDate } from './jwt.ts'
import { reviewIssuer } from './jwt-entry.ts'
import type { IntrospectionEntry } from './schema.ts'

const MAX_BYTES = 64 * 1024

export type Introspection = Readonly<{ issuer: string, verify: (token: string) => Caller | Promise<Caller> }>

export function compileIntrospection (entry: IntrospectionEntry, at: string, context: CompileContext): Introspection {
  const { issuer, url, client_id: clientId, insecure_http: insecureHttp } = entry
  const fault = addressFault(url, insecureHttp)
  if (fault !== undefined) context.report.problem(`${at}.url`, fault)
  reviewIssuer(issuer, at, context)
  const secret = readOneSecret(entry, 'client_secret', at, context)
  const check = createChecker(issuer, context)
  const fetchBounded = boundedFetch(context.send)

  async function introspect (token: string, signal: AbortSignal): Promise<Caller> {
    const response = await introspectionRequest(
      { issuer, introspection_endpoint: url }, { client_id: clientId }, ClientSecretBasic(secret), token,
      // Compiling the entry has checked already whether http is allowed.
      { signal, [customFetch]: fetchBounded, [allowInsecureRequests]: true })
    const claims = readObject(await response.bytes())
    if (claims === undefined) throw new OutboundError('not_a_json_object')
    return verifyClaims(claims)
  }

  function verifyClaims (claims: JsonObject): Caller {
    const { active, sub, aud, iss, exp, nbf, token_type: type } = claims
    const nowSeconds = context.clock.wallMs() / 1000
    if (active !== true) throw refused('token_not_active')
    if (iss !== undefined && iss !== issuer) throw refused('issuer_mismatch')
    // If no audience is configured, a response that names one must name our client_id.
    if (entry.audience !== undefined || aud !== undefined) {
      if (!includesAudience(aud, [entry.audience ?? clientId].flat())) throw refused('audience_mismatch')
    }
    if (exp !== undefined && !(isDate(exp) && exp > nowSeconds)) throw refused('token_expired')
    if (nbf !== undefined && !(isDate(nbf) && nbf <= nowSeconds)) throw refused('token_not_yet_valid')
    if (type !== undefined && !(typeof type === 'string' && type.toLowerCase() === 'bearer')) {
      throw refused('token_type_not_accepted')
    }
    if (Object.hasOwn(claims, 'cnf')) throw refused('token_bound_to_key')
    const subject = subjectFrom(sub)
    if (subject === undefined) throw refused('subject_malformed')
    return createCaller({ issuer, subject, claims: { ...claims, iss: issuer, sub: subject }, expiresAt: exp })
  }

  return { issuer, verify: (token) => check(token, (signal) => introspect(token, signal)) }
}

type Fetch = (url: string, options: CustomFetchOptions<'POST', URLSearchParams>) => Promise<Response>

function boundedFetch (send: SendRequest): Fetch {
  return async (url, { method, headers, body, signal }) => {
    const response = await send(
      url, { method, headers, body: String(body), signal: signal as AbortSignal, maxBytes: MAX_BYTES }
    )
    if (response.status !== 200) throw new OutboundError('not_200')
    return new Response(response.body)
  }
}

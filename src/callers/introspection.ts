// Opaque tokens: the authorization server says whose they are (RFC 7662).

import {
  allowInsecureRequests, ClientSecretBasic, customFetch, type CustomFetchOptions,
  introspectionRequest
} from 'oauth4webapi'
import type { JsonObject } from '../json.ts'
import { addressFault, call, OutboundError, readObject } from '../outbound/request.ts'
import { type Caller, createCaller, isSubject, refused } from './caller.ts'
import { createInquiry } from './checker.ts'
import { type Compiling, readSecret } from './compile.ts'
import { isDate, isFor } from './jwt.ts'
import type { IntrospectionEntry } from './schema.ts'

const MAX_BYTES = 64 * 1024

export type Introspection = Readonly<{ issuer: string, judge: (token: string) => Caller | Promise<Caller> }>

export function compileIntrospection (entry: IntrospectionEntry, at: string, compiling: Compiling): Introspection {
  const { issuer, url, client_id: clientId, insecure_http: insecureHttp } = entry
  const fault = addressFault(url, insecureHttp)
  if (fault !== undefined) compiling.report.problem(`${at}.url`, fault)
  const secret = readSecret(entry, 'client_secret', at, compiling)
  const inquire = createInquiry(issuer, compiling)

  async function ask (token: string, signal: AbortSignal): Promise<Caller> {
    const response = await introspectionRequest(
      { issuer, introspection_endpoint: url }, { client_id: clientId }, ClientSecretBasic(secret), token,
      // Whether http will do was judged when the entry was compiled.
      { signal, [customFetch]: boundedFetch, [allowInsecureRequests]: true })
    const answer = readObject(await response.bytes())
    if (answer === undefined) throw new OutboundError('not_a_json_object')
    return judge(answer)
  }

  function judge (answer: JsonObject): Caller {
    const { active, sub, aud, iss, exp, nbf, token_type: type } = answer
    const nowSeconds = compiling.clock.wallMs() / 1000
    if (active !== true) throw refused('token_not_active')
    if (iss !== undefined && iss !== issuer) throw refused('issuer_mismatch')
    // Where no audience is configured, an answer that names one must mean us.
    if (entry.audience !== undefined || aud !== undefined) {
      if (!isFor(aud, [entry.audience ?? clientId].flat())) throw refused('audience_mismatch')
    }
    if (exp !== undefined && !(isDate(exp) && exp > nowSeconds)) throw refused('token_expired')
    if (nbf !== undefined && !(isDate(nbf) && nbf <= nowSeconds)) throw refused('token_not_yet_valid')
    if (type !== undefined && !(typeof type === 'string' && type.toLowerCase() === 'bearer')) {
      throw refused('token_type_not_accepted')
    }
    if (Object.hasOwn(answer, 'cnf')) throw refused('token_bound_to_key')
    if (!isSubject(sub)) throw refused('subject_malformed')
    return createCaller(issuer, sub, { ...answer, iss: issuer }, exp)
  }

  return { issuer, judge: (token) => inquire(token, (signal) => ask(token, signal)) }
}

async function boundedFetch (
  url: string, { method, headers, body, signal }: CustomFetchOptions<'POST', URLSearchParams>
): Promise<Response> {
  const answer = await call(
    url, { method, headers, body: String(body), signal: signal as AbortSignal, maxBytes: MAX_BYTES }
  )
  if (answer.status !== 200) throw new OutboundError('not_200')
  return new Response(answer.body)
}

// Forward auth: the app's own endpoint says who its cookie or header belongs to.

import { addressFault, call, OutboundError, readObject } from '../outbound/request.ts'
import { type Caller, createCaller, isSubject, refused } from './caller.ts'
import { createInquiry } from './checker.ts'
import { claimReader } from './claims.ts'
import type { Compiling } from './compile.ts'
import { type Credential, HEADER_NAME } from './credential.ts'
import type { ForwardEntry } from './schema.ts'

const MAX_BYTES = 64 * 1024
/** They speak of this connection and this body, not of who is asking. */
const NEVER_PASSED = new Set([
  'host', 'connection', 'keep-alive', 'transfer-encoding', 'content-length', 'content-type', 'content-encoding', 'accept-encoding', 'te', 'trailer', 'upgrade', 'expect',
  'proxy-authorization', 'proxy-connection'
])

export function compileForward (entry: ForwardEntry, at: string, compiling: Compiling): Credential {
  const { report } = compiling
  const { issuer, url, cookie, header, insecure_http: insecureHttp } = entry
  const names = entry.pass.map((name) => name.toLowerCase())
  const readSubject = claimReader(entry.subject)
  const carrier = cookie === undefined ? header?.toLowerCase() : 'cookie'

  const fault = addressFault(url, insecureHttp)
  if (fault !== undefined) report.problem(`${at}.url`, fault)
  if ((cookie === undefined) === (header === undefined)) {
    report.problem(at, 'must name the cookie or the header that it is responsible for, and not both')
  }
  if (carrier === 'cookie' && cookie === undefined) {
    report.problem(`${at}.header`, 'must not be cookie: name the one that counts by cookie:')
  }
  if (carrier !== undefined && !names.includes(carrier)) {
    report.problem(`${at}.pass`, `must pass ${carrier}, or the endpoint cannot see the credential`)
  }
  for (const [i, name] of names.entries()) {
    if (NEVER_PASSED.has(name) || !HEADER_NAME.test(name)) {
      report.problem(`${at}.pass.${i}`, 'is not a header that may be passed')
    }
    if (name === 'cookie' && cookie === undefined) {
      report.problem(`${at}.pass.${i}`, 'passes only the cookie that cookie: names')
    }
  }

  const inquire = createInquiry(issuer, compiling)

  async function ask (headers: Record<string, string>, signal: AbortSignal): Promise<Caller> {
    const { status, body } = await call(url, { headers, signal, maxBytes: MAX_BYTES })
    if (status === 401 || status === 403 || (status >= 300 && status < 400)) throw refused('app_refused')
    if (status !== 200) throw new OutboundError('not_200')
    const claims = readObject(body)
    if (claims === undefined) throw new OutboundError('not_a_json_object')
    const subject = readSubject(claims)
    if (!isSubject(subject)) throw refused('app_named_no_subject')
    return createCaller(issuer, subject, { ...claims, iss: issuer, sub: subject })
  }

  return {
    place: cookie === undefined ? { header: carrier ?? '' } : { cookie },
    judge: (presented, request) => {
      const headers: Record<string, string> = {}
      for (const name of names) {
        // Of the cookies only the one that is named: the endpoint needs no other, and neither do we.
        const value = name === carrier
          ? (cookie === undefined ? presented : `${cookie}=${presented}`)
          : request.headers[name]
        if (value !== undefined) headers[name] = String(value)
      }
      return inquire(JSON.stringify(headers), (signal) => ask(headers, signal))
    }
  }
}

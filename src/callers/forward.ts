// Forward auth: the app's own endpoint names the user of a cookie or header.

import { addressFault, OutboundError, readObject } from '../outbound/request.ts'
import { type Caller, createCaller, isSubject, refused } from './caller.ts'
import { createChecker } from './checker.ts'
import { claimReader } from './claims.ts'
import type { CompileContext } from './compile.ts'
import { type Credential, HEADER_NAME } from './credential.ts'
import type { ForwardEntry } from './schema.ts'

const MAX_BYTES = 64 * 1024
/** They describe the connection or the body, not the user. */
const NEVER_PASSED = new Set([
  'host', 'connection', 'keep-alive', 'transfer-encoding', 'te', 'trailer', 'upgrade', 'expect',
  'content-length', 'content-type', 'content-encoding', 'accept-encoding', 'proxy-authorization', 'proxy-connection'
])

export function compileForward (entry: ForwardEntry, at: string, context: CompileContext): Credential {
  const { report } = context
  const { issuer, url, cookie, header, insecure_http: insecureHttp } = entry
  const names = entry.pass.map((name) => name.toLowerCase())
  const readSubject = claimReader(entry.subject)
  const carrier = cookie === undefined ? header?.toLowerCase() : 'cookie'

  const fault = addressFault(url, insecureHttp)
  if (fault !== undefined) report.problem(`${at}.url`, fault)
  if ((cookie === undefined) === (header === undefined)) {
    report.problem(at, 'must name the cookie or the header with the credential, and not both')
  }
  if (carrier === 'cookie' && cookie === undefined) {
    report.problem(`${at}.header`, 'must not be cookie: name the cookie under cookie:')
  }
  if (carrier !== undefined && !names.includes(carrier)) {
    report.problem(`${at}.pass`, `must pass ${carrier}, or the endpoint cannot see the credential`)
  }
  for (const [i, name] of names.entries()) {
    if (NEVER_PASSED.has(name) || !HEADER_NAME.test(name)) {
      report.problem(`${at}.pass.${i}`, 'is not a header that can be passed')
    }
    if (name === 'cookie' && cookie === undefined) {
      report.problem(`${at}.pass.${i}`, 'passes only the cookie that cookie: names')
    }
  }

  const check = createChecker(issuer, context)
  // A proxy would read the credential.
  const isDirect = url.startsWith('http:')

  async function verify (headers: Record<string, string>, signal: AbortSignal): Promise<Caller> {
    const { status, body } = await context.send(url, { headers, signal, maxBytes: MAX_BYTES, isDirect })
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
    verify: (credential, request) => {
      const headers: Record<string, string> = {}
      for (const name of names) {
        // Only the named cookie is passed, not the whole Cookie header.
        const value = name === carrier
          ? (cookie === undefined ? credential : `${cookie}=${credential}`)
          : request.headers[name]
        if (value !== undefined) headers[name] = String(value)
      }
      return check(JSON.stringify(headers), (signal) => verify(headers, signal))
    }
  }
}

// Forward auth: the app's own endpoint names the user of a cookie or header.

import type { JsonObject } from '../json.ts'
import { addressFault, OutboundError, type OutboundResponse, readJson, readObject } from '../outbound/request.ts'
import { type Caller, createCaller, isHeaderSubject, refused, subjectFrom } from './caller.ts'
import { createChecker } from './checker.ts'
import { claimReader, isUserWritable, USER_WRITABLE_SUBJECT } from './claims.ts'
import type { CompileContext } from './compile.ts'
import { type Credential, HEADER_NAME, readHeader, readWholeOrPieces } from './credential.ts'
import type { ForwardEntry } from './schema.ts'

const MAX_BYTES = 64 * 1024
/** Headers that describe the connection or the body, not the user. */
const NEVER_PASSED = new Set([
  'host', 'connection', 'keep-alive', 'transfer-encoding', 'te', 'trailer', 'upgrade', 'expect',
  'content-length', 'content-type', 'content-encoding', 'accept-encoding', 'proxy-authorization', 'proxy-connection'
])

/** Whether requests to a forward endpoint pass no proxy, which could read the credential. */
export function isSentDirectly (url: string): boolean {
  return url.startsWith('http:')
}

export function compileForward (entry: ForwardEntry, at: string, context: CompileContext): Credential {
  const { report } = context
  const { issuer, url, cookie, header, insecure_http: insecureHttp } = entry
  const names = entry.pass.map((name) => name.toLowerCase())
  const identify = entry.subject_header === undefined
    ? identifyByBody(issuer, entry.subject ?? '')
    : identifyByHeader(issuer, entry.subject_header.toLowerCase())
  const carrierHeader = cookie === undefined ? (header ?? '').toLowerCase() : 'cookie'

  const fault = addressFault(url, insecureHttp)
  if (fault !== undefined) report.problem(`${at}.url`, fault)
  if ((cookie === undefined) === (header === undefined)) {
    report.problem(at, 'must name the cookie or the header with the credential, and not both')
  }
  if (carrierHeader === 'cookie' && cookie === undefined) {
    report.problem(`${at}.header`, 'must not be cookie: name the cookie under cookie:')
  }
  if (carrierHeader !== '' && !names.includes(carrierHeader)) {
    report.problem(`${at}.pass`, `must pass ${carrierHeader}, or the endpoint cannot see the credential`)
  }
  for (const [i, name] of names.entries()) {
    if (NEVER_PASSED.has(name) || !HEADER_NAME.test(name)) {
      report.problem(`${at}.pass.${i}`, 'is not a header that can be passed')
    }
    if (name === 'cookie' && cookie === undefined) {
      report.problem(`${at}.pass.${i}`, 'passes only the cookie that cookie: names')
    }
  }

  reviewSubject(entry, names, at, context)

  const check = createChecker(issuer, context)
  const isDirect = isSentDirectly(url)

  async function verify (headers: Record<string, string>, signal: AbortSignal): Promise<Caller> {
    const response = await context.send(url, { headers, signal, maxBytes: MAX_BYTES, isDirect })
    const { status } = response
    if (status === 401 || status === 403 || (status >= 300 && status < 400)) throw refused('app_refused')
    return identify(response)
  }

  return {
    carrier: cookie === undefined ? { header: carrierHeader } : { cookie },
    read: (request) => cookie === undefined ? readHeader(request, carrierHeader) : readWholeOrPieces(request, cookie),
    verify: (credential, request) => {
      const headers: Record<string, string> = {}
      for (const name of names) {
        // Only the named cookie is passed, not the whole Cookie header.
        const value = name === carrierHeader ? credential : request.headers[name]
        if (value !== undefined) headers[name] = String(value)
      }
      return check(JSON.stringify(headers), (signal) => verify(headers, signal))
    }
  }
}

/** Returns the caller that a response names, or throws. */
type Identify = (response: OutboundResponse) => Caller

function identifyByBody (issuer: string, reference: string): Identify {
  const readSubject = claimReader(reference)
  return ({ status, body }) => {
    if (status === 204) throw refused('app_named_no_subject')
    if (status !== 200) throw new OutboundError('not_200')
    const claims = readObject(body)
    // Without a user, some session endpoints answer null.
    if (claims === undefined && readJson(body) === null) throw refused('app_named_no_subject')
    if (claims === undefined) throw new OutboundError('not_a_json_object')
    const subject = subjectFrom(readSubject(claims))
    if (subject === undefined) throw refused('app_named_no_subject')
    return createCaller({ issuer, subject, claims: { ...claims, iss: issuer, sub: subject } })
  }
}

function identifyByHeader (issuer: string, header: string): Identify {
  return ({ status, headers: { [header]: subject = '' }, body }) => {
    if (status < 200 || status > 299) throw new OutboundError('not_2xx')
    if (Array.isArray(subject)) throw refused('app_named_two_subjects')
    if (subject === '') throw refused('app_named_no_subject')
    if (!isHeaderSubject(subject)) throw refused('subject_malformed')
    const claims = readObject(body)
    const own: JsonObject = { ...claims, iss: issuer, sub: subject }
    const caller = createCaller({ issuer, subject, claims: own })
    return claims === undefined ? { ...caller, hasUnknownClaims: true } : caller
  }
}

function reviewSubject (
  { subject, subject_header: header }: ForwardEntry, passed: readonly string[], at: string, { report }: CompileContext
): void {
  if ((subject === undefined) === (header === undefined)) {
    report.problem(`${at}.subject`, 'must be given by exactly one of subject and subject_header')
  }
  if (subject !== undefined && isUserWritable(subject)) report.problem(`${at}.subject`, USER_WRITABLE_SUBJECT)
  if (header === undefined) return
  if (!HEADER_NAME.test(header)) {
    report.problem(`${at}.subject_header`, 'must be a header name of letters, digits and hyphens')
  }
  if (passed.includes(header.toLowerCase())) {
    report.problem(`${at}.pass`, `must not pass ${header.toLowerCase()}, which names the user in the response`)
  }
}

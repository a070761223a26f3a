// What a request presents, read strictly. Node keeps the first of two Authorization headers and joins others with commas,
// so presence and number are judged by the raw headers.

import type { FastifyRequest } from 'fastify'
import { ApiError } from '../errors.ts'
import { refused } from './caller.ts'

const MAX_TOKEN_BYTES = 8 * 1024
/** RFC 6750, section 2.1: the scheme in any case, one space, a token68. */
const BEARER = /^bearer ([\w\-.~+/]+=*)$/i

/** Every value of the header, as sent. `name` is in lower case. */
export function headerValues ({ raw: { rawHeaders } }: FastifyRequest, name: string): string[] {
  const values: string[] = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const found = rawHeaders[i] as string
    if (found.length === name.length && found.toLowerCase() === name) values.push(rawHeaders[i + 1] as string)
  }
  return values
}

/** The token of the one Authorization header, undefined where there is no such header. */
export function readBearer (request: FastifyRequest): string | undefined {
  const values = headerValues(request, 'authorization')
  if (values.length === 0) return undefined
  const [value = '', second] = values
  if (second !== undefined) throw refused('two_credentials')
  if (value.length > 'Bearer '.length + MAX_TOKEN_BYTES) throw refused('token_too_large')
  const token = BEARER.exec(value)?.[1]
  if (token === undefined) throw refused('authorization_malformed')
  return token
}

/** The value of the one cookie of this name, undefined where there is none; of two nobody can say which one the app would read. */
export function readCookie ({ headers: { cookie } }: FastifyRequest, name: string): string | undefined {
  if (cookie === undefined || !cookie.includes(name)) return undefined
  const values = cookie.split(';').map((pair) => pair.trim()).filter((pair) => pair.startsWith(`${name}=`)).map((pair) => pair.slice(name.length + 1))
  if (values.length > 1) throw refused('cookie_sent_twice')
  if (values[0] !== undefined && !/^[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]{1,8192}$/.test(values[0])) throw refused('cookie_malformed')
  return values[0]
}

/**
 * A browser sends cookies for any page that makes it ask, so the page must be one of ours. Throws ApiError `origin_not_allowed`.
 * Browsers leave the Origin out of a same-origin GET alone. That a body is JSON is the parser's to demand.
 */
export function assertOwnPage ({ method, headers }: FastifyRequest, allowedOrigins: ReadonlySet<string>): void {
  const { origin, 'sec-fetch-site': site } = headers
  const isOwn = origin === undefined ? method === 'GET' && site === 'same-origin' : allowedOrigins.has(origin)
  if (!isOwn) throw new ApiError('origin_not_allowed', { reason: 'cookie_without_allowed_origin' })
}

// What a request presents, read strictly. Node keeps the first of two Authorization headers and joins others with commas, and
// some gateways take `X_User` for `X-User`: so presence and number are judged by the raw headers.

import type { FastifyRequest } from 'fastify'
import { ApiError } from '../errors.ts'
import { type Caller, refused } from './caller.ts'

/** One place of a request where a credential may stand, and who judges what is found there. */
export type Credential = Readonly<{
  /** Names of headers are in lower case. */
  place: Readonly<{ header: string } | { cookie: string }>
  judge: (presented: string, request: FastifyRequest) => Caller | Promise<Caller>
}>

/** Without underscores: a gateway that strips the one spelling may let the other one pass. */
export const HEADER_NAME = /^[a-z0-9-]+$/i

/** The value of the one header of this name, undefined where there is none. Throws where it is sent twice, empty or in a variant of its name. */
export function readHeader ({ raw: { rawHeaders } }: FastifyRequest, name: string): string | undefined {
  let value: string | undefined
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const found = rawHeaders[i] as string
    if (found.length !== name.length) continue
    const lower = found.toLowerCase()
    if (lower.replaceAll('_', '-') !== name) continue
    if (value !== undefined || lower !== name) throw refused('header_ambiguous')
    value = rawHeaders[i + 1]
  }
  if (value === '') throw refused('header_empty')
  return value
}

/** The value of the one cookie of this name, undefined where there is none; of two nobody can say which one the app would take. */
export function readCookie ({ headers: { cookie = '' } }: FastifyRequest, name: string): string | undefined {
  if (!cookie.includes(name)) return undefined
  const values = cookie.split(';').map((pair) => pair.trim()).filter((pair) => pair.startsWith(`${name}=`)).map(
    (pair) => pair.slice(name.length + 1)
  )
  if (values.length > 1) throw refused('cookie_ambiguous')
  if (values[0] !== undefined && !/^[\x21-\x7e]+$/.test(values[0])) throw refused('cookie_malformed')
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

// Strict reading of a request's credentials. Node keeps the first of two Authorization headers and joins others with
// commas, and some gateways treat `X_User` as `X-User`, so the raw headers decide what is present, and how often.

import type { FastifyRequest } from 'fastify'
import type { Origins } from '../config/origins.ts'
import { ApiError } from '../errors.ts'
import { type Caller, refused } from './caller.ts'

/** Where a request may carry a credential, and how it is verified. */
export type Credential = Readonly<{
  /** Header names are in lower case. */
  place: Readonly<{ header: string } | { cookie: string }>
  verify: (value: string, request: FastifyRequest) => Caller | Promise<Caller>
}>

/** No underscores: a gateway that strips `x-user` may let `x_user` pass. */
export const HEADER_NAME = /^[a-z0-9-]+$/i

/** Undefined if the header is absent. Throws if it is empty, sent twice, or spelled with underscores. */
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

/** Undefined if the cookie is absent. Throws if it is sent twice, since the app might read the other one. */
export function readCookie ({ headers: { cookie = '' } }: FastifyRequest, name: string): string | undefined {
  if (!cookie.includes(name)) return undefined
  const pairs = cookie.split(';').map((pair) => pair.trim()).filter((pair) => pair.startsWith(`${name}=`))
  const values = pairs.map((pair) => pair.slice(name.length + 1))
  if (values.length > 1) throw refused('cookie_ambiguous')
  if (values[0] !== undefined && !/^[\x21-\x7e]+$/.test(values[0])) throw refused('cookie_malformed')
  return values[0]
}

/**
 * CSRF protection: browsers send cookies with the requests of any page. A missing Origin is accepted only for a
 * same-origin GET, where browsers omit it; the body parser insists on JSON. Throws ApiError `origin_not_allowed`.
 */
export function assertAllowedPage (
  { method, headers }: FastifyRequest, allowedOrigins: Pick<Origins, 'has'>
): void {
  const { origin, 'sec-fetch-site': site } = headers
  const isAllowed = origin === undefined ? method === 'GET' && site === 'same-origin' : allowedOrigins.has(origin)
  if (!isAllowed) throw new ApiError('origin_not_allowed', { reason: 'cookie_without_allowed_origin' })
}

// Strict reading of a request's credentials. Node keeps the first of two Authorization headers and joins others with
// commas, and some gateways treat `X_User` as `X-User`, so the raw headers decide what is present, and how often.

import type { FastifyRequest } from 'fastify'
import type { Origins } from '../config/origins.ts'
import { ApiError } from '../errors.ts'
import { type Caller, refused } from './caller.ts'

/** The header or the cookie that carries a credential. Header names are in lower case. */
export type Carrier = Readonly<{ header: string } | { cookie: string }>

/** A way of carrying a credential, and how it is verified. */
export type Credential = Readonly<{
  carrier: Carrier
  /** Undefined if the request has none there. Throws if it is ambiguous. */
  read: (request: FastifyRequest) => string | undefined
  verify: (value: string, request: FastifyRequest) => Caller | Promise<Caller>
  /** Copies of a token in several carriers are one credential. */
  isToken?: true
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

const MAX_PIECES = 8
const MAX_PIECES_BYTES = 16 * 1024

/** Undefined if the cookie is absent. Throws if it is sent twice, since the app might read the other one. */
export function readCookie (request: FastifyRequest, name: string): string | undefined {
  const [pair, ...others] = cookiesNamed(request, (other) => other === name)
  if (others.length > 0) throw refused('cookie_ambiguous')
  return pair && wellFormed(pair).value
}

/**
 * As sent, `name=value`. Some apps divide a large cookie (`sid.0` and `sid.1`, or `sid_0` and `sid_1`): these pieces
 * count as the cookie if they are complete. Throws if the app might read another one.
 */
export function readWholeOrPieces (request: FastifyRequest, name: string): string | undefined {
  const pairs = cookiesNamed(request, (other) => other === name || PIECE.test(suffixOf(other, name)))
  const [first] = pairs
  if (first === undefined) return undefined
  if (new Set(pairs.map((pair) => pair.name)).size < pairs.length) throw refused('cookie_ambiguous')
  const text = pairs.map((pair) => `${pair.name}=${wellFormed(pair).value}`).join('; ')
  if (first.name === name && pairs.length === 1) return text
  assertPieces(pairs.map((pair) => suffixOf(pair.name, name)))
  if (text.length > MAX_PIECES_BYTES) throw refused('cookie_pieces_too_large')
  return text
}

const PIECE = /^[._]\d+$/

/** The suffix that a piece's name has after the cookie's name. */
function suffixOf (name: string, whole: string): string {
  return name.startsWith(whole) ? name.slice(whole.length) : ''
}

/** In any order, but from 0, without a gap, and all with one separator. */
function assertPieces (suffixes: readonly string[]): void {
  if (suffixes.includes('')) throw refused('cookie_ambiguous')
  if (suffixes.length > MAX_PIECES) throw refused('cookie_pieces_too_many')
  const isComplete = ['.', '_'].some((separator) => suffixes.every((_, i) => suffixes.includes(`${separator}${i}`)))
  if (!isComplete) throw refused('cookie_pieces_incomplete')
}

type Pair = Readonly<{ name: string, value: string }>

function cookiesNamed ({ headers: { cookie = '' } }: FastifyRequest, isNamed: (name: string) => boolean): Pair[] {
  return cookie.split(';').flatMap((text) => {
    const [pair, end] = [text.trim(), text.trim().indexOf('=')]
    const name = pair.slice(0, end)
    return end > 0 && isNamed(name) ? [{ name, value: pair.slice(end + 1) }] : []
  })
}

function wellFormed (pair: Pair): Pair {
  if (!/^[\x21-\x7e]+$/.test(pair.value)) throw refused('cookie_malformed')
  return pair
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

// Requests to servers that authenticate users: no redirects, one deadline for everything, and a cap on the body.

import { type Dispatcher, request } from 'undici'
import { isLoopback, isMetadataHost, METADATA_HOST } from '../config/hosts.ts'
import { NO_PROXIES, type Proxies } from '../config/proxies.ts'
import { isObject, type Json, type JsonObject } from '../json.ts'
import { rejectOnAbort } from './connect.ts'
import { openAgents, routeOf } from './proxy.ts'

export class OutboundError extends Error {
  /** Safe to log. */
  declare readonly code: string
  /** The server could not be reached, or did not respond in time. */
  declare readonly noResponse: boolean

  /** `cause` may quote addresses: the doctor reads it, logs must not. */
  constructor (code: string, noResponse = false, cause?: unknown) {
    super(code, { cause })
    this.code = code
    this.noResponse = noResponse
  }
}

/** `date` is the Date header: the time by the server's clock. */
export type OutboundResponse = Readonly<{
  status: number
  date: string | undefined
  /** By name in lower case; a list for a header that was sent more than once. */
  headers: Readonly<Record<string, string | string[] | undefined>>
  body: Buffer
}>

type RequestOptions = Readonly<{
  method?: Dispatcher.HttpMethod
  headers?: Record<string, string>
  body?: string
  signal: AbortSignal
  maxBytes: number
  /** For requests so rare that a kept connection would be dead by the next one. */
  closes?: boolean
  /** Goes past any proxy. */
  isDirect?: boolean
}>

export type SendRequest = (url: string, options: RequestOptions) => Promise<OutboundResponse>

/** Requests by the proxies that the environment names. */
export function createSender (proxies: Proxies): SendRequest {
  const agentFor = openAgents()
  return (url, options) => {
    const target = new URL(url)
    return sendBy(agentFor(options.isDirect === true ? null : routeOf(proxies, target), target), url, options)
  }
}

export const sendRequest = createSender(NO_PROXIES)

async function sendBy (
  dispatcher: Dispatcher,
  url: string,
  { method = 'GET', headers = {}, body, signal, maxBytes, closes = false }: RequestOptions
): Promise<OutboundResponse> {
  try {
    const sent = request(url, {
      dispatcher,
      method,
      headers: { accept: 'application/json', 'user-agent': 'ephemint', ...headers },
      body: body ?? null,
      signal,
      reset: closes
    })
    const response = await rejectOnAbort(signal, sent)
    const chunks: Buffer[] = []
    let size = 0
    // Leaving the loop early destroys the body, and with it the connection.
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > maxBytes) throw new OutboundError('too_large')
      chunks.push(chunk)
    }
    const date = response.headers.date?.toString()
    return { status: response.statusCode, date, headers: response.headers, body: Buffer.concat(chunks) }
  } catch (error) {
    if (error instanceof OutboundError) throw error
    // A code replaces the error's own message, which may quote the request.
    throw new OutboundError(signal.aborted ? 'timeout' : 'unreachable', true, error)
  }
}

// A BOM stays in the text, so that JSON.parse refuses it.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Claims are read by recursion later on. */
const MAX_DEPTH = 32

/** Parses strict UTF-8 and JSON; undefined for anything else, or for a value nested too deeply. */
export function readJson (bytes: Uint8Array): Json | undefined {
  try {
    const value: Json = JSON.parse(utf8.decode(bytes))
    return isDeeperThan(MAX_DEPTH, value) ? undefined : value
  } catch {
    return undefined
  }
}

/** As `readJson`; also undefined for JSON that is not an object. */
export function readObject (bytes: Uint8Array): JsonObject | undefined {
  const value = readJson(bytes)
  return isObject(value) ? value : undefined
}

function isDeeperThan (levels: number, value: Json): boolean {
  return typeof value === 'object' && value !== null &&
    (levels === 0 || Object.values(value).some((inner) => isDeeperThan(levels - 1, inner)))
}

/** The problem with the URL of an issuer or endpoint, or undefined. */
export function addressFault (address: string, insecureHttp = false): string | undefined {
  const url = URL.parse(address)
  if (url === null) return 'must be a URL'
  if (url.username !== '' || url.password !== '' || url.hash !== '') {
    return 'must not carry a user, a password or a fragment'
  }
  if (isMetadataHost(url.hostname)) return METADATA_HOST
  if (url.protocol === 'https:') return undefined
  if (url.protocol !== 'http:') return 'must be https'
  return insecureHttp || isLoopback(url.hostname.replace(/^\[|\]$/g, ''))
    ? undefined
    : 'must be https; http is for loopback, or with insecure_http: true'
}

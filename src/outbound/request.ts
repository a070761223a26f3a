// Calls to those who vouch for users: no redirects, one deadline for the whole of it, nothing read beyond a cap.

import { Agent, type Dispatcher, request } from 'undici'
import { isLoopback } from '../config/environment.ts'
import { isObject, type Json, type JsonObject } from '../json.ts'
import { CONNECTING, untilOver } from './connect.ts'

/** What goes wrong on the way; the message is a code, fit for a log. */
export class OutboundError extends Error {
  /** Nobody answered in time, or at all. */
  readonly isSilence: boolean

  /** `cause` is for whoever sets things up: it may quote addresses, and no log shows it. */
  constructor (code: string, isSilence = false, cause?: unknown) {
    super(code, { cause })
    this.isSilence = isSilence
  }
}

/** `date` is what the other side's clock says. */
export type Answer = Readonly<{ status: number, date: string, body: Buffer }>

type Call = Readonly<{
  method?: Dispatcher.HttpMethod
  headers?: Record<string, string>
  body?: string
  signal: AbortSignal
  maxBytes: number
  /** For calls so rare that a connection kept for the next one would be found dead. */
  closes?: boolean
}>

const dispatcher = new Agent(CONNECTING)

export async function call (
  url: string, { method = 'GET', headers = {}, body, signal, maxBytes, closes = false }: Call
): Promise<Answer> {
  try {
    const asked = request(url, {
      dispatcher,
      method,
      headers: { accept: 'application/json', 'user-agent': 'ephemint', ...headers },
      body: body ?? null,
      signal,
      reset: closes
    })
    const answer = await untilOver(signal, asked)
    const chunks: Buffer[] = []
    let size = 0
    // Leaving the loop destroys the body, and with it the connection.
    for await (const chunk of answer.body as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > maxBytes) throw new OutboundError('too_large')
      chunks.push(chunk)
    }
    return { status: answer.statusCode, date: String(answer.headers.date), body: Buffer.concat(chunks) }
  } catch (error) {
    if (error instanceof OutboundError) throw error
    // Of an error made elsewhere only the kind is told: its message may quote what was sent.
    throw new OutboundError(signal.aborted ? 'timeout' : 'unreachable', true, error)
  }
}

// A BOM stays in the text, so that JSON.parse refuses it.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** What others say about a user is read by recursion later on. */
const MAX_DEPTH = 32

/** The object that the bytes spell in strict UTF-8 and JSON; undefined where they spell anything else, or something very deep. */
export function readObject (bytes: Uint8Array): JsonObject | undefined {
  try {
    const value: Json = JSON.parse(utf8.decode(bytes))
    return isObject(value) && !isDeeperThan(MAX_DEPTH, value) ? value : undefined
  } catch {
    return undefined
  }
}

function isDeeperThan (levels: number, value: Json): boolean {
  return typeof value === 'object' && value !== null &&
    (levels === 0 || Object.values(value).some((inner) => isDeeperThan(levels - 1, inner)))
}

/** What is wrong with the address of someone who vouches for users; undefined where nothing is. */
export function addressFault (address: string, insecureHttp = false): string | undefined {
  const url = URL.parse(address)
  if (url === null) return 'must be a URL'
  if (url.username !== '' || url.password !== '' || url.hash !== '') {
    return 'must not carry a user, a password or a fragment'
  }
  if (url.protocol === 'https:') return undefined
  if (url.protocol !== 'http:') return 'must be https'
  return insecureHttp || isLoopback(url.hostname.replace(/^\[|\]$/g, ''))
    ? undefined
    : 'must be https; http is for loopback, or with insecure_http: true'
}

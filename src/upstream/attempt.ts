// One request to upstream and its whole answer, or why there is none.

import type { Dispatcher } from 'undici'
import { ApiError } from '../errors.ts'
import type { Json } from '../json.ts'
import { createBatch } from '../turn-batch.ts'
import type { Deadline } from './deadline.ts'

const MAX_ANSWER_HEADERS = 200
const answered = createBatch()

/** Status and headers of an answer, before its body. */
export type Head = Readonly<{
  status: number
  requestId: string | null
  /** Null without a `Retry-After`. */
  retryAfterMs: number | null
  /** Null unless there is exactly one. */
  location: string | null
  /** Upstream's own clock, as the header has it. */
  date: string | null
}>

export type UpstreamAnswer = Head & Readonly<{
  /** Undefined where the body is encoded, or framed as no API answers. */
  text: string | undefined
  /** Undefined where it is not JSON. */
  body: Json | undefined
}>

type AnswerHeaders = Dispatcher.ResponseData['headers']
type Post = Readonly<{
  path: string
  headers: Record<string, string>
  body: string | Buffer
  /** Called as soon as the head is there: what follows may be cut. */
  onHead?: ((head: Head) => void) | undefined
}>

/**
 * Resolves at the deadline, connected or not. By undici's `dispatch`, not `request`: the answer is read whole, and a
 * stream for it costs more than reading it.
 */
export function attempt (
  pool: Pick<Dispatcher, 'dispatch'>, { onHead, ...post }: Post, { isOver, waiting }: Deadline
): Promise<UpstreamAnswer | ApiError> {
  return new Promise((resolve) => {
    let sending: Dispatcher.DispatchController | undefined
    let head: { status: number, headers: AnswerHeaders } | undefined
    const chunks: Buffer[] = []

    const settle = (outcome: UpstreamAnswer | ApiError) => {
      waiting.delete(giveUp)
      resolve(outcome)
    }
    const giveUp = () => {
      settle(new ApiError('upstream_timeout', { reason: 'deadline', mayHaveSucceeded: sending !== undefined }))
      sending?.abort(new Error('deadline'))
    }
    if (isOver()) return giveUp()
    waiting.add(giveUp)

    pool.dispatch({ ...post, method: 'POST' }, {
      onRequestStart: (controller) => {
        // The deadline passed while it waited for a connection.
        if (isOver()) return controller.abort(new Error('deadline'))
        sending = controller
      },
      onResponseStart: (controller, status, headers) => {
        // We expect no 100 and take no 103: whatever sends one is not the API.
        if (status < 200) {
          return controller.abort(new ApiError('upstream_error', { reason: 'informational', mayHaveSucceeded: true }))
        }
        head = { status, headers }
        onHead?.(headOf(head))
      },
      onResponseData: (_controller, chunk) => { chunks.push(chunk) },
      onResponseEnd: () => answered(() => settle(readAnswer(head as NonNullable<typeof head>, chunks))),
      onResponseError: (_controller, cause) =>
        settle(cause instanceof ApiError ? cause : head === undefined ? failure(cause) : answerCut(head, cause))
    })
  })
}

function readAnswer (
  { status, headers }: { status: number, headers: AnswerHeaders }, chunks: readonly Buffer[]
): UpstreamAnswer {
  const plain = headers['content-encoding'] === undefined &&
    [undefined, 'chunked'].includes(headers['transfer-encoding'] as string) &&
    Object.keys(headers).length <= MAX_ANSWER_HEADERS
  const text = plain ? (chunks.length === 1 ? chunks[0] as Buffer : Buffer.concat(chunks)).toString() : undefined
  return { ...headOf({ status, headers }), text, body: text === undefined ? undefined : parse(text) }
}

function headOf ({ status, headers }: { status: number, headers: AnswerHeaders }): Head {
  const { location, date } = headers
  return {
    status,
    requestId: plainHeader(headers['x-request-id']),
    retryAfterMs: retryAfter(headers),
    location: typeof location === 'string' ? location : null,
    date: typeof date === 'string' ? date : null
  }
}

/** Cut short, or larger than anything that we asked for. A success may have minted. */
function answerCut ({ status, headers }: { status: number, headers: AnswerHeaders }, cause: Error): ApiError {
  return new ApiError('upstream_error', {
    reason: 'answer_cut', mayHaveSucceeded: status < 300, upstreamRequestId: plainHeader(headers['x-request-id']), cause
  })
}

/** Why there was no answer. Only a request that never left cannot have minted. */
function failure (cause: Error): ApiError {
  const code = codeOf(cause)
  if (code === 'UND_ERR_CONNECT_TIMEOUT') return new ApiError('upstream_timeout', { reason: 'connect_timeout', cause })
  if (UNREACHABLE.has(code) || code.startsWith('PROXY_')) {
    return new ApiError('upstream_unavailable', { reason: code.toLowerCase(), retryAfterSeconds: 1, cause })
  }
  // An unexpected 100 or 101 is a bad answer and no reset, though it comes as the same error.
  if (code === 'ECONNRESET' || code === 'EPIPE' || (code === 'UND_ERR_SOCKET' && !cause.message.startsWith('bad '))) {
    return new ApiError('upstream_error', { reason: 'connection_reset', mayHaveSucceeded: true, cause })
  }
  const tls = /^(ERR_TLS|CERT_|ERR_SSL|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|EPROTO)/.test(code)
  return new ApiError('upstream_error', { reason: tls ? 'tls' : 'unreadable', mayHaveSucceeded: !tls, cause })
}

const UNREACHABLE = new Set([
  'ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EAI_FAIL', 'EHOSTUNREACH', 'ENETUNREACH', 'EADDRNOTAVAIL', 'ETIMEDOUT',
  'EMFILE', 'ENFILE', 'ENOBUFS', 'EACCES', 'EPERM'
])

export function codeOf (cause: unknown): string {
  const { code, errors } = cause as { code?: unknown, errors?: unknown }
  // Connecting to several addresses fails with all their errors.
  if (Array.isArray(errors) && errors.length > 0) return codeOf(errors[0])
  return typeof code === 'string' ? code : ''
}

/** `retry-after-ms`, or `retry-after` in seconds or as a date: null without either, a second if neither is usable. */
function retryAfter ({ 'retry-after-ms': ms, 'retry-after': after }: AnswerHeaders): number | null {
  if (ms === undefined && after === undefined) return null
  const [inMs, inSeconds] = [ms, after].map((value) =>
    /^\d+(\.\d+)?$/.test(String(value)) ? Number(value) : NaN) as [number, number]
  const pause = [inMs, inSeconds * 1000, Date.parse(String(after)) - Date.now()].find(
    (found) => found >= 0 && found < Infinity
  )
  return pause ?? 1000
}

function plainHeader (value: string | string[] | undefined): string | null {
  return typeof value === 'string' && /^[\x20-\x7e]{1,200}$/.test(value) ? value : null
}

function parse (text: string): Json | undefined {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

// The one call made with the key. Fixed origin, no redirect, total deadline, capped answer, at most one retry.

import { setMaxListeners } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { Pool, type Dispatcher } from 'undici'
import type { Config } from '../config.ts'
import { CONNECT_TIMEOUT_MS, CONNECTING, untilOver } from '../connecting.ts'
import { ApiError } from '../errors.ts'
import { isObject, type Json, type JsonObject } from '../json.ts'
import type { Log } from '../logging.ts'
import { createBreaker } from './breaker.ts'
import type { Key } from './key.ts'

const MAX_ANSWER_BYTES = 256 * 1024
const MAX_ANSWER_HEADERS = 200
const MAX_PAUSE_MS = 60_000

export type Call = Readonly<{
  /** Below the base URL: `/realtime/client_secrets`. */
  path: string
  body: JsonObject
  safetyIdentifier: string
  requestId: string
  /** Of the whole mint, retry and second route included. */
  deadline: Deadline
}>

/** `atMs` is by the monotonic clock. */
export type Deadline = Readonly<{ signal: AbortSignal, atMs: number }>

const SHARED_FOR_MS = 50

/**
 * The deadline of a mint that begins now. Those that begin within 50 ms share one, which is at most so much early: a signal
 * and a timer for each mint would outlive it, and cost a tenth of the processor in collecting them.
 */
export function createDeadlines (ms: number): () => Deadline {
  let shared: Deadline = { signal: AbortSignal.abort(), atMs: -Infinity }
  return () => {
    const now = performance.now()
    if (now + ms - shared.atMs > SHARED_FOR_MS) {
      const signal = AbortSignal.timeout(ms)
      setMaxListeners(0, signal)
      shared = { signal, atMs: now + ms }
    }
    return shared
  }
}

export type Answer = Readonly<{
  status: number
  requestId: string | null
  /** Null where nothing is said. */
  retryAfterMs: number | null
  /** Undefined where it is not plain JSON. */
  body: Json | undefined
}>

export type Client = Readonly<{
  /** Any answer with a status, a usable one or not. Throws ApiError where there is none. */
  call: (call: Call) => Promise<Answer>
  /** What the server says to a GET with the key, which mints nothing: for `npm run doctor`. Rejects with undici's error. */
  ask: (path: string) => Promise<Readonly<{ status: number, date: string }>>
  /** Opens a connection before the first mint needs it. */
  warm: () => Promise<void>
  state: () => Readonly<{ inFlight: number, isBreakerOpen: boolean }>
  close: () => Promise<void>
}>

/** Told of every attempt: its status, or why there was none. */
export type Watch = Readonly<{ attempted: (outcome: string) => void, retried: () => void }>

const UNWATCHED: Watch = { attempted: () => {}, retried: () => {} }

export function createClient (config: Config['upstream'], key: Key, log: Pick<Log, 'error' | 'warn'>, watch = UNWATCHED): Client {
  const pool = new Pool(config.baseUrl.origin, {
    connections: config.concurrency,
    ...CONNECTING,
    // The deadline is a signal: these are renewed by each byte that drips in.
    headersTimeout: 0,
    bodyTimeout: 0,
    maxResponseSize: MAX_ANSWER_BYTES,
    keepAliveTimeout: 60_000,
    // A response to a POST is never to be mistaken for another's.
    pipelining: 1
  })
  const basePath = config.baseUrl.pathname.replace(/\/$/, '')
  const fixedHeaders = {
    'content-type': 'application/json',
    accept: 'application/json',
    ...(config.organization === null ? {} : { 'openai-organization': config.organization }),
    ...(config.project === null ? {} : { 'openai-project': config.project })
  }
  let inFlight = 0
  let pausedUntilMs = -Infinity
  const breaker = createBreaker(log)

  async function guarded (call: Call, body: string): Promise<Answer | ApiError> {
    const outcome = await breaker(() => attempt(call, body))
    watch.attempted(outcome instanceof ApiError ? String(outcome.reason) : String(outcome.status))
    return outcome
  }

  /** What came of it in the end. A key that was rejected, and is the one that we have, is somebody's to replace. */
  function conclude (outcome: Answer | ApiError): Answer {
    if (rejectsKey(outcome)) log.error({ code: 'upstream_rejected', upstream_request_id: (outcome as Answer).requestId }, 'upstream rejects the key')
    // Upstream counts all our mints together: whoever comes next need not ask to be told the same.
    if (isLimited(outcome)) pausedUntilMs = performance.now() + Math.min(MAX_PAUSE_MS, outcome.retryAfterMs)
    return orThrow(outcome)
  }

  async function attempt ({ path, safetyIdentifier, requestId, deadline: { signal } }: Call, body: string): Promise<Answer | ApiError> {
    try {
      const response = await untilOver(signal, pool.request({
        method: 'POST',
        path: basePath + path,
        headers: { ...fixedHeaders, ...key.headers(), 'openai-safety-identifier': safetyIdentifier, 'x-client-request-id': requestId },
        body,
        signal,
        // We expect no 100 and take no 103: whatever sends one is not the API.
        onInfo: () => { throw new ApiError('upstream_error', { reason: 'informational', mayHaveMinted: true }) }
      }))
      return await readAnswer(response)
    } catch (cause) {
      return cause instanceof ApiError ? cause : failure(cause, signal)
    }
  }

  return {
    call: async (call) => {
      if (inFlight >= config.concurrency) throw new ApiError('overloaded', { reason: 'upstream_concurrency', retryAfterSeconds: 1 })
      const pausedMs = pausedUntilMs - performance.now()
      if (pausedMs > 0) throw new ApiError('upstream_rate_limited', { reason: 'upstream_pause', retryAfterSeconds: Math.ceil(pausedMs / 1000) })
      inFlight++
      try {
        const body = JSON.stringify(call.body)
        const sent = key.headers()
        const first = await guarded(call, body)
        const pauseMs = rejectsKey(first) ? await key.reread(sent) ? 0 : null : retryPause(first)
        if (pauseMs === null || performance.now() + pauseMs >= call.deadline.atMs) return conclude(first)
        await wait(pauseMs)
        watch.retried()
        const second = await guarded(call, body)
        // What may have been minted by the first attempt stays unknown, unless the second one did mint.
        return conclude(mayHaveMinted(first) && !hasMinted(second) ? first : second)
      } finally {
        inFlight--
      }
    },
    ask: async (path) => {
      const { statusCode, headers, body } = await pool.request({
        method: 'GET',
        path: basePath + path,
        headers: { ...fixedHeaders, ...key.headers() },
        signal: AbortSignal.timeout(config.timeoutMs)
      })
      // How much it then goes on to say does not matter.
      await body.dump().catch(() => {})
      return { status: statusCode, date: String(headers.date) }
    },
    warm: async () => {
      // Any answer will do: what counts is the connection that it leaves behind.
      await pool.request({ method: 'GET', path: `${basePath}/`, signal: AbortSignal.timeout(CONNECT_TIMEOUT_MS) }).then(({ body }) => body.dump(), () => {})
    },
    state: () => ({ inFlight, isBreakerOpen: breaker.isOpen() }),
    close: () => pool.close()
  }
}

async function readAnswer ({ statusCode, headers, body }: Dispatcher.ResponseData): Promise<Answer> {
  const requestId = plainHeader(headers['x-request-id'])
  let text: string
  try {
    text = await body.text()
  } catch (cause) {
    if (cause instanceof Error && cause.name === 'TimeoutError') throw cause
    // Cut short, or larger than anything that we asked for. A 200 may have minted.
    throw new ApiError('upstream_error', { reason: 'answer_cut', mayHaveMinted: statusCode === 200, upstreamRequestId: requestId, cause })
  }
  const plain = headers['content-encoding'] === undefined && [undefined, 'chunked'].includes(headers['transfer-encoding'] as string) &&
    Object.keys(headers).length <= MAX_ANSWER_HEADERS
  return { status: statusCode, requestId, retryAfterMs: retryAfter(headers), body: plain ? parse(text) : undefined }
}

/** Why there was no answer. Only a request that never left cannot have minted. */
function failure (cause: unknown, signal: AbortSignal): ApiError {
  const code = codeOf(cause)
  if (signal.aborted) return new ApiError('upstream_timeout', { reason: 'deadline', mayHaveMinted: true, cause })
  if (code === 'UND_ERR_CONNECT_TIMEOUT') return new ApiError('upstream_timeout', { reason: 'connect_timeout', cause })
  if (UNREACHABLE.has(code)) return new ApiError('upstream_unavailable', { reason: code.toLowerCase(), retryAfterSeconds: 1, cause })
  // A 100 or 101 that nobody asked for is a bad answer and no reset, though it comes as the same error.
  if (code === 'ECONNRESET' || code === 'EPIPE' || (code === 'UND_ERR_SOCKET' && !(cause as Error).message.startsWith('bad '))) {
    return new ApiError('upstream_error', { reason: 'connection_reset', mayHaveMinted: true, cause })
  }
  const tls = /^(ERR_TLS|CERT_|ERR_SSL|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO|EPROTO)/.test(code)
  return new ApiError('upstream_error', { reason: tls ? 'tls' : 'unreadable', mayHaveMinted: !tls, cause })
}

const UNREACHABLE = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EAI_FAIL', 'EHOSTUNREACH', 'ENETUNREACH', 'EADDRNOTAVAIL', 'ETIMEDOUT', 'EMFILE', 'ENFILE', 'ENOBUFS', 'EACCES', 'EPERM'])
const RETRIED = new Set([408, 409, 500, 502, 503, 504])
const BILLING = /^(insufficient_quota|credit_balance_exhausted|.*_spend_limit_exceeded|organization_usage_limit_exceeded)$/

/** How long to wait before the one retry, or null where none is safe (a duplicate mint is harmless, but each is one more credential). */
function retryPause (outcome: Answer | ApiError): number | null {
  if (outcome instanceof ApiError) {
    return outcome.reason === 'econnrefused' || outcome.reason === 'connection_reset' ? 50 : null
  }
  if (outcome.status === 429) return isBilling(outcome) ? null : outcome.retryAfterMs ?? 500
  return RETRIED.has(outcome.status) ? outcome.retryAfterMs ?? 50 : null
}

function isLimited (outcome: Answer | ApiError): outcome is Answer & { retryAfterMs: number } {
  return !(outcome instanceof ApiError) && outcome.status === 429 && outcome.retryAfterMs !== null && !isBilling(outcome)
}

function rejectsKey (outcome: Answer | ApiError): boolean {
  return !(outcome instanceof ApiError) && (outcome.status === 401 || outcome.status === 403)
}

function mayHaveMinted (outcome: Answer | ApiError): boolean {
  return outcome instanceof ApiError && outcome.mayHaveMinted
}

function hasMinted (outcome: Answer | ApiError): boolean {
  return !(outcome instanceof ApiError) && outcome.status === 200
}

export function isBilling (answer: Answer): boolean {
  return BILLING.test(String(errorOf(answer)?.code))
}

/** OpenAI's error object, where the answer has one. Its message is never relayed: it may quote the key. */
export function errorOf ({ body }: Answer): JsonObject | null {
  return isObject(body) && isObject(body.error) ? body.error : null
}

function orThrow (outcome: Answer | ApiError): Answer {
  if (outcome instanceof ApiError) throw outcome
  return outcome
}

/** `retry-after-ms`, or `retry-after` in seconds or as a date. Null where neither is there, a second where they say nothing usable. */
function retryAfter ({ 'retry-after-ms': ms, 'retry-after': after }: Dispatcher.ResponseData['headers']): number | null {
  if (ms === undefined && after === undefined) return null
  const [inMs, inSeconds] = [ms, after].map((value) => /^\d+(\.\d+)?$/.test(String(value)) ? Number(value) : NaN) as [number, number]
  const pause = [inMs, inSeconds * 1000, Date.parse(String(after)) - Date.now()].find((found) => found >= 0 && found < Infinity)
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

export function codeOf (cause: unknown): string {
  const { code, errors } = cause as { code?: unknown, errors?: unknown }
  // Connecting to several addresses fails with all their errors.
  if (Array.isArray(errors) && errors.length > 0) return codeOf(errors[0])
  return typeof code === 'string' ? code : ''
}

// The one call made with the key. Fixed origin, no redirect, total deadline, capped answer, at most one retry.

import { setTimeout as wait } from 'node:timers/promises'
import { Pool } from 'undici'
import type { Config } from '../config/environment.ts'
import { ApiError } from '../errors.ts'
import { isObject, type JsonObject } from '../json.ts'
import { CONNECT_OPTIONS, CONNECT_TIMEOUT_MS } from '../outbound/connect.ts'
import type { Log } from '../records/log.ts'
import { type Answer, attempt } from './attempt.ts'
import { createUpstreamBreaker } from './breaker.ts'
import type { Deadline } from './deadline.ts'
import type { Key } from './key.ts'

const MAX_ANSWER_BYTES = 256 * 1024
const MAX_PAUSE_MS = 60_000

export type Call = Readonly<{
  /** Below the base URL: `/realtime/client_secrets`. */
  path: string
  body: JsonObject
  safetyIdentifier: string
  requestId: string
  /** Of the whole mint, retry and second route included. */
  deadline: Deadline
  /** A request to upstream begins: from here on it is not free. */
  onAttempt?: () => void
  /** The first attempt may have minted, and a second one did, or may have, too. */
  onUnknown?: (first: ApiError) => void
}>

export type Client = Readonly<{
  /** Any answer with a status, a usable one or not. Throws ApiError where there is none. */
  call: (call: Call) => Promise<Answer>
  /** What the server says to a GET with the key, which mints nothing: for `npm run doctor`. Rejects with undici's error. */
  ask: (path: string) => Promise<Readonly<{ status: number, date: string | undefined }>>
  /** Opens a connection before the first mint needs it. */
  warm: () => Promise<void>
  state: () => Readonly<{ inFlight: number, isBreakerOpen: boolean }>
  close: () => Promise<void>
}>

/** Told of every attempt: its status, or why there was none. */
export type Watch = Readonly<{ attempted: (outcome: string) => void, retried: () => void }>

const UNWATCHED: Watch = { attempted: () => {}, retried: () => {} }

export function createClient (
  config: Config['upstream'], key: Key, log: Pick<Log, 'error' | 'warn'>, watch = UNWATCHED
): Client {
  const pool = new Pool(config.baseUrl.origin, {
    connections: config.concurrency,
    ...CONNECT_OPTIONS,
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
  const breaker = createUpstreamBreaker(log)

  async function guarded (call: Call, body: string): Promise<Answer | ApiError> {
    const { path, safetyIdentifier, requestId, deadline } = call
    const headers = {
      ...fixedHeaders, ...key.headers(), 'openai-safety-identifier': safetyIdentifier, 'x-client-request-id': requestId
    }
    const outcome = await breaker.ask(() => {
      call.onAttempt?.()
      return attempt(pool, { path: basePath + path, headers, body }, deadline)
    }, safetyIdentifier)
    watch.attempted(outcome instanceof ApiError ? String(outcome.reason) : String(outcome.status))
    return outcome
  }

  /** What came of it in the end. A key that was rejected, and is the one that we have, is somebody's to replace. */
  function conclude (outcome: Answer | ApiError): Answer {
    if (rejectsKey(outcome)) {
      log.error(
        { code: 'upstream_rejected', upstream_request_id: (outcome as Answer).requestId }, 'upstream rejects the key'
      )
    }
    // Upstream counts all our mints together: whoever comes next need not ask to be told the same.
    if (isLimited(outcome)) pausedUntilMs = performance.now() + Math.min(MAX_PAUSE_MS, outcome.retryAfterMs)
    return orThrow(outcome)
  }

  return {
    call: async (call) => {
      if (inFlight >= config.concurrency) {
        throw new ApiError('overloaded', { reason: 'upstream_concurrency', retryAfterSeconds: 1 })
      }
      const pausedMs = pausedUntilMs - performance.now()
      if (pausedMs > 0) {
        throw new ApiError(
          'upstream_rate_limited', { reason: 'upstream_pause', retryAfterSeconds: Math.ceil(pausedMs / 1000) }
        )
      }
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
        if (!(first instanceof ApiError) || !first.mayHaveMinted) return conclude(second)
        // What the first attempt may have minted stays unknown, whatever the second one did.
        if (!mayHaveMinted(second)) return conclude(first)
        call.onUnknown?.(first)
        return conclude(second)
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
      return { status: statusCode, date: headers.date?.toString() }
    },
    warm: async () => {
      // Any answer will do: what counts is the connection that it leaves behind.
      await pool.request({ method: 'GET', path: `${basePath}/`, signal: AbortSignal.timeout(CONNECT_TIMEOUT_MS) }).then(
        ({ body }) => body.dump(), () => {}
      )
    },
    state: () => ({ inFlight, isBreakerOpen: breaker.isOpen() }),
    close: () => pool.close()
  }
}

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
  return !(outcome instanceof ApiError) && outcome.status === 429 && outcome.retryAfterMs !== null &&
    !isBilling(outcome)
}

function rejectsKey (outcome: Answer | ApiError): boolean {
  return !(outcome instanceof ApiError) && (outcome.status === 401 || outcome.status === 403)
}

/** Or has: a success that is none of ours to read may have minted all the same. */
function mayHaveMinted (outcome: Answer | ApiError): boolean {
  return outcome instanceof ApiError ? outcome.mayHaveMinted : outcome.status < 300
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

// Requests made with the key. Fixed origin, no redirect, total deadline, capped answer, at most one retry.

import { setTimeout as wait } from 'node:timers/promises'
import { type Clock, systemClock } from '../clock.ts'
import type { Config } from '../config/environment.ts'
import { ApiError } from '../errors.ts'
import { isObject, type JsonObject } from '../json.ts'
import { CONNECT_TIMEOUT_MS } from '../outbound/connect.ts'
import { openPool as openPoolBy } from '../outbound/proxy.ts'
import type { Log } from '../records/log.ts'
import { attempt, type Head, type UpstreamAnswer } from './attempt.ts'
import { type Deadline, deadlineIn } from './deadline.ts'
import type { Key } from './key.ts'
import { createUpstreamBreaker } from './outage.ts'

const MAX_ANSWER_BYTES = 256 * 1024
const MAX_PAUSE_MS = 60_000
const JSON_TYPE = 'application/json'
/** Hang-ups are short and may come all at once, at a stop. */
const DIRECT_CONNECTIONS = 64

/** The headers that carry the key. */
export type KeyHeaders = Readonly<Record<string, string>>

export type UpstreamRequest = Readonly<{
  /** Below the base URL: `/realtime/client_secrets`. */
  path: string
  contentType?: string
  body: string | Buffer
  safetyIdentifier: string
  requestId: string
  /** Total, retry and second route included. */
  deadline: Deadline
  /** False where a second success would do harm: then only a rejected key is tried again, once it was reread. */
  isRepeatable: boolean
  /** Instead of the key. A rejected one is no reason to read the key again. */
  credential?: KeyHeaders
  /** A request to upstream begins: from here on it is not free. */
  onAttempt?: (key: KeyHeaders) => void
  onHead?: (head: Head) => void
  /** The first attempt may have minted, and a second one did, or may have, too. */
  onUnknown?: (first: ApiError) => void
}>

export type Client = Readonly<{
  /** Any answer with a status, a usable one or not. Throws ApiError where there is none. */
  request: (request: UpstreamRequest) => Promise<UpstreamAnswer>
  /** Past breaker, pause and bound, on connections of its own, never retried: for what ends a call. */
  direct: (post: DirectPost) => Promise<UpstreamAnswer | ApiError>
  /** The answer to a GET with the key, which mints nothing: for `npm run doctor`. Rejects with undici's error. */
  ask: (path: string) => Promise<Readonly<{ status: number, date: string | undefined }>>
  /** Opens a connection before the first mint needs it. */
  warm: () => Promise<void>
  state: () => Readonly<{ inFlight: number, isBreakerOpen: boolean }>
  close: () => Promise<void>
}>

export type DirectPost = Readonly<{
  path: string
  key: KeyHeaders
  /** Content-Type and body; none: an empty body. */
  content?: Readonly<{ type: string, body: string | Buffer }>
  safetyIdentifier: string
  withinMs: number
  signal?: AbortSignal | undefined
}>

/** Called with the outcome of every attempt: a status, or why there was none. */
export type Watch = Readonly<{ attempted: (outcome: string) => void, retried: () => void }>

const UNWATCHED: Watch = { attempted: () => {}, retried: () => {} }

export type ClientDeps = Readonly<{
  key: Key
  log: Pick<Log, 'error' | 'warn' | 'debug'>
  watch?: Watch | undefined
  proxy?: URL | null
  /** The clock of `direct`; mints wait in real time. */
  clock?: Clock
  /** Sends each attempt. */
  send?: typeof attempt | undefined
}>

export function createUpstreamClient (
  config: Config['upstream'],
  { key, log, watch = UNWATCHED, proxy = null, clock = systemClock, send = attempt }: ClientDeps
): Client {
  const openPool = (connections: number) => openPoolBy(config.baseUrl.origin, proxy, {
    connections,
    // The deadline is a timer of our own: these are renewed by each byte that drips in.
    headersTimeout: 0,
    bodyTimeout: 0,
    maxResponseSize: MAX_ANSWER_BYTES,
    keepAliveTimeout: 60_000,
    // A response to a POST is never to be mistaken for another's.
    pipelining: 1
  })
  const pool = openPool(config.concurrency)
  let directPool: ReturnType<typeof openPool> | undefined
  const basePath = config.baseUrl.pathname.replace(/\/$/, '')
  const fixedHeaders = accountHeaders(config)
  let inFlight = 0
  let pausedUntilMs = -Infinity
  const breaker = createUpstreamBreaker(log)

  async function guarded (request: UpstreamRequest): Promise<UpstreamAnswer | ApiError> {
    const { path, contentType = JSON_TYPE, body, safetyIdentifier, requestId, deadline, onAttempt, onHead } = request
    const sent = request.credential ?? key.headers()
    const headers = {
      ...fixedHeaders,
      ...sent,
      'content-type': contentType,
      accept: contentType === JSON_TYPE ? JSON_TYPE : '*/*',
      'openai-safety-identifier': safetyIdentifier,
      'x-client-request-id': requestId
    }
    const outcome = await breaker.ask(() => {
      onAttempt?.(sent)
      return send(pool, { path: basePath + path, headers, body, onHead }, deadline)
    }, safetyIdentifier)
    const name = outcome instanceof ApiError ? String(outcome.reason) : String(outcome.status)
    watch.attempted(name)
    log.debug({ request_id: requestId, route: path, outcome: name }, 'upstream was asked')
    return outcome
  }

  /** Logged only if rereading the key did not help: an operator must replace it. */
  function conclude (outcome: UpstreamAnswer | ApiError, { credential }: UpstreamRequest): UpstreamAnswer {
    if (rejectsKey(outcome) && credential === undefined) {
      log.error(
        { code: 'upstream_rejected', upstream_request_id: (outcome as UpstreamAnswer).requestId },
        'upstream rejects the key'
      )
    }
    // Upstream counts all our requests together: the next one would get the same answer.
    if (isLimited(outcome)) pausedUntilMs = performance.now() + Math.min(MAX_PAUSE_MS, outcome.retryAfterMs)
    return orThrow(outcome)
  }

  return {
    request: async (request) => {
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
        const sent = key.headers()
        const first = await guarded(request)
        const pauseMs = rejectsKey(first) && request.credential === undefined
          ? await key.reread(sent) ? 0 : null
          : request.isRepeatable ? retryPause(first) : null
        if (pauseMs === null || performance.now() + pauseMs >= request.deadline.atMs) return conclude(first, request)
        await wait(pauseMs)
        watch.retried()
        const second = await guarded(request)
        if (!(first instanceof ApiError) || !first.mayHaveSucceeded) return conclude(second, request)
        // The second attempt does not tell whether the first one has minted.
        if (!mayHaveSucceeded(second)) return conclude(first, request)
        request.onUnknown?.(first)
        return conclude(second, request)
      } finally {
        inFlight--
      }
    },
    direct: ({ path, key, content, safetyIdentifier, withinMs, signal }) => {
      directPool ??= openPool(DIRECT_CONNECTIONS)
      const headers = {
        ...fixedHeaders,
        ...key,
        ...(content === undefined ? {} : { 'content-type': content.type }),
        'openai-safety-identifier': safetyIdentifier
      }
      const deadline = deadlineIn(withinMs, clock)
      signal?.addEventListener('abort', deadline.end)
      return send(directPool, { path: basePath + path, headers, body: content?.body ?? '' }, deadline)
        .finally(() => {
          deadline.cancel()
          signal?.removeEventListener('abort', deadline.end)
        })
    },
    ask: async (path) => {
      const { statusCode, headers, body } = await pool.request({
        method: 'GET',
        path: basePath + path,
        headers: { ...fixedHeaders, ...key.headers(), accept: JSON_TYPE },
        signal: AbortSignal.timeout(config.timeoutMs)
      })
      // The rest of the body does not matter.
      await body.dump().catch(() => {})
      return { status: statusCode, date: headers.date?.toString() }
    },
    warm: async () => {
      // Any answer will do: the purpose is an open connection.
      await pool.request({ method: 'GET', path: `${basePath}/`, signal: AbortSignal.timeout(CONNECT_TIMEOUT_MS) }).then(
        ({ body }) => body.dump(), () => {}
      )
    },
    state: () => ({ inFlight, isBreakerOpen: breaker.isOpen() }),
    close: async () => { await Promise.all([pool.close(), directPool?.close()]) }
  }
}

export function accountHeaders ({ organization, project }: Config['upstream']): Record<string, string> {
  return {
    ...(organization === null ? {} : { 'openai-organization': organization }),
    ...(project === null ? {} : { 'openai-project': project })
  }
}

const RETRIED = new Set([408, 409, 500, 502, 503, 504])
const BILLING =
  /^(insufficient_quota|credit_balance_exhausted|.*_spend_limit_exceeded|organization_usage_limit_exceeded)$/

/**
 * How long to wait before the one retry, or null where none is safe: a duplicate mint is harmless, but each is one more
 * credential.
 */
function retryPause (outcome: UpstreamAnswer | ApiError): number | null {
  if (outcome instanceof ApiError) {
    return outcome.reason === 'econnrefused' || outcome.reason === 'connection_reset' ? 50 : null
  }
  if (outcome.status === 429) return isBilling(outcome) ? null : outcome.retryAfterMs ?? 500
  return RETRIED.has(outcome.status) ? outcome.retryAfterMs ?? 50 : null
}

function isLimited (outcome: UpstreamAnswer | ApiError): outcome is UpstreamAnswer & { retryAfterMs: number } {
  return !(outcome instanceof ApiError) && outcome.status === 429 && outcome.retryAfterMs !== null &&
    !isBilling(outcome)
}

function rejectsKey (outcome: UpstreamAnswer | ApiError): boolean {
  return !(outcome instanceof ApiError) && (outcome.status === 401 || outcome.status === 403)
}

/** A success that cannot be read may have minted, too. */
function mayHaveSucceeded (outcome: UpstreamAnswer | ApiError): boolean {
  return outcome instanceof ApiError ? outcome.mayHaveSucceeded : outcome.status < 300
}

export function isBilling (answer: UpstreamAnswer): boolean {
  return BILLING.test(String(upstreamError(answer)?.code))
}

/** OpenAI's error object, if the answer has one. Its message is never relayed: it may quote the key. */
export function upstreamError ({ body }: UpstreamAnswer): JsonObject | null {
  return isObject(body) && isObject(body.error) ? body.error : null
}

function orThrow (outcome: UpstreamAnswer | ApiError): UpstreamAnswer {
  if (outcome instanceof ApiError) throw outcome
  return outcome
}

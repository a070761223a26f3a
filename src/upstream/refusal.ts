// Turns an upstream answer that is no success into the refusal for the client.

import { ApiError } from '../errors.ts'
import type { Path } from '../json.ts'
import type { UpstreamAnswer } from './attempt.ts'
import { isBilling, upstreamError } from './client.ts'

/**
 * `complaint` is the client's own name of the field that upstream complains of. An upstream 401 or 403 is our fault and
 * never the user's; a 400 is the user's only if it names a field that they sent.
 */
export function refusal (answer: UpstreamAnswer, complaint: string | null): ApiError {
  const { status, requestId: upstreamRequestId } = answer
  const retryAfterSeconds = clampSeconds(answer.retryAfterMs)
  if (status === 429) {
    return new ApiError('upstream_rate_limited', isBilling(answer)
      ? { reason: 'billing', retryCannotHelp: true, upstreamRequestId }
      : { reason: 'upstream_429', retryAfterSeconds, upstreamRequestId })
  }
  if (status === 400 && complaint !== null) {
    return new ApiError('invalid_request', { param: complaint, reason: 'upstream_400', upstreamRequestId })
  }
  const reason = `upstream_${status}`
  if (status === 503 && answer.retryAfterMs !== null) {
    return new ApiError('upstream_unavailable', { reason, retryAfterSeconds, upstreamRequestId })
  }
  const rejected = status >= 400 && status < 500 && status !== 408 && status !== 409
  return new ApiError(rejected ? 'upstream_rejected' : 'upstream_error', {
    reason,
    retryCannotHelp: rejected,
    // A success that cannot be read may have minted.
    mayHaveSucceeded: status < 300,
    upstreamRequestId
  })
}

/** The path in our request that upstream complains of: `session.tools[0].name` complains of `session.tools`. */
export function complaintIn (answer: UpstreamAnswer): Path | null {
  const param = upstreamError(answer)?.param
  return typeof param === 'string' ? param.replace(/\[.*$/, '').split('.') : null
}

function clampSeconds (ms: number | null): number {
  return Math.min(60, Math.max(1, Math.ceil((ms ?? 1000) / 1000)))
}

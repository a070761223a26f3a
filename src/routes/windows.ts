// The state of the limits: headers of the answers to mints and calls, and the refusal when a window is used up.

import type { FastifyReply } from 'fastify'
import { ApiError } from '../errors.ts'
import {
  isCallers, LEAST_CALL_SECONDS, type Reserved, type Take, tightest, type WindowState
} from '../limits/limits.ts'

/** Sends the caller's tightest window as headers. Throws ApiError `rate_limit_exceeded`. */
export function assertTaken (take: Take, reply: FastifyReply): Take {
  sendTightest(take, reply)
  if (take.taken) return take
  throw exhausted(take.windows.filter(({ remaining }) => remaining === 0), '')
}

/** The same where a call takes its seconds, too. */
export function assertReserved (reserved: Reserved, reply: FastifyReply): Reserved {
  if (reserved.taken || reserved.windows.some(({ remaining }) => remaining === 0)) {
    assertTaken(reserved, reply)
    return reserved
  }
  sendTightest(reserved, reply)
  throw exhausted(reserved.secondsWindows.filter(({ remaining }) => remaining < LEAST_CALL_SECONDS), 'call_seconds_')
}

function sendTightest ({ windows }: Take, reply: FastifyReply): void {
  const own = tightest(windows)
  if (own === null) return
  reply.headers(
    { 'ratelimit-limit': own.limit, 'ratelimit-remaining': own.remaining, 'ratelimit-reset': seconds(own.resetMs) }
  )
}

/** The exhausted window that ends last decides how long to wait. */
function exhausted (windows: readonly WindowState[], prefix: string): ApiError {
  const [empty] = [...windows].sort((a, b) => b.resetMs - a.resetMs) as [WindowState, ...WindowState[]]
  return new ApiError('rate_limit_exceeded', {
    reason: `${isCallers(empty) ? '' : 'total_'}${prefix}${empty.window}`,
    retryAfterSeconds: seconds(empty.resetMs),
    // An SDK may wait for a minute, not for hours.
    retryCannotHelp: empty.window !== 'minute'
  })
}

function seconds (ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000))
}

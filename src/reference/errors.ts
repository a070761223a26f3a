// Errors in the API reference: the constant message of each code, and what to do about it.

import { ApiError, type ErrorCode } from '../errors.ts'

const WAIT = 'Wait for `Retry-After`.'

const ADVICE: Readonly<Record<ErrorCode, string>> = {
  invalid_json: 'Fix the request.',
  invalid_request: 'Fix the request: at `param`, if there is one.',
  invalid_credentials: 'Sign in again, then retry once. The log of the service says which check failed.',
  origin_not_allowed: 'The operator must add the page\'s origin to CORS_ORIGINS.',
  no_policy: 'Do not retry.',
  caller_blocked: 'Do not retry.',
  policy_violation: 'Leave out the field at `param`. Without one, the policy grants no such request.',
  not_found: 'Check the path.',
  method_not_allowed: 'See `Allow`.',
  call_in_progress: 'Hang up the other call first, or wait for its end.',
  body_too_large: 'The limit is 32 KiB; of an SDP offer 64 KiB, of a form 96 KiB.',
  unsupported_media_type: 'JSON must also be UTF-8. A call takes application/sdp or multipart/form-data.',
  rate_limit_exceeded: `A limit of the policy or of the client's address is used up. ${WAIT}`,
  upstream_rate_limited: 'Its account may be out of credit. Wait for `Retry-After`, if there is one.',
  internal_error: 'This is a bug: report it with the request id.',
  upstream_rejected: 'The operator must check the API key and the policy.',
  upstream_error: 'Retry.',
  upstream_unavailable: WAIT,
  identity_unavailable: WAIT,
  limits_unavailable: WAIT,
  audit_unavailable: `No secret is handed out. ${WAIT}`,
  calls_full: WAIT,
  overloaded: WAIT,
  draining: 'Retry.',
  upstream_timeout: 'Retry.'
}

export function descriptionOf (code: ErrorCode): string {
  return `${new ApiError(code).message} ${ADVICE[code]}`
}

export function statusOf (code: ErrorCode): number {
  return new ApiError(code).statusCode
}

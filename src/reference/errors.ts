// What each code means to whoever gets it, and what helps.

import { ApiError, type ErrorCode } from '../errors.ts'

export const MEANINGS: Readonly<Record<ErrorCode, string>> = {
  invalid_json: 'The body is no JSON. Mend the request.',
  invalid_request: 'The body is no session request, or the realtime API does not take what stands at `param`. Mend the request.',
  invalid_credentials: 'No valid token or cookie; which check failed is in the log alone. Sign in anew, then once more.',
  origin_not_allowed: 'The page\'s origin is not in CORS_ORIGINS: for the operator to mend.',
  no_policy: 'No policy is for this caller. Do not retry.',
  caller_blocked: 'This caller is blocked. Do not retry.',
  policy_violation: 'The policy does not permit `param`. Leave it out.',
  not_found: 'No route has this path.',
  method_not_allowed: 'The route answers other methods: see `Allow`.',
  body_too_large: 'The body is larger than 32 KiB.',
  unsupported_media_type: 'The body is not application/json in UTF-8, or compressed.',
  rate_limit_exceeded: 'A limit of the policy, or of the address, is used up. Wait for `Retry-After`.',
  upstream_rate_limited: 'OpenAI limits this service, or its account is out of credit. Wait for `Retry-After`, if there is one.',
  internal_error: 'A bug. Report it with the request id.',
  upstream_rejected: 'OpenAI does not take our key, or our request: for the operator to mend.',
  upstream_error: 'OpenAI\'s answer cannot be used. Retry.',
  upstream_unavailable: 'OpenAI cannot be reached. Wait for `Retry-After`.',
  identity_unavailable: 'Nobody can say at the moment whether the credential is good. Wait for `Retry-After`.',
  limits_unavailable: 'Nobody can say at the moment what remains of the limits. Wait for `Retry-After`.',
  audit_unavailable: 'The decision cannot be written down, so nothing is handed out. Wait for `Retry-After`.',
  overloaded: 'There is too much to do. Wait for `Retry-After`.',
  draining: 'This process is shutting down. Retry.',
  upstream_timeout: 'OpenAI did not answer in time. Retry.'
}

export function statusOf (code: ErrorCode): number {
  return new ApiError(code).statusCode
}

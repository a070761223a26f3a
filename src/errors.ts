// The error catalogue: every refusal has its code, status and constant message here and nowhere else.
// The envelope is OpenAI's, so that their SDKs raise the right class.

const invalid = 'invalid_request_error'
const permission = 'permission_error'
const api = 'api_error'

const CATALOGUE = {
  invalid_json: [400, invalid, 'The request body is not valid JSON.'],
  invalid_request: [400, invalid, 'The request is not a valid session request.'],
  invalid_credentials: [401, 'authentication_error', 'The request presents no valid credential.'],
  origin_not_allowed: [403, permission, 'This origin may not call this service.'],
  no_policy: [403, permission, 'No policy grants this caller a session.'],
  caller_blocked: [403, permission, 'This caller is blocked.'],
  policy_violation: [403, permission, 'The policy does not permit what this request asks for.'],
  not_found: [404, invalid, 'There is nothing at this address.'],
  method_not_allowed: [405, invalid, 'This address does not answer this method.'],
  call_in_progress: [409, invalid, 'This caller has as many calls as the policy permits at a time.'],
  body_too_large: [413, invalid, 'The request body is too large.'],
  unsupported_media_type: [415, invalid, 'The request body has a type that is not taken here, or is compressed.'],
  rate_limit_exceeded: [429, 'rate_limit_error', 'Too many requests.'],
  upstream_rate_limited: [429, 'rate_limit_error', 'The realtime API is limiting this service.'],
  internal_error: [500, api, 'The service failed.'],
  upstream_rejected: [502, api, 'The realtime API rejected the request of this service.'],
  upstream_error: [502, api, 'The realtime API did not answer as expected.'],
  upstream_unavailable: [503, api, 'The realtime API cannot be reached.'],
  identity_unavailable: [503, api, 'Credentials cannot be checked at the moment.'],
  limits_unavailable: [503, api, 'Limits cannot be checked at the moment.'],
  audit_unavailable: [503, api, 'The decision cannot be recorded at the moment.'],
  calls_full: [503, api, 'The service has as many calls as it can hold at the moment.'],
  overloaded: [503, api, 'The service is overloaded.'],
  draining: [503, api, 'The service is shutting down.'],
  upstream_timeout: [504, api, 'The realtime API did not answer in time.']
} as const

export type ErrorCode = keyof typeof CATALOGUE

export const ERROR_CODES = Object.keys(CATALOGUE) as ErrorCode[]

/** Cap for a `param`: its names are chosen by the client. */
export const MAX_PARAM_LENGTH = 256

export type ErrorDetails = {
  /** The object path that the client sent, dotted; null where the fault has none. */
  param?: string | null
  /** Why, as a code for the log and the audit line; the client never sees it. */
  reason?: string | undefined
  retryAfterSeconds?: number | undefined
  /** Sent as `x-should-retry: false`: without it the SDKs retry 408, 409, 429 and 5xx. */
  retryCannotHelp?: boolean
  /** Upstream may have minted, or created the call: its answer was lost. */
  mayHaveSucceeded?: boolean
  upstreamRequestId?: string | null
  /** Methods that the path supports. */
  allow?: string
  cause?: unknown
}

export class ApiError extends Error {
  declare readonly code: ErrorCode
  declare readonly statusCode: number
  declare readonly param: string | null
  declare readonly reason: string | undefined
  declare readonly retryAfterSeconds: number | undefined
  declare readonly retryCannotHelp: boolean
  declare readonly mayHaveSucceeded: boolean
  declare readonly upstreamRequestId: string | null
  declare readonly allow: string | undefined

  constructor (code: ErrorCode, details: ErrorDetails = {}) {
    super(CATALOGUE[code][2], { cause: details.cause })
    this.code = code
    this.statusCode = CATALOGUE[code][0]
    this.param = details.param ?? null
    this.reason = details.reason
    this.retryAfterSeconds = details.retryAfterSeconds
    // A call lasts longer than any SDK waits.
    this.retryCannotHelp = details.retryCannotHelp ?? code === 'call_in_progress'
    this.mayHaveSucceeded = details.mayHaveSucceeded ?? false
    this.upstreamRequestId = details.upstreamRequestId ?? null
    this.allow = details.allow
  }
}

export type ErrorEnvelope = { error: { message: string, type: string, code: ErrorCode, param: string | null } }

export function envelope (code: ErrorCode, param: string | null = null): ErrorEnvelope {
  const [, type, message] = CATALOGUE[code]
  return { error: { message, type, code, param } }
}

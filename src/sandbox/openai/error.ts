// Refusals as OpenAI writes them: the same envelope, codes and params, so that a client handles both alike.

import type { JsonObject } from '../../json.ts'

export class OpenaiError extends Error {
  readonly statusCode: number
  readonly code: string | null
  readonly param: string | null

  constructor (statusCode: number, message: string, code: string | null = null, param: string | null = null) {
    super(message)
    this.statusCode = statusCode
    this.code = code
    this.param = param
  }
}

export function openaiEnvelope ({ statusCode, message, code, param }: OpenaiError): { error: JsonObject } {
  return { error: { message, type: statusCode < 500 ? 'invalid_request_error' : 'server_error', param, code } }
}

export function incorrectKey (key: string): OpenaiError {
  // OpenAI's message echoes part of the key: a service that relays it would be found out by the tests.
  const masked = key.length < 16
    ? '*'.repeat(key.length)
    : `${key.slice(0, 8)}${'*'.repeat(key.length - 12)}${key.slice(-4)}`
  return new OpenaiError(
    401,
    `Incorrect API key provided: ${masked}. You can find your API key at https://platform.openai.com/account/api-keys.`,
    'invalid_api_key'
  )
}

export function unknownParameter (param: string): OpenaiError {
  return new OpenaiError(400, `Unknown parameter: '${param}'.`, 'unknown_parameter', param)
}

export function missingParameter (param: string): OpenaiError {
  return new OpenaiError(400, `Missing required parameter: '${param}'.`, 'missing_required_parameter', param)
}

export function invalidValue (param: string, message = `Invalid value for '${param}'.`): OpenaiError {
  return new OpenaiError(400, message, 'invalid_value', param)
}

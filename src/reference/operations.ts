// The routes of the public listener for the API reference: their schemas, examples and refusals.

import type Type from 'typebox'
import type { ErrorCode } from '../errors.ts'
import { HealthAnswer } from '../routes/health.ts'
import { MINT_ROUTES } from '../routes/mint.ts'
import { PolicyAnswer } from '../routes/policy.ts'
import { ANSWERS, type Examples, REQUESTS } from './examples.ts'

export type Operation = Readonly<{
  method: 'get' | 'post'
  path: string
  id: string
  summary: string
  description: string
  /** `schema` is a name in requests.ts. */
  request: Readonly<{ schema: string, examples: Examples }> | null
  answer: Readonly<{ name: string, schema: Type.TSchema, examples: Examples }>
  mints: boolean
  refusals: readonly ErrorCode[]
  /** The `param` in the example of a policy_violation. */
  param: string
  isPublic: boolean
}>

const ADMISSION: readonly ErrorCode[] = [
  'invalid_request', 'invalid_credentials', 'origin_not_allowed', 'no_policy', 'caller_blocked', 'rate_limit_exceeded',
  'internal_error', 'identity_unavailable', 'limits_unavailable', 'overloaded', 'draining'
]
const MINTING: readonly ErrorCode[] = [
  'invalid_json', ...ADMISSION, 'policy_violation', 'body_too_large', 'unsupported_media_type',
  'upstream_rate_limited', 'upstream_rejected', 'upstream_error', 'upstream_unavailable', 'audit_unavailable',
  'upstream_timeout'
]

type MintText = Pick<Operation, 'id' | 'summary' | 'description' | 'param'> & { request: string, answer: string }

const SECRET = 'The secret opens sessions at the URL in `X-Realtime-Url` until it expires. ' +
  'Without a body, or with `{}`, the policy\'s own config is minted.'
const BETA = 'A route of the beta API, which OpenAI retired: its secrets open sessions of the GA API. '

const MINTS: Readonly<Record<string, MintText>> = {
  '/v1/realtime/client_secrets': {
    id: 'createClientSecret',
    summary: 'Mint a client secret',
    description: `For a realtime or a transcription session. ${SECRET}`,
    request: 'ClientSecretRequest',
    answer: 'ClientSecret',
    param: 'session.audio.output.voice'
  },
  '/v1/realtime/translations/client_secrets': {
    id: 'createTranslationClientSecret',
    summary: 'Mint a client secret for a translation',
    description: SECRET,
    request: 'TranslationClientSecretRequest',
    answer: 'TranslationClientSecret',
    param: 'session.audio.output.language'
  },
  '/v1/realtime/sessions': {
    id: 'createSession',
    summary: 'Mint a client secret for a client of the beta API',
    description: BETA + SECRET,
    request: 'LegacySessionRequest',
    answer: 'LegacySession',
    param: 'voice'
  },
  '/v1/realtime/transcription_sessions': {
    id: 'createTranscriptionSession',
    summary: 'Mint a client secret for a transcription client of the beta API',
    description: BETA + SECRET,
    request: 'LegacyTranscriptionSessionRequest',
    answer: 'LegacyTranscriptionSession',
    param: 'input_audio_transcription.language'
  }
}

export const OPERATIONS: readonly Operation[] = [
  ...MINT_ROUTES.map(({ url, answer }): Operation => {
    const { request, answer: name, ...text } = MINTS[url] as MintText
    return {
      ...text,
      method: 'post',
      path: url,
      request: { schema: request, examples: REQUESTS[text.id] as Examples },
      answer: { name, schema: answer, examples: ANSWERS[text.id] as Examples },
      mints: true,
      refusals: MINTING,
      isPublic: false
    }
  }),
  {
    method: 'get',
    path: '/v1/realtime/policy',
    id: 'getPolicy',
    summary: 'Show what the caller may request',
    description: 'For each kind of session: the paths that may be set, each with the JSON Schema of its value; ' +
      'prompts; aliases of models; the lifetime of a secret. Also what remains of the limits. ' +
      'Fixed values are not shown.',
    request: null,
    answer: { name: 'Policy', schema: PolicyAnswer, examples: ANSWERS.getPolicy as Examples },
    mints: false,
    refusals: ADMISSION,
    param: '',
    isPublic: false
  },
  ...(['livez', 'readyz'] as const).map((name): Operation => ({
    method: 'get',
    path: `/${name}`,
    id: name,
    summary: name === 'livez' ? 'Check that the process is alive' : 'Check that it can mint',
    description: name === 'livez'
      ? 'For the supervisor that restarts the process.'
      : 'For the load balancer: 503 while the process shuts down, or waits for the dependencies in `waiting_for`.',
    request: null,
    answer: { name: 'Health', schema: HealthAnswer, examples: ANSWERS[name] as Examples },
    mints: false,
    refusals: ['origin_not_allowed', 'internal_error', 'draining'],
    param: '',
    isPublic: true
  }))
]

// What the public listener serves, as the reference tells it: for each route its schemas, its examples and its refusals.

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
  /** The name of its schema among those of requests.ts. */
  request: Readonly<{ schema: string, examples: Examples }> | null
  answer: Readonly<{ name: string, schema: Type.TSchema, examples: Examples }>
  mints: boolean
  /** Null where anyone may ask. */
  refusals: readonly ErrorCode[]
  /** The parameter that an example of a refusal names. */
  param: string
  isPublic: boolean
}>

const ADMISSION: readonly ErrorCode[] = [
  'invalid_request', 'invalid_credentials', 'origin_not_allowed', 'no_policy', 'caller_blocked', 'rate_limit_exceeded',
  'internal_error', 'identity_unavailable', 'limits_unavailable', 'overloaded', 'draining'
]
const MINTING: readonly ErrorCode[] = [
  'invalid_json', ...ADMISSION, 'policy_violation', 'body_too_large', 'unsupported_media_type', 'upstream_rate_limited', 'upstream_rejected',
  'upstream_error', 'upstream_unavailable', 'audit_unavailable', 'upstream_timeout'
]

type Told = Pick<Operation, 'id' | 'summary' | 'description' | 'param'> & { request: string, answer: string }

const SECRET = 'The secret opens sessions until it expires, at the address that `X-Realtime-Url` names. No body and `{}` mint with the policy\'s own config.'
const BETA = 'A route of the beta, which OpenAI retired: what it mints connects to the GA API only. '

const MINTS: Readonly<Record<string, Told>> = {
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
    summary: 'Mint as clients of the beta do',
    description: BETA + SECRET,
    request: 'LegacySessionRequest',
    answer: 'LegacySession',
    param: 'voice'
  },
  '/v1/realtime/transcription_sessions': {
    id: 'createTranscriptionSession',
    summary: 'Mint for a transcription as clients of the beta do',
    description: BETA + SECRET,
    request: 'LegacyTranscriptionSessionRequest',
    answer: 'LegacyTranscriptionSession',
    param: 'input_audio_transcription.language'
  }
}

export const OPERATIONS: readonly Operation[] = [
  ...MINT_ROUTES.map(({ url, answer }): Operation => {
    const { request, answer: name, ...told } = MINTS[url] as Told
    return {
      ...told,
      method: 'post',
      path: url,
      request: { schema: request, examples: REQUESTS[told.id] as Examples },
      answer: { name, schema: answer, examples: ANSWERS[told.id] as Examples },
      mints: true,
      refusals: MINTING,
      isPublic: false
    }
  }),
  {
    method: 'get',
    path: '/v1/realtime/policy',
    id: 'getPolicy',
    summary: 'What the caller may ask for',
    description: 'For each kind of session the paths that may be set, with the schema that their values must meet; the prompts that may be named; the aliases of models that are understood; for how long a secret may open sessions; and what remains of the limits. Nothing that is fixed is told.',
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
    summary: name === 'livez' ? 'Whether the process is alive' : 'Whether it can mint',
    description: name === 'livez'
      ? 'For the supervisor that restarts it.'
      : 'For the balancer: 503 while it drains, or waits for the parts that are named.',
    request: null,
    answer: { name: 'Health', schema: HealthAnswer, examples: ANSWERS[name] as Examples },
    mints: false,
    refusals: ['origin_not_allowed', 'internal_error', 'draining'],
    param: '',
    isPublic: true
  }))
]

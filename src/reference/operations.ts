// The routes of the public listener for the API reference: their schemas, examples and refusals.

import Type from 'typebox'
import type { ErrorCode } from '../errors.ts'
import { CallAnswer, CallList } from '../routes/calls.ts'
import { HealthAnswer } from '../routes/health.ts'
import { MINT_ROUTES } from '../routes/mint.ts'
import { PolicyAnswer } from '../routes/policy.ts'
import { ANSWERS, type Examples, REQUESTS } from './examples.ts'

export type Operation = Readonly<{
  tag: 'Mint' | 'Call' | 'Policy' | 'Health'
  method: 'get' | 'post'
  path: string
  id: string
  summary: string
  description: string
  /** By content type; `schema` is a name in requests.ts. */
  request: Readonly<{ isRequired: boolean, content: Readonly<Record<string, RequestContent>> }> | null
  answer: OperationAnswer
  /** Whether it takes from the limits, and answers with their headers. */
  isLimited: boolean
  refusals: readonly ErrorCode[]
  /** The `param` in the example of a policy_violation. */
  param: string
}>

type RequestContent = Readonly<{ schema: string, examples: Examples }>
type OperationAnswer = Readonly<{
  status: 200 | 201
  type: string
  description: string
  headers: readonly string[]
  /** The name of the schema. */
  name: string
  schema: Type.TSchema
  examples: Examples
}>

const ADMISSION: readonly ErrorCode[] = [
  'invalid_request', 'invalid_credentials', 'origin_not_allowed', 'no_policy', 'caller_blocked', 'rate_limit_exceeded',
  'internal_error', 'identity_unavailable', 'overloaded', 'draining'
]
const MINTING: readonly ErrorCode[] = [
  'invalid_json', ...ADMISSION, 'policy_violation', 'body_too_large', 'unsupported_media_type',
  'upstream_rate_limited', 'upstream_rejected', 'upstream_error', 'upstream_unavailable', 'audit_unavailable',
  'limits_unavailable', 'upstream_timeout'
]

const CALLING: readonly ErrorCode[] = [...MINTING, 'call_in_progress', 'calls_full']

const JSON_ANSWER = { status: 200, type: 'application/json', description: 'The current state.', headers: [] } as const

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
  ...MINT_ROUTES.map(({ url, answerSchema }): Operation => {
    const { request: schema, answer: name, ...text } = MINTS[url] as MintText
    return {
      ...text,
      tag: 'Mint',
      method: 'post',
      path: url,
      request: {
        isRequired: false, content: { 'application/json': { schema, examples: REQUESTS[text.id] as Examples } }
      },
      answer: {
        ...JSON_ANSWER,
        description: 'The secret, and the session that it opens.',
        headers: ['X-Realtime-Url'],
        name,
        schema: answerSchema,
        examples: ANSWERS[text.id] as Examples
      },
      isLimited: true,
      refusals: MINTING
    }
  }),
  {
    tag: 'Call',
    method: 'post',
    path: '/v1/realtime/calls',
    id: 'createCall',
    summary: 'Make a call',
    description: 'The service creates the call with its own key, follows it, and ends it as the policy says. ' +
      'The client gets no credential. The body is the WebRTC offer, with the policy\'s own session; ' +
      'or a form of the offer and a session.',
    request: {
      isRequired: true,
      content: {
        'application/sdp': { schema: 'SdpOffer', examples: REQUESTS.createCall as Examples },
        'multipart/form-data': { schema: 'CallForm', examples: REQUESTS.createCallForm as Examples }
      }
    },
    answer: {
      status: 201,
      type: 'application/sdp',
      description: 'The WebRTC answer. `Location` is the address of the call.',
      headers: ['Location', 'X-Call-Seconds'],
      name: 'SdpAnswer',
      schema: Type.String(),
      examples: ANSWERS.createCall as Examples
    },
    isLimited: true,
    refusals: CALLING,
    param: 'sdp'
  },
  {
    tag: 'Call',
    method: 'get',
    path: '/v1/realtime/calls',
    id: 'listCalls',
    summary: 'List the caller\'s live calls',
    description: 'Those that were answered and are not over.',
    request: null,
    answer: { ...JSON_ANSWER, name: 'CallList', schema: CallList, examples: ANSWERS.listCalls as Examples },
    isLimited: false,
    refusals: ADMISSION,
    param: ''
  },
  {
    tag: 'Call',
    method: 'get',
    path: '/v1/realtime/calls/{id}',
    id: 'getCall',
    summary: 'Read a call',
    description: 'Also for 5 minutes after its end. The call of another caller is not found.',
    request: null,
    answer: { ...JSON_ANSWER, name: 'Call', schema: CallAnswer, examples: ANSWERS.getCall as Examples },
    isLimited: false,
    refusals: [...ADMISSION, 'not_found'],
    param: ''
  },
  {
    tag: 'Call',
    method: 'post',
    path: '/v1/realtime/calls/{id}/hangup',
    id: 'hangUpCall',
    summary: 'Hang up',
    description: 'Answers when the end is confirmed, or after 5 seconds. May be repeated. Takes no body, or `{}`.',
    request: null,
    answer: { ...JSON_ANSWER, name: 'Call', schema: CallAnswer, examples: ANSWERS.hangUpCall as Examples },
    isLimited: false,
    refusals: [...ADMISSION, 'not_found', 'invalid_json', 'body_too_large', 'unsupported_media_type'],
    param: ''
  },
  {
    tag: 'Policy',
    method: 'get',
    path: '/v1/realtime/policy',
    id: 'getPolicy',
    summary: 'Show what the caller may request',
    description: 'For each kind of session: the paths that may be set, each with the JSON Schema of its value; ' +
      'prompts; aliases of models; the lifetime of a secret; how long calls may last. ' +
      'Also what remains of the limits. Fixed values are not shown.',
    request: null,
    answer: { ...JSON_ANSWER, name: 'Policy', schema: PolicyAnswer, examples: ANSWERS.getPolicy as Examples },
    isLimited: false,
    refusals: ADMISSION,
    param: ''
  },
  ...(['livez', 'readyz'] as const).map((name): Operation => ({
    tag: 'Health',
    method: 'get',
    path: `/${name}`,
    id: name,
    summary: name === 'livez' ? 'Check that the process is alive' : 'Check that it can mint',
    description: name === 'livez'
      ? 'For the supervisor that restarts the process.'
      : 'For the load balancer: 503 while the process shuts down, or waits for the dependencies in `waiting_for`.',
    request: null,
    answer: { ...JSON_ANSWER, name: 'Health', schema: HealthAnswer, examples: ANSWERS[name] as Examples },
    isLimited: false,
    refusals: ['origin_not_allowed', 'internal_error', 'draining'],
    param: ''
  }))
]

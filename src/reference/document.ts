// The OpenAPI 3.1 document. Assembled here rather than by @fastify/swagger: of what stands in it that would know the paths,
// and the schemas of the answers; bodies, refusals, headers and examples would be handed to it all the same.

import packageJson from '../../package.json' with { type: 'json' }
import { envelope, ERROR_CODES, type ErrorCode } from '../errors.ts'
import { deepFreeze, type Json } from '../json.ts'
import { MEANINGS, statusOf } from './errors.ts'
import type { Examples } from './examples.ts'
import { type Operation, OPERATIONS } from './operations.ts'
import { requestSchemas } from './requests.ts'

const schemaRef = (name: string) => ({ $ref: `#/components/schemas/${name}` })
const headerRefs = (...names: string[]) =>
  Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]))
const LIMITS = ['RateLimit-Limit', 'RateLimit-Remaining', 'RateLimit-Reset']
/** Their refusals can be met with a retry, some of them after a time that is told. */
const RETRIABLE = [429, 502, 503, 504]
/** What comes once the limits have been taken tells them too. */
const AFTER_LIMITS = [400, 429, 500, 502, 503, 504]

const DESCRIPTION = `
It authenticates the user of your app, decides by a policy what this user may ask for, mints a short-lived client secret of OpenAI's Realtime API with the key that only the server holds, and answers with the secret and the session.

The paths are OpenAI's: an OpenAI SDK works with \`baseURL\` set to this address plus \`/v1\`, and the user's token as its API key.

Every refusal is an \`Error\`; its \`message\` is a constant of its \`code\`. A path that is not here is answered 404 \`not_found\`, another method 405 \`method_not_allowed\`, and what is no HTTP 400, 408, 413, 417 or 431 with \`invalid_request\`.
`.trim()

export type Schema = Readonly<{
  $ref?: string
  description?: string
  type?: string | string[]
  const?: Json
  enum?: Json[]
  anyOf?: Schema[]
  items?: Schema
  properties?: Record<string, Schema>
  patternProperties?: Record<string, Schema>
  required?: string[]
  minimum?: number
  maximum?: number
  minLength?: number
  pattern?: string
}>
export type Content = Readonly<{ 'application/json': Readonly<{ schema: Schema, examples: Examples }> }>
export type Response = Readonly<{ description: string, headers: Readonly<Record<string, unknown>>, content: Content }>
export type Told = Readonly<{
  tags: [string]
  operationId: string
  summary: string
  description: string
  /** Empty where anyone may ask; left out where the document's own is meant. */
  security?: []
  requestBody?: Readonly<{ required: boolean, content: Content }>
  responses: Readonly<{ 200: Response } & Record<string, Response>>
}>
export type Document = Readonly<{
  openapi: string
  info: Readonly<Record<'title' | 'version' | 'summary' | 'description', string>>
  tags: readonly Readonly<{ name: string, description: string }>[]
  paths: Readonly<Record<string, Readonly<Record<string, Told>>>>
  components: Readonly<{
    schemas: Readonly<Record<string, Schema>>
    headers: Readonly<Record<string, Readonly<{ description: string, schema: Schema }>>>
    securitySchemes: Readonly<Record<string, Readonly<{
      description: string, scheme?: string, bearerFormat?: string, in?: string
    }>>>
  }>
}>

export function openapiDocument (): Document {
  const document = {
    openapi: '3.1.0',
    info: {
      title: 'Ephemint',
      version: packageJson.version,
      summary: packageJson.description,
      description: DESCRIPTION,
      license: { name: packageJson.license, identifier: packageJson.license }
    },
    servers: [{
      url: 'https://{host}', description: 'Wherever you run it.', variables: { host: { default: 'mint.example.com' } }
    }],
    tags: [
      { name: 'Mint', description: 'Client secrets.' }, { name: 'Policy', description: 'What may be asked for.' },
      { name: 'Health', description: 'For supervisors and balancers.' }
    ],
    security: [{ token: [] }, { cookie: [] }, {}],
    paths: Object.fromEntries(
      OPERATIONS.map((operation) => [operation.path, { [operation.method]: describe(operation) }])
    ),
    components: {
      schemas: {
        ...requestSchemas(),
        ...Object.fromEntries(OPERATIONS.map(({ answer }) => [answer.name, answer.schema])),
        Error: errorSchema()
      },
      responses: { NotFound: refusal(['not_found']), MethodNotAllowed: refusal(['method_not_allowed']) },
      headers: HEADERS,
      securitySchemes: {
        token: {
          type: 'http',
          scheme: 'bearer',
          bearerFormat: 'JWT',
          description: 'The token of your own sign-in: a JWT of an issuer under `callers:`, or an opaque token where introspection is configured.'
        },
        cookie: {
          type: 'apiKey',
          in: 'cookie',
          name: 'session',
          description: 'The cookie of your own sign-in, where a caller entry names one; its name is that of the entry. It counts from an origin in CORS_ORIGINS alone.'
        }
      }
    }
  }
  // Schemas of TypeBox carry more than JSON.
  return deepFreeze(JSON.parse(JSON.stringify(document)))
}

function describe (operation: Operation): Told {
  const { id, summary, description, request, answer, mints, isPublic } = operation
  const granted = {
    description: mints ? 'The secret, and the session that it opens.' : 'As asked.',
    headers: headerRefs('X-Request-Id', ...mints ? ['X-Realtime-Url', ...LIMITS] : []),
    content: { 'application/json': { schema: schemaRef(answer.name), examples: answer.examples } }
  }
  return {
    tags: [mints ? 'Mint' : isPublic ? 'Health' : 'Policy'] as [string],
    operationId: id,
    summary,
    description,
    ...isPublic && { security: [] as [] },
    ...request !== null && {
      requestBody: {
        required: false,
        content: { 'application/json': { schema: schemaRef(request.schema), examples: request.examples } }
      }
    },
    responses: { 200: granted, ...refusalsOf(operation) }
  }
}

function refusalsOf (operation: Operation): Record<string, Response> {
  const { refusals, id, answer } = operation
  const byStatus = Map.groupBy(refusals, statusOf)
  const responses = Object.fromEntries([...byStatus].map(([status, codes]) => [status, refusal(codes, operation)]))
  // Not being ready is no refusal, and says for what it waits.
  return id === 'readyz' ? { ...responses, 503: orUnready(responses[503] as Response, answer.name) } : responses
}

function refusal (
  codes: readonly ErrorCode[], { param, mints }: Pick<Operation, 'param' | 'mints'> = { param: '', mints: false }
): Response {
  const status = statusOf(codes[0] as ErrorCode)
  return {
    description: codes.map((code) => `\`${code}\`: ${MEANINGS[code]}`).join('\n\n'),
    headers: {
      ...headerRefs('X-Request-Id'),
      ...status === 401 && headerRefs('WWW-Authenticate'),
      ...status === 405 && headerRefs('Allow'),
      ...mints && AFTER_LIMITS.includes(status) && headerRefs(...LIMITS),
      ...RETRIABLE.includes(status) && headerRefs('Retry-After', 'X-Should-Retry')
    },
    content: {
      'application/json': {
        schema: { ...schemaRef('Error'), properties: { error: { properties: { code: { enum: [...codes] } } } } },
        examples: Object.fromEntries(codes.map((code) =>
          [code, { summary: MEANINGS[code], value: envelope(code, code === 'policy_violation' ? param : null) }]))
      }
    }
  }
}

function orUnready ({ content, description, headers }: Response, name: string): Response {
  const { schema, examples } = content['application/json']
  return {
    headers,
    description: `What it waits for.\n\n${description}`,
    content: {
      'application/json': {
        schema: { anyOf: [schemaRef(name), schema] },
        examples: {
          waiting: { summary: 'Not ready yet.', value: { status: 'unavailable', waiting_for: ['identity'] } },
          ...examples
        }
      }
    }
  }
}

function errorSchema (): Schema {
  const { message, type } = Object.groupBy(ERROR_CODES.flatMap((code) =>
    Object.entries(envelope(code).error)), ([key]) => key) as Record<string, [string, string][]>
  return {
    type: 'object',
    description: 'OpenAI\'s envelope, so that its SDKs raise their usual classes.',
    required: ['error'],
    properties: {
      error: {
        type: 'object',
        required: ['message', 'type', 'code', 'param'],
        properties: {
          message: { enum: unique(message), description: 'A constant of the code.' },
          type: { enum: unique(type) },
          code: { enum: ERROR_CODES },
          param: {
            type: ['string', 'null'],
            description: 'The path, as the client sent it, that is at fault; never an array\'s index.'
          }
        }
      }
    }
  }
}

function unique (entries: [string, string][] = []): string[] {
  return [...new Set(entries.map(([, value]) => value))]
}

const seconds = { type: 'integer', minimum: 0 }
const HEADERS: Document['components']['headers'] = {
  'X-Request-Id': {
    description: 'Of this request, in the log and in the audit line. One that comes in is kept from a trusted proxy alone.',
    schema: { type: 'string', pattern: '^[A-Za-z0-9._-]{1,128}$' }
  },
  'X-Realtime-Url': {
    description: 'Where to connect with the secret: POST the SDP offer there.',
    schema: { type: 'string', pattern: '^https?://' }
  },
  'RateLimit-Limit': {
    description: 'Mints in the window of the caller that is nearest to its end. Left out where the policy has no limits, and where they were not asked yet.',
    schema: { type: 'integer', minimum: 1 }
  },
  'RateLimit-Remaining': { description: 'What remains of it.', schema: seconds },
  'RateLimit-Reset': { description: 'Seconds until it begins anew.', schema: seconds },
  'Retry-After': { description: 'Seconds to wait; left out where no time can be told.', schema: seconds },
  'X-Should-Retry': {
    description: '`false` where a retry cannot help; OpenAI\'s SDKs heed it.', schema: { const: 'false' }
  },
  'WWW-Authenticate': { description: 'Always this.', schema: { const: 'Bearer' } },
  Allow: { description: 'The methods that the path answers.', schema: { type: 'string' } }
}

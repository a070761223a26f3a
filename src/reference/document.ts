// The OpenAPI 3.1 document. @fastify/swagger could derive only the paths and the response schemas: request bodies,
// refusals, headers and examples are not in the routes, so the document is assembled here.

import packageJson from '../../package.json' with { type: 'json' }
import { envelope, ERROR_CODES, type ErrorCode } from '../errors.ts'
import { deepFreeze, type Json } from '../json.ts'
import { descriptionOf, statusOf } from './errors.ts'
import type { Examples } from './examples.ts'
import { type Operation, OPERATIONS } from './operations.ts'
import { requestSchemas } from './requests.ts'

const schemaRef = (name: string) => ({ $ref: `#/components/schemas/${name}` })
const headerRefs = (...names: string[]) =>
  Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]))
const LIMITS = ['RateLimit-Limit', 'RateLimit-Remaining', 'RateLimit-Reset']
/** Statuses that a retry may help, some of them with a `Retry-After`. */
const RETRIABLE = [409, 429, 502, 503, 504]
/** Statuses that may follow the check of the limits, and then carry their headers. */
const AFTER_LIMITS = [400, 429, 500, 502, 503, 504]

const DESCRIPTION = `
It authenticates the user of your app, decides by a policy what this user may request, mints a short-lived client \
secret of OpenAI's Realtime API with an API key that never leaves the server, and returns the secret and its session. \
Or it makes a call for the client, which then holds no credential at all.

The paths are OpenAI's: an OpenAI SDK works with \`baseURL\` set to this address plus \`/v1\`, and the user's token as \
its API key.

Every refusal is an \`Error\`; its \`message\` is constant for its \`code\`. Any other path is refused with 404 \
\`not_found\`, another method with 405 \`method_not_allowed\`, and malformed HTTP with 400, 408, 413, 417 or 431 \
\`invalid_request\`.
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
/** By content type. */
export type Content = Readonly<Record<string, Readonly<{ schema: Schema, examples: Examples }>>>
export type Response = Readonly<{ description: string, headers: Readonly<Record<string, unknown>>, content: Content }>
export type OperationObject = Readonly<{
  tags: [string]
  operationId: string
  summary: string
  description: string
  /** Empty for a public operation; left out if the document's own applies. */
  security?: []
  parameters?: readonly unknown[]
  requestBody?: Readonly<{ required: boolean, content: Content }>
  responses: Readonly<Record<string, Response>>
}>
export type Document = Readonly<{
  openapi: string
  info: Readonly<Record<'title' | 'version' | 'summary' | 'description', string>>
  tags: readonly Readonly<{ name: string, description: string }>[]
  paths: Readonly<Record<string, Readonly<Record<string, OperationObject>>>>
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
      url: 'https://{host}', description: 'Your deployment.', variables: { host: { default: 'mint.example.com' } }
    }],
    tags: [
      { name: 'Mint', description: 'Client secrets.' },
      { name: 'Call', description: 'Calls that the service makes and ends.' },
      { name: 'Policy', description: 'What a caller may request.' },
      { name: 'Health', description: 'For supervisors and load balancers.' }
    ],
    security: [{ token: [] }, { cookie: [] }, {}],
    paths: Object.fromEntries([...Map.groupBy(OPERATIONS, ({ path }) => path)].map(([path, operations]) =>
      [path, Object.fromEntries(operations.map((operation) => [operation.method, describe(operation)]))])),
    components: {
      schemas: {
        ...requestSchemas(),
        ...Object.fromEntries(OPERATIONS.map(({ answer }) => [answer.name, answer.schema])),
        Error: errorSchema()
      },
      responses: {
        NotFound: refusalResponse(['not_found']), MethodNotAllowed: refusalResponse(['method_not_allowed'])
      },
      headers: HEADERS,
      securitySchemes: {
        token: {
          type: 'http',
          scheme: 'bearer',
          bearerFormat: 'JWT',
          description: 'The token of your own sign-in: a JWT of an issuer under `callers:`, ' +
            'or an opaque token if introspection is configured.'
        },
        cookie: {
          type: 'apiKey',
          in: 'cookie',
          name: 'session',
          description: 'The cookie of your own sign-in, under the name that a caller entry gives it. ' +
            'Accepted only from an origin in CORS_ORIGINS.'
        }
      }
    }
  }
  // TypeBox schemas have members that are not JSON.
  return deepFreeze(JSON.parse(JSON.stringify(document)))
}

function describe (operation: Operation): OperationObject {
  const { tag, path, id, summary, description, request, answer, isLimited } = operation
  const success = {
    description: answer.description,
    headers: headerRefs('X-Request-Id', ...answer.headers, ...isLimited ? LIMITS : []),
    content: { [answer.type]: { schema: schemaRef(answer.name), examples: answer.examples } }
  }
  return {
    tags: [tag],
    operationId: id,
    summary,
    description,
    ...path.includes('{id}') && { parameters: [CALL_ID] },
    ...tag === 'Health' && { security: [] as [] },
    ...request !== null && {
      requestBody: {
        required: request.isRequired,
        content: Object.fromEntries(Object.entries(request.content).map(([type, { schema, examples }]) =>
          [type, { schema: schemaRef(schema), examples }]))
      }
    },
    responses: { [answer.status]: success, ...refusalsOf(operation) }
  }
}

const CALL_ID = {
  name: 'id',
  in: 'path',
  required: true,
  description: 'The last part of `Location`.',
  schema: { type: 'string', pattern: '^rtc_[A-Za-z0-9_-]{22}$' }
}

function refusalsOf (operation: Operation): Record<string, Response> {
  const { refusals, id, answer } = operation
  const byStatus = Map.groupBy(refusals, statusOf)
  const responses = Object.fromEntries(
    [...byStatus].map(([status, codes]) => [status, refusalResponse(codes, operation)])
  )
  // A process that is not ready lists its missing dependencies instead of an error.
  return id === 'readyz' ? { ...responses, 503: orUnready(responses[503] as Response, answer.name) } : responses
}

function refusalResponse (
  codes: readonly ErrorCode[],
  { param, isLimited }: Pick<Operation, 'param' | 'isLimited'> = { param: '', isLimited: false }
): Response {
  const status = statusOf(codes[0] as ErrorCode)
  return {
    description: codes.map((code) => `\`${code}\`: ${descriptionOf(code)}`).join('\n\n'),
    headers: {
      ...headerRefs('X-Request-Id'),
      ...status === 401 && headerRefs('WWW-Authenticate'),
      ...status === 405 && headerRefs('Allow'),
      ...isLimited && AFTER_LIMITS.includes(status) && headerRefs(...LIMITS),
      ...RETRIABLE.includes(status) && headerRefs('Retry-After', 'X-Should-Retry')
    },
    content: {
      'application/json': {
        schema: { ...schemaRef('Error'), properties: { error: { properties: { code: { enum: [...codes] } } } } },
        examples: Object.fromEntries(codes.map((code) =>
          [code, { summary: descriptionOf(code), value: envelope(code, code === 'policy_violation' ? param : null) }]))
      }
    }
  }
}

function orUnready ({ content, description, headers }: Response, name: string): Response {
  const { schema, examples } = content['application/json'] as Content[string]
  return {
    headers,
    description: `The dependencies that it waits for.\n\n${description}`,
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
    description: 'OpenAI\'s error format: its SDKs raise their usual classes.',
    required: ['error'],
    properties: {
      error: {
        type: 'object',
        required: ['message', 'type', 'code', 'param'],
        properties: {
          message: { enum: unique(message), description: 'Constant for each code.' },
          type: { enum: unique(type) },
          code: { enum: ERROR_CODES },
          param: {
            type: ['string', 'null'],
            description: 'The path at fault, as the client sent it; never with an array index.'
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
    description: 'The id of this request in the log and in the audit line. ' +
      'Kept from the request only if it comes from a trusted proxy.',
    schema: { type: 'string', pattern: '^[A-Za-z0-9._-]{1,128}$' }
  },
  'X-Realtime-Url': {
    description: 'The URL to connect to with the secret: POST the SDP offer there.',
    schema: { type: 'string', pattern: '^https?://' }
  },
  Location: {
    description: 'The path of the call.', schema: { type: 'string', pattern: '^/v1/realtime/calls/rtc_' }
  },
  'X-Call-Seconds': { description: 'The most that the call may last.', schema: { type: 'integer', minimum: 5 } },
  'RateLimit-Limit': {
    description: 'Mints and calls in the caller\'s window with the fewest left. ' +
      'Left out if the policy has no limits, or if they were not checked yet.',
    schema: { type: 'integer', minimum: 1 }
  },
  'RateLimit-Remaining': { description: 'How many are left in this window.', schema: seconds },
  'RateLimit-Reset': { description: 'Seconds until this window starts over.', schema: seconds },
  'Retry-After': { description: 'Seconds to wait; left out if unknown.', schema: seconds },
  'X-Should-Retry': {
    description: '`false` if a retry cannot help; respected by OpenAI\'s SDKs.', schema: { const: 'false' }
  },
  'WWW-Authenticate': { description: 'Constant.', schema: { const: 'Bearer' } },
  Allow: { description: 'The methods of this path.', schema: { type: 'string' } }
}

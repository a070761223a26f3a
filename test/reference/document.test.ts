// The reference, compared with the OpenAPI standard and with the app's behaviour.

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { Validator } from '@seriousme/openapi-schema-validator'
import { Ajv2020 } from 'ajv/dist/2020.js'
import type { FastifyInstance, RouteOptions } from 'fastify'
import t, { type Test } from 'tap'
import { ApiError, envelope, ERROR_CODES } from '../../src/errors.ts'
import { openapiDocument } from '../../src/reference/document.ts'
import { OPERATIONS } from '../../src/reference/operations.ts'
import { type Answer, type AppOptions, startApp } from '../support/app.ts'
import { failure, GA, hang, json } from '../support/upstream.ts'
import { exchangeExamples } from './exchanges.ts'

const document = openapiDocument() as Record<string, any>

const ajv = new Ajv2020({ strict: false, allErrors: true, formats: { uri: true } })
ajv.addSchema(document, 'openapi')
const pointer = (...keys: string[]) =>
  keys.map((key) => `/${encodeURIComponent(key.replaceAll('~', '~0').replaceAll('/', '~1'))}`).join('')

/** Faults of `value` by the schema at a path of the document. */
function faults (value: unknown, ...at: string[]): unknown {
  const validate = ajv.compile({ $ref: `openapi#${pointer(...at)}` })
  return validate(value) ? [] : validate.errors?.map(({ instancePath, message }) => `${instancePath} ${message}`)
}

t.test('an independent validator accepts the document as OpenAPI 3.1', async (t) => {
  const { valid, errors } = await new Validator().validate(structuredClone(document))
  t.same(errors ?? [], [])
  t.ok(valid)
  t.equal(document.openapi, '3.1.0')
})

t.test('every reference has a target, and every component is referenced', async (t) => {
  const references = new Set(
    [...JSON.stringify(document).matchAll(/"\$ref":"#([^"]+)"/g)].map(([, path]) => path as string)
  )
  for (const reference of references) {
    const found = reference.split('/').slice(1).reduce((at, key) => at?.[key], document)
    t.ok(found, reference)
  }
  const schemas = Object.keys(document.components.schemas)
  t.same(schemas.filter((name) => !references.has(`/components/schemas/${name}`)), [])
  const headers = Object.keys(document.components.headers)
  t.same(headers.filter((name) => !references.has(`/components/headers/${name}`)), [])
})

t.test('every code of the catalogue appears, with its status', async (t) => {
  const listed = JSON.stringify([document.paths, document.components.responses])
  for (const code of ERROR_CODES) t.match(listed, JSON.stringify(envelope(code).error.message), code)
  t.same(document.components.schemas.Error.properties.error.properties.code.enum, ERROR_CODES)
  for (const { path, method, refusals } of OPERATIONS) {
    const { 200: _ok, 201: _created, ...responses } = document.paths[path][method].responses
    const codes = Object.values<any>(responses).flatMap(({ content }) => {
      const { schema } = content['application/json']
      return (schema.anyOf?.at(-1) ?? schema).properties.error.properties.code.enum
    })
    t.same(codes.toSorted(), [...refusals].sort(), path)
  }
})

t.test('every route of the app appears, and no other', async (t) => {
  const routes: string[] = []
  const watch = (message: unknown) => {
    const { fastify } = message as { fastify: FastifyInstance }
    fastify.addHook('onRoute', ({ method, url }: RouteOptions) => {
      routes.push(...[method].flat().map((one) => `${one} ${url}`))
    })
  }
  subscribe('fastify.initialization', watch)
  await startApp(t)
  unsubscribe('fastify.initialization', watch)
  const listed = OPERATIONS.map(({ method, path }) => `${method.toUpperCase()} ${path.replace('{id}', ':id')}`)
  t.same(routes.filter((route) => !/^(HEAD|OPTIONS) /.test(route)).sort(), listed.sort())
})

t.test('the examples meet their schemas', async (t) => {
  for (const { path, method } of OPERATIONS) {
    const { requestBody, responses } = document.paths[path][method]
    const at = ['paths', path, method]
    const contents = [['requestBody', requestBody ?? { content: {} }], ...Object.entries<any>(responses)]
    for (const [status, { content }] of contents) {
      const within = status === 'requestBody' ? [status] : ['responses', status]
      for (const [type, { examples }] of Object.entries<any>(content)) {
        t.ok(Object.keys(examples).length > 0, `${path} ${status} ${type} has an example`)
        for (const [name, { value }] of Object.entries<any>(examples)) {
          t.same(faults(value, ...at, ...within, 'content', type, 'schema'), [], `${path} ${status} ${name}`)
        }
      }
    }
  }
  for (const [name, { content }] of Object.entries<any>(document.components.responses)) {
    for (const { value } of Object.values<any>(content['application/json'].examples)) {
      t.same(faults(value, 'components', 'responses', name, 'content', 'application/json', 'schema'), [])
    }
  }
})

/** Secrets, ids and times differ each time. */
function timeless (value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (_key, inner) => {
    if (typeof inner === 'string') return inner.replace(/^(ek|sess)_[0-9a-f]+$/, '$1_…')
    return typeof inner === 'number' && inner > 1_000_000_000 ? 'a time' : inner
  }))
}

t.test('the examples are real requests and responses', async (t) => {
  const exchanges = await exchangeExamples(t)
  for (const { id, name, answer, expected } of exchanges) {
    t.equal(answer.status, 200, `${id} ${name}`)
    t.same(timeless(answer.body), timeless(expected))
    const { path, method } = OPERATIONS.find((operation) => operation.id === id) as typeof OPERATIONS[number]
    assertDocumented(t, answer, path, method)
  }
})

/** A response of the app matches the document: its status, the schema of its body, and each header. */
function assertDocumented (t: Test, { status, headers, body }: Answer, path: string, method = 'post'): void {
  const listed = document.paths[path][method].responses[status]
  if (!t.ok(listed, `${status} of ${path} is listed`)) return
  t.same(
    faults(body, 'paths', path, method, 'responses', String(status), 'content', 'application/json', 'schema'),
    [],
    `${path} ${status}`
  )
  const names = Object.keys(listed.headers).map((name) => name.toLowerCase())
  const sent = [
    'x-request-id', 'x-realtime-url', 'ratelimit-limit', 'retry-after', 'x-should-retry', 'www-authenticate', 'allow'
  ].filter((name) => headers.has(name))
  t.same(sent.filter((name) => !names.includes(name)), [], 'no header that is not listed')
}

const MINT = '/v1/realtime/client_secrets'

t.test('the refusals of the app are listed, with their headers', async (t) => {
  const app = await startApp(t, { env: { UPSTREAM_TIMEOUT_MS: '100' } })
  const rows: [code: string, () => Promise<Answer>][] = [
    ['invalid_json', () => app.mint('client_secrets', '{')],
    ['invalid_request', () => app.mint('client_secrets', { session: 7 })],
    ['invalid_credentials', () => app.mint('client_secrets', {}, { authorization: undefined })],
    ['origin_not_allowed', () => app.mint('client_secrets', {}, { origin: 'https://evil.test' })],
    ['no_policy', async () =>
      app.mint('client_secrets', {}, { authorization: `Bearer ${await app.token({ plan: 'none' })}` })],
    ['caller_blocked', async () =>
      app.mint('client_secrets', {}, { authorization: `Bearer ${await app.token({ sub: 'blocked' })}` })],
    ['policy_violation', () => app.mint('client_secrets', { session: { model: 'x' } })],
    ['body_too_large', () => app.mint('client_secrets', { session: { instructions: 'x'.repeat(40_000) } })],
    ['unsupported_media_type', () => app.mint('client_secrets', 'x', { 'content-type': 'text/plain' })],
    ['upstream_rate_limited', () => answering(failure(429, 'insufficient_quota'))],
    ['upstream_rejected', () => answering(failure(401))],
    ['upstream_error', () => answering(json(200, {}))],
    ['upstream_unavailable', () => answering(failure(503, null, { headers: { 'retry-after': '9' } }))],
    ['upstream_timeout', () => answering(hang)]
  ]
  function answering (reply: ReturnType<typeof json>): Promise<Answer> {
    app.upstream.answer(GA, reply)
    return app.mint('client_secrets', {})
  }
  for (const [code, ask] of rows) {
    const answer = await ask()
    t.match(answer.body, { error: { code } })
    assertDocumented(t, answer, MINT)
  }
})

t.test('temporary failures are listed, with their headers', async (t) => {
  const cases: [code: string, options: AppOptions][] = [
    ['rate_limit_exceeded', { env: { ADDRESS_LIMIT_PER_MINUTE: '1' } }],
    ['limits_unavailable', { limits: brokenLimits() }],
    ['audit_unavailable', {}]
  ]
  for (const [code, options] of cases) {
    const app = await startApp(t, options)
    if (code === 'rate_limit_exceeded') await app.mint('client_secrets', {})
    if (code === 'audit_unavailable') app.audit.stick()
    const answer = await app.request(
      MINT, { method: 'POST', headers: { authorization: `Bearer ${await app.token()}` } }
    )
    t.match(answer.body, { error: { code } })
    assertDocumented(t, answer, MINT)
  }
})

function brokenLimits (): NonNullable<AppOptions['limits']> {
  const fail = () => { throw new ApiError('limits_unavailable', { retryAfterSeconds: 1 }) }
  return { take: fail, peek: fail, close: () => {} }
}

t.test('a process that is not ready lists its missing dependencies', async (t) => {
  const app = await startApp(t, { waitingFor: () => ['identity'] })
  const answer = await app.request('/readyz')
  t.same(answer.body, { status: 'unavailable', waiting_for: ['identity'] })
  assertDocumented(t, answer, '/readyz', 'get')
})

// The reference of calls, compared with what the app answers.

import { Ajv2020 } from 'ajv/dist/2020.js'
import t, { type Test } from 'tap'
import { openapiDocument } from '../../src/reference/document.ts'
import { ANSWERS, REQUESTS } from '../../src/reference/examples.ts'
import { OPERATIONS } from '../../src/reference/operations.ts'
import { type CallsApp, startCalls } from '../calls/harness.ts'
import type { Answer } from '../support/app.ts'
import { audioTurn, usageOf } from '../support/call-events.ts'
import { accept } from '../support/call-replies.ts'
import { until } from '../support/until.ts'

const document = openapiDocument() as Record<string, any>
const ajv = new Ajv2020({ strict: false, allErrors: true })
ajv.addSchema(document, 'openapi')

const CALLS = '/v1/realtime/calls'
const CALL = `${CALLS}/{id}`

/** The status is listed, the body meets its schema, and no header is sent that is not listed. */
function assertListed (t: Test, { status, headers, body, text }: Answer, path: string, method: string): void {
  const listed = document.paths[path][method].responses[status]
  if (!t.ok(listed, `${status} of ${path} is listed`)) return
  const [type, { schema }] = Object.entries<any>(listed.content)[0] as [string, any]
  t.ok(headers.get('content-type')?.startsWith(type), type)
  const validate = ajv.compile({ $ref: `openapi#${schema.$ref.slice(1)}` })
  t.ok(validate(type === 'application/json' ? body : text), JSON.stringify(validate.errors))
  const names = Object.keys(listed.headers).map((name) => name.toLowerCase())
  const sent = ['location', 'x-call-seconds', 'ratelimit-limit', 'retry-after', 'x-should-retry'].filter((name) =>
    headers.has(name))
  t.same(sent.filter((name) => !names.includes(name)), [], 'no header that is not listed')
}

const example = (id: string) => (Object.values(ANSWERS[id] ?? {})[0] as { value: unknown }).value

/** Ids and times differ each time. */
function timeless (value: unknown): unknown {
  return JSON.parse(JSON.stringify(value, (_key, inner) => {
    if (typeof inner === 'string') return inner.replace(/^rtc_[\w-]{22}$/, 'rtc_…')
    return typeof inner === 'number' && inner > 1_000_000_000 ? 'a time' : inner
  }))
}

t.test('the examples of calls are real requests and responses', async (t) => {
  const app = await startCalls(t)
  app.upstream.onCreate(accept({ answer: example('createCall') as string }))
  const { sdp, session } = REQUESTS.createCallForm?.voice?.value as { sdp: string, session: any }
  const made = await app.begin({ offer: sdp, session })
  t.equal(made.status, 201)
  t.equal(made.text, example('createCall'))
  t.match(made.headers.get('location'), new RegExp(document.components.headers.Location.schema.pattern))
  assertListed(t, made, CALLS, 'post')

  const call = await app.upstream.created()
  call.push(...audioTurn(1, usageOf({ inputText: 4, inputAudio: 8, outputText: 9, outputAudio: 61 })))
  app.clock.pass(41_500)
  const path = made.headers.get('location') as string
  const read = await until('the usage of the response', async () => {
    const answer = await app.get(path)
    return (answer.body.usage as { responses: number }).responses > 0 ? answer : null
  })
  t.same(timeless(read.body), timeless(example('getCall')))
  assertListed(t, read, CALL, 'get')
  const list = await app.get(CALLS)
  t.same(timeless(list.body), timeless(example('listCalls')))
  assertListed(t, list, CALLS, 'get')
  const over = await app.hangUp(path)
  t.same(timeless(over.body), timeless(example('hangUpCall')))
  assertListed(t, over, `${CALL}/hangup`, 'post')
})

t.test('the refusals of calls are listed, with their headers', async (t) => {
  const app = await startCalls(t, { calls: '{ total: 1 }' })
  const inPath = (answer: Answer, path = CALLS, method = 'post') => [answer, path, method] as const
  const refused = (code: string, [answer, path, method]: ReturnType<typeof inPath>) => {
    t.match(answer.body, { error: { code } })
    assertListed(t, answer, path, method)
  }
  refused('invalid_request', inPath(await app.begin({ offer: 'x' })))
  refused('policy_violation', inPath(await app.begin({ session: { model: 'x' } })))
  refused('unsupported_media_type', inPath(await app.begin({ headers: { 'content-type': 'text/plain' } })))
  refused('not_found', inPath(await app.get('/v1/realtime/calls/rtc_x'), CALL, 'get'))
  refused('not_found', inPath(await app.hangUp('/v1/realtime/calls/rtc_x'), `${CALL}/hangup`))
  t.equal((await app.begin()).status, 201)
  refused('call_in_progress', inPath(await app.begin()))
  refused('calls_full', inPath(await app.begin({ claims: { sub: 'bob' } })))
  const hangUp = { body: '{"x":1}', headers: { 'content-type': 'application/json' } }
  refused('invalid_request', inPath(await hangUpFirst(app, hangUp), `${CALL}/hangup`))
  t.equal(OPERATIONS.filter(({ tag }) => tag === 'Call').length, 4)
})

async function hangUpFirst (app: CallsApp, init: RequestInit): Promise<Answer> {
  const { body } = await app.get('/v1/realtime/calls')
  const [{ id }] = body.data as [{ id: string }]
  return app.hangUp(`/v1/realtime/calls/${id}`, init)
}

// Requests that bypass breaker, pause and bound: a hang-up must get through while mints do not.

import t, { type Test } from 'tap'
import { readConfig } from '../../src/config/environment.ts'
import { ApiError } from '../../src/errors.ts'
import { createLogger } from '../../src/records/log.ts'
import type { Head } from '../../src/upstream/attempt.ts'
import { createUpstreamClient } from '../../src/upstream/client.ts'
import { deadlineIn } from '../../src/upstream/deadline.ts'
import { openKey } from '../../src/upstream/key.ts'
import { keepLines } from '../support/lines.ts'
import { failure, GA, json, startUpstream } from '../support/upstream.ts'

async function start (t: Test) {
  const upstream = await startUpstream(t)
  const { upstream: config } = readConfig({ OPENAI_API_KEY: 'sk-now', OPENAI_BASE_URL: upstream.url })
  const log = createLogger('silent', keepLines())
  const client = createUpstreamClient(config, { key: openKey(config, log), log })
  t.teardown(() => { client.close() })
  const path = '/realtime/client_secrets'
  const mint = () => client.request({
    path, body: '{}', isRepeatable: false, safetyIdentifier: 'ada', requestId: 'r', deadline: deadlineIn(1000)
  })
  const multipart = (onHead: (head: Head) => void) => client.request({
    path,
    contentType: 'multipart/form-data; boundary=x',
    body: Buffer.from('{}'),
    isRepeatable: false,
    safetyIdentifier: 'ada',
    requestId: 'r',
    deadline: deadlineIn(1000),
    onHead
  })
  const direct = (content?: { type: string, body: string }) => client.direct({
    path,
    key: { authorization: 'Bearer sk-then' },
    safetyIdentifier: 'ada',
    withinMs: 1000,
    ...(content === undefined ? {} : { content })
  })
  return { upstream, mint, multipart, direct }
}

t.test('a direct request passes the pause that upstream asked for, with the key that it is given', async (t) => {
  const { upstream, mint, direct } = await start(t)
  upstream.answer(GA, failure(429, null, { headers: { 'retry-after': '60' } }), json(200, { ended: true }))
  t.match(await mint(), { status: 429 })
  await t.rejects(mint(), { code: 'upstream_rate_limited', reason: 'upstream_pause' })
  t.match(await direct({ type: 'application/json', body: '{"a":1}' }), { status: 200, body: { ended: true } })
  t.match(upstream.requests.at(-1), {
    body: { a: 1 }, headers: { authorization: 'Bearer sk-then', 'openai-safety-identifier': 'ada' }
  })
})

t.test('a request that is not repeatable is made once', async (t) => {
  const { upstream, mint, direct } = await start(t)
  upstream.answer(GA, failure(503))
  t.match(await mint(), { status: 503 })
  t.equal(upstream.requests.length, 1)
  upstream.answer(GA, failure(500))
  t.match(await direct(), { status: 500 })
  t.equal(upstream.requests.length, 2, 'nor is a direct one repeated')
})

t.test('any body is sent, and the head is reported as soon as it is there', async (t) => {
  const { upstream, multipart } = await start(t)
  upstream.answer(GA, json(201, {}, { location: '/v1/realtime/calls/rtc_1', date: 'no date' }))
  const heads: Head[] = []
  t.match(await multipart((head) => heads.push(head)), { status: 201, location: '/v1/realtime/calls/rtc_1' })
  t.match(heads, [{ status: 201, location: '/v1/realtime/calls/rtc_1', date: 'no date' }])
  t.match(upstream.requests[0]?.headers, { 'content-type': 'multipart/form-data; boundary=x', accept: '*/*' })
})

t.test('a direct request that gets no answer in time is an error, not a rejection', async (t) => {
  const { upstream, direct } = await start(t)
  upstream.answer(GA, () => {})
  const outcome = await direct()
  t.ok(outcome instanceof ApiError)
  t.match(outcome, { code: 'upstream_timeout' })
})

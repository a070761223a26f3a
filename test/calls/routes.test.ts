// The routes of calls: bad input, other people's calls, and what a page can read.

import t from 'tap'
import { ORIGIN } from '../support/app.ts'
import {
  audioTurn, errorEvent, itemAdded, responseCreated, responseDone, transcribed
} from '../support/call-events.ts'
import { watchLoop } from '../support/loop.ts'
import { exchange } from '../support/raw-http.ts'
import { AUDIO_OFFER, OFFER } from '../support/sdp.ts'
import { until } from '../support/until.ts'
import { OPS, policyOf, startCalls } from './harness.ts'

t.test('call: offers that are none get their code, and nothing is created', async (t) => {
  const app = await startCalls(t)
  const video = `${OFFER}m=video 9 UDP/TLS/RTP/SAVPF 96\r\n`
  for (const offer of [
    'no offer', 'v=0\r\n', video, video.replace('m=video 9', 'm=video 0'), OFFER + AUDIO_OFFER.slice(5),
    OFFER.replace('m=audio 9', 'm=audio 0'), `${OFFER}a=${'x'.repeat(2048)}\r\n`, OFFER + 'a=x\r\n'.repeat(1000)
  ]) {
    t.match(await app.begin({ offer }), { status: 400, body: { error: { code: 'invalid_request', param: 'sdp' } } })
    t.match(await app.begin({ offer, session: {} }), { status: 400, body: { error: { param: 'sdp' } } })
  }
  t.match(await app.begin({ offer: OFFER.padEnd(65_537, '\n') }), { status: 413 })
  t.match(await app.begin({ headers: { 'content-type': 'text/plain' } }), { status: 415 })
  t.match(await app.begin({ headers: { 'content-type': 'application/json' } }), { status: 415 })
  const noBody = await app.hangUp('/v1/realtime/calls/..', {})
  t.equal(noBody.status, 404)
  t.equal(app.upstream.creations.length, 0)
  t.equal(app.lines('call.refused').length, 19)
})

t.test('call: what no client would send gets its code, and nothing is created', async (t) => {
  const app = await startCalls(t)
  const authorization = `Authorization: Bearer ${await app.token()}`
  const post = (body: string, ...more: string[]) =>
    ['POST /v1/realtime/calls HTTP/1.1', 'Host: x', authorization, 'Connection: close', ...more, '', body].join('\r\n')
  const sdp = 'Content-Type: application/sdp'
  const length = (body: string) => `Content-Length: ${Buffer.byteLength(body)}`
  const chunk = 'x'.repeat(65_537)
  const rows: readonly [name: string, bytes: string, status: number, code: string][] = [
    ['no body', post('', sdp), 400, 'invalid_request'],
    ['two types', post(OFFER, sdp, 'Content-Type: text/plain', length(OFFER)), 400, 'invalid_request'],
    ['no type', post(OFFER, length(OFFER)), 415, 'unsupported_media_type'],
    ['another charset', post(OFFER, `${sdp}; charset=utf-16`, length(OFFER)), 415, 'unsupported_media_type'],
    ['a coding', post(OFFER, sdp, 'Content-Encoding: gzip', length(OFFER)), 415, 'unsupported_media_type'],
    [
      'chunks beyond the limit',
      post(`${chunk.length.toString(16)}\r\n${chunk}\r\n0\r\n\r\n`, sdp, 'Transfer-Encoding: chunked'),
      413,
      'body_too_large'
    ],
    [
      'a form without a boundary',
      post(OFFER, 'Content-Type: multipart/form-data', length(OFFER)),
      400,
      'invalid_request'
    ],
    ['a length and chunks', post(OFFER, sdp, length(OFFER), 'Transfer-Encoding: chunked'), 400, 'invalid_request']
  ]
  for (const [name, bytes, status, code] of rows) {
    const [answer] = await exchange(app, bytes, 1)
    t.equal(answer?.status, status, name)
    t.match(JSON.parse(answer?.text ?? '{}'), { error: { code } }, name)
  }
  t.equal(app.upstream.creations.length, 0)
})

t.test('call: what a query asks for, and headers that are upstream\'s, go no further', async (t) => {
  const app = await startCalls(t)
  const { status } = await fetch(`${app.url}/v1/realtime/calls?model=gpt-other&dcid=1&call_id=rtc_1`, {
    method: 'POST',
    body: OFFER,
    headers: {
      authorization: `Bearer ${await app.token()}`,
      'content-type': 'application/sdp',
      'openai-safety-identifier': 'somebody',
      'openai-project': 'proj_other',
      'idempotency-key': '1'
    }
  })
  t.equal(status, 201)
  const [creation] = app.upstream.creations
  t.equal(creation?.path, '/v1/realtime/calls')
  t.same(creation?.body, { type: 'realtime', model: 'gpt-realtime-2.1', instructions: 'You are Ada.' })
  t.match(creation?.headers['openai-safety-identifier'], /^[0-9a-f]{64}$/)
  t.notOk('openai-project' in (creation?.headers ?? {}))
  t.notOk('idempotency-key' in (creation?.headers ?? {}))
})

t.test('call: without a body there is no offer', async (t) => {
  const app = await startCalls(t)
  const authorization = `Bearer ${await app.token()}`
  t.match(await app.request('/v1/realtime/calls', { method: 'POST', headers: { authorization } }), {
    status: 400, body: { error: { code: 'invalid_request', param: 'sdp' } }
  })
})

t.test('call: a form has sdp and session, each once, and no file', async (t) => {
  const app = await startCalls(t)
  const authorization = `Bearer ${await app.token()}`
  const post = (form: FormData) =>
    app.request('/v1/realtime/calls', { method: 'POST', body: form, headers: { authorization } })
  const forms: ((form: FormData) => void)[] = [
    (form) => form.append('sdp', OFFER),
    (form) => form.set('model', 'gpt'),
    (form) => form.set('session', new Blob(['{}']), 'session.json'),
    (form) => form.delete('sdp')
  ]
  for (const change of forms) {
    const form = new FormData()
    form.set('sdp', OFFER)
    change(form)
    t.match(await post(form), { status: 400, body: { error: { code: 'invalid_request' } } })
  }
  t.equal(app.upstream.creations.length, 0)
})

t.test('call: the session is checked as in a mint', async (t) => {
  const app = await startCalls(t)
  t.match(await app.begin({ session: { instructions: 'You are Eve.' } }), {
    status: 403, body: { error: { code: 'policy_violation', param: 'session.instructions' } }
  })
  t.match(await app.begin({ session: { type: 'transcription' } }), {
    status: 400, body: { error: { code: 'invalid_request', param: 'session.type' } }
  })
  t.match(await app.begin({ session: [] as never }), { status: 400 })
  t.equal(app.upstream.creations.length, 0)
  t.equal((await app.begin({ session: { type: 'realtime', audio: { output: { voice: 'cedar' } } } })).status, 201)
  t.match(app.upstream.creations[0]?.body, { instructions: 'You are Ada.', audio: { output: { voice: 'cedar' } } })
})

t.test('call: a policy without calls is 403; a mint without secrets is 403; both without a param', async (t) => {
  const refused = { status: 403, body: { error: { code: 'policy_violation', param: null } } }
  const first = await startCalls(t, { policy: policyOf().replace('calls: {}', '') })
  t.match(await first.begin(), refused)
  t.match(first.lines('call.refused'), [{ reason: 'no_calls', call_id: null, max_seconds: null }])
  const second = await startCalls(t, { realtime: 'secrets: false' })
  t.match(await second.mint('client_secrets'), refused)
  t.equal((await second.begin()).status, 201)
})

t.test('call: calls of others, and ids that are none, are the same 404', async (t) => {
  const app = await startCalls(t)
  const path = (await app.begin()).headers.get('location') as string
  const texts = await Promise.all([
    app.get(path, { sub: 'bob' }), app.hangUp(path, {}, { sub: 'bob' }), app.get(`${path}x`),
    app.get('/v1/realtime/calls/rtc_'), app.hangUp('/v1/realtime/calls/rtc_1'),
    app.get(`/v1/realtime/calls/${'x'.repeat(300)}`),
    app.get(`/v1/realtime/calls/${app.upstream.calls[0]?.id}`)
  ])
  for (const { status, text } of texts) t.same([status, text], [404, texts[0]?.text])
  t.match(await app.get('/v1/realtime/calls', { sub: 'bob' }), { status: 200, body: { object: 'list', data: [] } })
  t.match(await app.get(path), { body: { status: 'live' } })
})

t.test('call: a hang-up has no body or {}', async (t) => {
  const app = await startCalls(t)
  const path = (await app.begin()).headers.get('location') as string
  const json = { 'content-type': 'application/json' }
  for (const init of [
    { body: '{"a":1}', headers: json }, { body: '[]', headers: json }, { body: '{', headers: json },
    { body: 'bye', headers: { 'content-type': 'text/plain' } },
    { body: OFFER, headers: { 'content-type': 'application/sdp' } }
  ]) t.equal((await app.hangUp(path, init)).status, 400)
  t.match(await app.get(path), { body: { status: 'live' } })
  t.match(await app.hangUp(path, { body: '{}', headers: json }), { status: 200, body: { status: 'ended' } })
})

t.test('call: a hang-up\'s body may be empty, whatever its type', async (t) => {
  const app = await startCalls(t)
  for (const type of ['text/plain;charset=UTF-8', 'application/json', 'application/x-www-form-urlencoded']) {
    const path = (await app.begin()).headers.get('location') as string
    const answer = await app.hangUp(path, { body: '', headers: { 'content-type': type } })
    t.match(answer, { status: 200, body: { status: 'ended' } }, type)
  }
})

t.test('call: a call that has ended is there for five minutes', async (t) => {
  const app = await startCalls(t)
  const path = (await app.begin()).headers.get('location') as string
  await app.hangUp(path)
  const { body } = await app.get(path)
  t.match(body, { object: 'realtime.call', status: 'ended', end_reason: 'client', usage: { responses: 0 } })
  t.equal(body.ends_at, body.created_at, 'its end')
  app.clock.pass(299_000)
  t.equal((await app.get(path)).status, 200)
  app.clock.pass(1000)
  t.equal((await app.get(path)).status, 404)
})

t.test('call: pages may read Location and X-Call-Seconds; other origins may nothing', async (t) => {
  const app = await startCalls(t)
  const { headers, status } = await app.begin({ headers: { origin: ORIGIN } })
  t.equal(status, 201)
  t.match(headers.get('access-control-expose-headers'), /Location, X-Call-Seconds/)
  const foreign = { origin: 'https://evil.test' }
  t.equal((await app.begin({ headers: foreign })).status, 403)
  t.equal((await app.begin({ headers: foreign, session: {} })).status, 403)
  t.equal(app.upstream.creations.length, 1)
})

t.test('call: by a cookie an allowed origin is needed, for both bodies and for a hang-up', async (t) => {
  const app = await startCalls(t, { policy: policyOf().replace('jwt: {', 'jwt: { cookie: __Host-token,') })
  const cookie = `__Host-token=${await app.token()}`
  const form = new FormData()
  form.set('sdp', OFFER)
  const ask = (path: string, headers: Record<string, string>, body?: string | FormData) =>
    fetch(`${app.url}/v1/realtime/calls${path}`, {
      method: 'POST', headers: { cookie, ...headers }, body: body ?? null
    })
  const sdp = { 'content-type': 'application/sdp' }
  for (const foreign of [{}, { origin: 'https://evil.test' }, { origin: 'null' }] as Record<string, string>[]) {
    for (const answer of [
      await ask('', { ...sdp, ...foreign }, OFFER), await ask('', foreign, form), await ask('/rtc_1/hangup', foreign)
    ]) {
      t.equal(answer.status, 403)
      t.match(await answer.text(), /origin_not_allowed/)
    }
  }
  t.equal(app.upstream.creations.length, 0)
  const created = await ask('', { origin: ORIGIN }, form)
  t.equal(created.status, 201)
  const path = `/${created.headers.get('location')?.split('/').at(-1)}/hangup`
  t.equal((await ask(path, {})).status, 403)
  t.equal((await ask(path, { origin: ORIGIN })).status, 200)
  t.match(app.lines('call.ended'), [{ reason: 'client' }])
})

t.test('call: other methods are 405, at each address', async (t) => {
  const app = await startCalls(t)
  const authorization = `Bearer ${await app.token()}`
  for (const [path, allow] of [['', 'GET, POST'], ['/rtc_1', 'GET'], ['/rtc_1/hangup', 'POST']]) {
    const { status, headers } = await app.request(
      `/v1/realtime/calls${path}`, { method: 'DELETE', headers: { authorization } }
    )
    t.same([status, headers.get('allow')?.split(', ').sort().join(', ')], [405, allow])
  }
})

t.test('call: the metrics count what is live, what ended, seconds and tokens', async (t) => {
  const app = await startCalls(t, { env: OPS })
  const opsUrl = app.logLines().find(({ msg }) => msg === 'listening')?.ops_url as string
  const path = (await app.begin()).headers.get('location') as string
  const live = await (await fetch(`${opsUrl}/metrics`)).text()
  t.match(live, 'ephemint_calls_live{policy="pro"} 1')
  t.match(live, 'ephemint_call_setup_seconds_count 1')
  t.match(live, 'ephemint_call_hangups_pending 0')
  app.upstream.calls[0]?.push(...audioTurn())
  app.upstream.calls[0]?.drop()
  await app.upstream.attached(app.upstream.calls[0]?.id as string, 2)
  await until('it to be reopened', async () => (await app.get(path)).body.status === 'live')
  app.clock.pass(7000)
  await app.settle()
  await app.hangUp(path)
  const text = await until('the text to be rendered again', async () => {
    const text = await (await fetch(`${opsUrl}/metrics`)).text()
    return text.includes('calls_ended_total{') ? text : null
  })
  for (const line of [
    'ephemint_calls_ended_total{reason="client",policy="pro"} 1', 'ephemint_call_seconds_total{policy="pro"} 7',
    'ephemint_call_tokens_total{direction="output",modality="audio",policy="pro"} 61',
    'ephemint_call_tokens_total{direction="input",modality="text",policy="pro"} 12',
    'ephemint_sidebands_reopened_total 1'
  ]) t.match(text, line)
  t.notMatch(text, 'ephemint_calls_live{policy="pro"} 1')
})

/** Events that OpenAI sends or may send, and frames that are none: small and large, deep and broken. */
const KINDS = [
  ...audioTurn(7), itemAdded({ role: 'system' }), responseCreated('resp_never'), errorEvent('canary'), transcribed(),
  { type: 'response.output_audio_transcript.delta', delta: 'canary' }, { type: 'canary.unknown', canary: true },
  { type: 'session.updated', session: { instructions: 'canary'.repeat(500), tools: Array(50).fill({ name: 'x' }) } }
].map((event) => JSON.stringify(event)).concat(
  '{"type":"response.done"', 'canary', '[]', '{"type":7}', `{"type":"response.done","response":${'['.repeat(5000)}`,
  `{"type":"response.output_item.added","item":${'{"a":'.repeat(2000)}1${'}'.repeat(2000)}}`
)
const LARGE = JSON.stringify(responseDone('resp_large', 'canary'.repeat(150_000)))

t.test('call: 10,000 events in a second, of any kind and size: the loop stays under 100 ms late', async (t) => {
  const app = await startCalls(t, { calls: '{ on_change: report }' })
  const path = (await app.begin()).headers.get('location') as string
  const [call] = app.upstream.calls
  const logged = app.logLines().length
  const latest: number[] = []
  // The first round warms up the compiler; another may meet a garbage collection.
  for (let round = 1; round <= 4; round++) {
    const longest = watchLoop()
    // Over several turns of the event loop, as from a server in another process.
    for (let i = 0; i < 10_000; i++) {
      call?.pushRaw(KINDS[i % KINDS.length] as string)
      if (i % 2000 === 0) call?.pushRaw(LARGE)
      if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    call?.push(responseDone(`last_${round}`))
    await until('the last one', async () => ((await app.get(path)).body.usage as any).responses === round + 2)
    latest.push(longest())
  }
  t.ok(Math.min(...latest) < 100, `${latest} ms`)
  t.match(await app.get(path), { body: { status: 'live' } })
  t.equal(app.upstream.attaches.length, 1, 'no sideband was lost')
  t.equal(app.logLines().length, logged, 'nothing of them is logged')
})

// The creation of a call: after a failure of any step nothing is left.

import { writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import type { Answer } from '../support/app.ts'
import {
  accept, closing, confirm, cutBody, gone, notFound, onlySecrets, open, opened, redirect, refusing, rejecting, silent,
  stalledBody
} from '../support/call-replies.ts'
import type { Attach, CallRequest, CreateReply, HangUp } from '../support/calls-upstream.ts'
import { ANSWER, AUDIO_OFFER, OFFER } from '../support/sdp.ts'
import { until } from '../support/until.ts'
import { failure, GA, hang, json, reset } from '../support/upstream.ts'
import { type CallsApp, startCalls } from './harness.ts'

const LIMITED = { limits: '{ minute: 10, call_seconds: { hour: 1200 } }' }
const QUICK = { UPSTREAM_TIMEOUT_MS: '400' }

function codeOf ({ body }: Answer): unknown {
  return (body.error as { code?: string } | undefined)?.code
}

/** Asserts that no call is left, nothing is taken from the limits, and the place is free. */
async function holdNothing (t: Test, app: CallsApp, minute = 10): Promise<void> {
  t.equal(app.upstream.live(), 0, 'no call is left behind')
  t.match(await app.limits(), {
    minute: { remaining: minute }, call_seconds: { hour: { remaining: 1200 } }
  }, 'nothing is taken')
  for (const line of app.lines('call.ended')) t.match(line, { started: false, seconds: Number })
  t.equal(app.lines('call.ended').length, app.upstream.calls.length, 'the books agree')
  t.same(app.lines('call.started'), [])
}

type Row = Readonly<{ name: string, reply: CreateReply, status: number, code: string, line?: object }>

const FAILED: readonly Row[] = [
  { name: '400 of its own', reply: failure(400, 'bad'), status: 502, code: 'upstream_rejected' },
  { name: '401', reply: failure(401), status: 502, code: 'upstream_rejected' },
  { name: '404', reply: failure(404), status: 502, code: 'upstream_rejected' },
  { name: '429', reply: failure(429), status: 429, code: 'upstream_rate_limited' },
  { name: '500', reply: failure(500), status: 502, code: 'upstream_error' },
  {
    name: '503 with Retry-After',
    reply: failure(503, null, { headers: { 'retry-after': '7' } }),
    status: 503,
    code: 'upstream_unavailable'
  },
  { name: '307', reply: redirect(307, '/elsewhere'), status: 502, code: 'upstream_error' },
  {
    name: '302 to what looks like a call',
    reply: redirect(302, '/v1/realtime/calls/rtc_u2_000001'),
    status: 502,
    code: 'upstream_error'
  }
]

for (const { name, reply, status, code } of FAILED) {
  t.test(`call: create: ${name} is answered as at a mint, and nothing is taken`, async (t) => {
    const app = await startCalls(t, LIMITED)
    app.upstream.onCreate(reply)
    const answer = await app.begin()
    t.equal(answer.status, status)
    t.equal(codeOf(answer), code)
    t.equal(app.upstream.creations.length, 1, 'never a second time')
    t.match(app.lines('call.refused'), [{ code, upstream_call_id: null, secret_sha256: null }])
    await holdNothing(t, app)
    app.upstream.onCreate(accept())
    if (status !== 429) t.equal((await app.begin()).status, 201, 'the place is free')
  })
}

t.test('call: create: an upstream that cannot be reached is 503, and nothing is taken', async (t) => {
  const app = await startCalls(t, { ...LIMITED, env: { OPENAI_BASE_URL: 'http://127.0.0.1:9/v1' } })
  t.equal((await app.begin()).status, 503)
  await holdNothing(t, app)
})

t.test('call: create: upstream\'s 400 about the offer is the client\'s, and stays counted', async (t) => {
  const app = await startCalls(t, LIMITED)
  app.upstream.onCreate(failure(400, 'invalid_offer'))
  t.match(await app.begin(), { status: 400, body: { error: { code: 'invalid_request', param: 'sdp' } } })
  app.upstream.onCreate(failure(400, 'invalid_value', { param: 'sdp' }))
  t.match(await app.begin(), { status: 400, body: { error: { param: 'sdp' } } })
  await holdNothing(t, app, 8)
})

t.test('call: create: upstream\'s 400 about a field is the client\'s only where the client sent it', async (t) => {
  const app = await startCalls(t, LIMITED)
  app.upstream.onCreate(failure(400, 'invalid_value', { param: 'session.audio.output.voice' }))
  const session = { audio: { output: { voice: 'marin' } } }
  t.match(await app.begin({ session }), { status: 400, body: { error: { param: 'session.audio.output.voice' } } })
  t.match(await app.begin(), { status: 502, body: { error: { code: 'upstream_rejected' } } })
  app.upstream.onCreate(failure(400, 'invalid_value', { param: 'model' }))
  t.match(await app.begin({ session }), { status: 502, body: { error: { code: 'upstream_rejected' } } })
  await holdNothing(t, app, 9)
})

const CREATED: readonly (Row & { env?: Record<string, string> })[] = [
  { name: '201 and a body that is cut', reply: cutBody, status: 502, code: 'upstream_error' },
  { name: '201 and a body that never comes', reply: stalledBody, status: 504, code: 'upstream_timeout', env: QUICK },
  {
    name: '201 and an answer of 300 KiB',
    reply: accept({ answer: `${ANSWER}${'a=x\r\n'.repeat(61_440)}` }),
    status: 502,
    code: 'upstream_error'
  },
  {
    name: '201 and an answer that is compressed',
    reply: accept({ headers: { 'content-encoding': 'gzip' } }),
    status: 502,
    code: 'upstream_error'
  },
  { name: '201 and no SDP', reply: accept({ answer: '{"answer":1}' }), status: 502, code: 'upstream_error' }
]
for (const { name, reply, status, code, env = {} } of CREATED) {
  t.test(`call: create: ${name} is hung up, and nothing is taken`, async (t) => {
    const app = await startCalls(t, { ...LIMITED, env })
    app.upstream.onCreate(reply)
    const answer = await app.begin()
    t.equal(answer.status, status)
    t.equal(codeOf(answer), code)
    t.equal(answer.headers.get('x-should-retry'), 'false')
    t.match(app.lines('call.ended'), [{ reason: 'setup_failed', hangup_confirmed: true }])
    t.match(app.lines('call.refused'), [{ code, upstream_call_id: app.upstream.calls[0]?.id }])
    t.same(app.lines('call.unknown'), [])
    await holdNothing(t, app)
    app.upstream.onCreate(accept())
    t.equal((await app.begin()).status, 201, 'the place is free')
  })
}

t.test('call: create: an answer with a data channel where none is allowed is hung up', async (t) => {
  const app = await startCalls(t, { ...LIMITED, calls: '{ data_channel: false }' })
  t.match(await app.begin(), { status: 403, body: { error: { code: 'policy_violation', param: 'sdp' } } })
  t.equal(app.upstream.creations.length, 0)
  app.upstream.onCreate(accept({ answer: ANSWER }), accept())
  t.match(await app.begin({ offer: AUDIO_OFFER }), { status: 502, body: { error: { code: 'upstream_error' } } })
  await holdNothing(t, app)
  t.equal((await app.begin({ offer: AUDIO_OFFER })).status, 201)
})

const UNKNOWN: readonly Row[] = [
  { name: 'no answer', reply: opened(hang), status: 504, code: 'upstream_timeout' },
  { name: 'reset after sending', reply: opened(reset()), status: 502, code: 'upstream_error' },
  { name: '201 without a Location', reply: accept({ location: null }), status: 502, code: 'upstream_error' },
  {
    name: '201 with a Location that ends in no call id',
    reply: accept({ location: '/v1/realtime/calls/' }),
    status: 502,
    code: 'upstream_error'
  },
  {
    name: '201 with two Locations',
    reply: (request, response) => {
      const path = `/v1/realtime/calls/${request.open().id}`
      response.writeHead(201, ['location', path, 'location', `${path}1`]).end(ANSWER)
    },
    status: 502,
    code: 'upstream_error'
  },
  { name: '200 with JSON', reply: json(200, {}), status: 502, code: 'upstream_error' }
]
for (const { name, reply, status, code } of UNKNOWN) {
  t.test(`call: create: ${name} is call.unknown, and the places stay 60 s`, async (t) => {
    const app = await startCalls(t, { ...LIMITED, env: QUICK })
    app.upstream.onCreate(reply, accept())
    const answer = await app.begin()
    t.equal(answer.status, status)
    t.equal(codeOf(answer), code)
    t.equal(answer.headers.get('x-should-retry'), 'false')
    t.match(app.lines('call.unknown'), [{ code, upstream_call_id: null }])
    t.same(app.lines('call.refused'), [])
    t.match(await app.limits(), { minute: { remaining: 10 }, call_seconds: { hour: { remaining: 1200 } } })
    app.clock.pass(59_000)
    t.match(await app.begin(), { status: 409, body: { error: { code: 'call_in_progress' } } })
    app.clock.pass(1000)
    t.equal((await app.begin()).status, 201)
  })
}

t.test('call: an absolute Location names the call, and its host is never asked', async (t) => {
  const app = await startCalls(t)
  app.upstream.onCreate(accept({ location: 'absolute' }))
  t.equal((await app.begin()).status, 201)
  t.match(app.lines('call.started'), [{ upstream_call_id: app.upstream.calls[0]?.id }])
})

t.test('call: a key that was replaced is read again, and the call created by the new one', async (t) => {
  const folder = t.testdir({ key: 'sk-canary-old-key-000000' })
  const app = await startCalls(t, {
    env: { OPENAI_API_KEY: '', OPENAI_API_KEY_FILE: `${folder}/key` }
  })
  app.upstream.onCreate(async (request, response) => {
    writeFileSync(`${folder}/key`, 'sk-canary-new-key-000000')
    failure(401)(request, response)
  }, accept())
  t.equal((await app.begin()).status, 201)
  t.same(app.upstream.creations.map(({ headers }) => headers.authorization), [
    'Bearer sk-canary-old-key-000000', 'Bearer sk-canary-new-key-000000'
  ])
  t.same(app.upstream.attaches.map(({ headers }) => headers.authorization), ['Bearer sk-canary-new-key-000000'])
})

t.test('call: sideband: 404 thrice, then 101 is served', async (t) => {
  const app = await startCalls(t)
  app.upstream.onAttach(notFound, notFound, notFound, open)
  const answer = app.begin()
  for (const ms of [250, 750, 1500]) await app.clock.expire(ms)
  t.equal((await answer).status, 201)
  t.equal(app.upstream.attaches.length, 4)
})

t.test('call: sideband: 404 for good is hung up, 502', async (t) => {
  const app = await startCalls(t, LIMITED)
  app.upstream.onAttach(notFound)
  const answer = app.begin()
  for (const ms of [250, 750, 1500, 3000]) await app.clock.expire(ms)
  t.match(await answer, { status: 502, body: { error: { code: 'upstream_error' } } })
  t.equal((await answer).headers.get('x-should-retry'), 'false')
  t.equal(app.upstream.attaches.length, 5)
  await holdNothing(t, app)
})

t.test('call: sideband: 101 and silence is hung up after 10 s, 504', async (t) => {
  const app = await startCalls(t, LIMITED)
  app.upstream.onAttach(silent)
  const answer = app.begin()
  await (await app.upstream.created()).next('session.update')
  app.clock.pass(10_000)
  t.match(await answer, { status: 504, body: { error: { code: 'upstream_timeout' } } })
  t.equal((await answer).headers.get('x-should-retry'), 'false')
  await holdNothing(t, app)
})

t.test('call: sideband: an error to the first read is hung up, 502', async (t) => {
  const app = await startCalls(t, LIMITED)
  app.upstream.onAttach(rejecting())
  t.match(await app.begin(), { status: 502, body: { error: { code: 'upstream_error' } } })
  await holdNothing(t, app)
})

t.test('call: sideband: one that closes at once is opened again', async (t) => {
  const app = await startCalls(t)
  app.upstream.onAttach(closing(1011), open)
  const answer = await app.begin()
  t.equal(answer.status, 201)
  t.equal(app.upstream.attaches.length, 2)
  await app.hangUp(answer.headers.get('location') as string)
  t.match(app.lines('call.ended'), [{ complete: true }], 'no one could speak before the answer')
})

t.test('call: sideband: refused with 500 it is tried again, and hung up after the last try', async (t) => {
  const app = await startCalls(t, LIMITED)
  app.upstream.onAttach(refusing(500))
  const answer = app.begin()
  for (const ms of [500, 1000, 2000, 4000]) await app.clock.expire(ms)
  t.match(await answer, { status: 502, body: { error: { code: 'upstream_error' } } })
  t.equal(app.upstream.attaches.length, 5)
  await holdNothing(t, app)
})

t.test('call: the whole takes at most CALL_SETUP_SECONDS', async (t) => {
  const app = await startCalls(t, { ...LIMITED, env: { CALL_SETUP_SECONDS: '3' } })
  app.upstream.onAttach(silent)
  const answer = app.begin()
  await (await app.upstream.created()).next('session.update')
  app.clock.pass(3000)
  t.match(await answer, { status: 504, body: { error: { code: 'upstream_timeout' } } })
  await holdNothing(t, app)
})

t.test('call: a failure is answered after the first hang-up attempt, or after 2 s', async (t) => {
  const app = await startCalls(t, LIMITED)
  app.upstream.onAttach(rejecting())
  app.upstream.onHangUp(hang, confirm)
  const answer = app.begin()
  await app.upstream.hungUp((await app.upstream.created()).id)
  t.match(await app.limits(), { minute: { remaining: 10 }, call_seconds: { hour: { remaining: 1200 } } },
    'given back before it is answered')
  await app.clock.expire(2000)
  t.equal((await answer).status, 502)
  t.match(await app.begin(), { status: 409 }, 'the place follows the confirmation')
  app.clock.pass(3000)
  await app.clock.expire(1000)
  await app.wrote('call.ended')
  await holdNothing(t, app)
  app.upstream.onAttach(open)
  t.equal((await app.begin()).status, 201)
})

t.test('call: OPENAI_CALLS_API=secret creates with a secret; sideband and hang-up go by the key', async (t) => {
  const app = await startCalls(t, { env: { OPENAI_CALLS_API: 'secret' } })
  app.upstream.onCreate(onlySecrets)
  const answer = await app.begin()
  t.equal(answer.status, 201)
  const [creation] = app.upstream.creations
  t.equal(creation?.isRaw, true)
  t.equal(creation?.parts.sdp?.text, OFFER)
  t.match(creation?.headers.authorization, /^Bearer ek_/)
  t.match(creation?.body, { model: 'gpt-realtime-2.1' })
  await app.hangUp(answer.headers.get('location') as string)
  const key = `Bearer ${app.canaries[0]}`
  t.equal(app.upstream.attaches[0]?.headers.authorization, key)
  t.equal(app.upstream.hangUps[0]?.headers.authorization, key)
})

t.test('call: OPENAI_AUTH_SCHEME=api-key creates with a secret; sideband and hang-up go by api-key', async (t) => {
  const app = await startCalls(t, { env: { OPENAI_AUTH_SCHEME: 'api-key' } })
  app.upstream.onCreate(onlySecrets)
  const answer = await app.begin()
  t.equal(answer.status, 201)
  await app.hangUp(answer.headers.get('location') as string)
  const [{ headers: creation }] = app.upstream.creations as [CallRequest]
  t.match(creation.authorization, /^Bearer ek_/)
  t.equal(creation['api-key'], undefined)
  for (const { headers } of [app.upstream.attaches[0] as Attach, app.upstream.hangUps[0] as HangUp]) {
    t.equal(headers['api-key'], app.canaries[0])
    t.equal(headers.authorization, undefined)
  }
})

t.test('call: OPENAI_CALLS_API=secret: no mint, or a secret that is refused, and nothing is created', async (t) => {
  const app = await startCalls(t, { ...LIMITED, env: { OPENAI_CALLS_API: 'secret', ...QUICK } })
  app.upstream.answer(GA, hang)
  t.match(await app.begin(), { status: 504 })
  t.same(app.lines('call.unknown'), [])
  app.upstream.reset(GA)
  app.upstream.onCreate(failure(401))
  t.match(await app.begin(), { status: 502, body: { error: { code: 'upstream_rejected' } } })
  t.notOk(app.logLines().some(({ msg }) => msg === 'upstream rejects the key'))
  await holdNothing(t, app)
})

t.test('call: without the key\'s right to call, the hang-up of a created call says so as an error', async (t) => {
  const app = await startCalls(t, LIMITED)
  app.upstream.onAttach(rejecting())
  app.upstream.onHangUp(failure(401), gone(404))
  t.equal((await app.begin()).status, 502)
  t.ok(app.logLines().some(({ level, msg }) => level === 'error' && /cannot be ended/.test(String(msg))))
  await app.clock.expire(1000)
  await app.wrote('call.ended')
  await holdNothing(t, app)
})

t.test('call: an audit that cannot be written lets nothing be created, or hangs it up', async (t) => {
  const app = await startCalls(t, LIMITED)
  app.audit.stick()
  t.match(await app.begin(), { status: 503, body: { error: { code: 'audit_unavailable' } } })
  t.equal(app.upstream.creations.length, 0)
  app.audit.recover()
  app.audit.refuse()
  t.match(await app.begin(), { status: 503, body: { error: { code: 'audit_unavailable' } } })
  t.equal(app.upstream.live(), 0)
  await app.clock.expire(1000)
  app.audit.recover()
  await app.clock.expire(5000)
  t.match(await app.wrote('call.ended'), [{ reason: 'setup_failed', started: false }])
  await until('the place to be free', async () => (await app.begin()).status === 201)
})

t.test('call: one that was never answered has no last events: its place is free with its hang-up', async (t) => {
  const app = await startCalls(t, LIMITED)
  app.upstream.onHangUp(({ call }, response) => {
    call?.end(null)
    response.writeHead(200).end()
  })
  app.audit.refuse()
  t.match(await app.begin(), { status: 503, body: { error: { code: 'audit_unavailable' } } })
  app.audit.recover()
  t.equal((await app.begin()).status, 201)
})

t.test('call: one that ends while its start is written down, in vain, gives its seconds back once', async (t) => {
  const app = await startCalls(t, LIMITED)
  const path = (await app.begin()).headers.get('location') as string
  await app.pass(45_000)
  await app.hangUp(path)
  t.match(await app.limits(), { call_seconds: { hour: { remaining: 1155 } } })
  const [confirming, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const { confirm } = app.audit
  Object.assign(app.audit, {
    confirm: async (line: string) => {
      if (!line.includes('"call.started"')) return confirm(line)
      confirming.resolve()
      await gate.promise
      throw new Error('ENOSPC')
    }
  })
  const answer = app.begin()
  await confirming.promise
  const call = await app.upstream.created(2)
  call.end()
  await until('it to have ended', async () => {
    const { body: { data } } = await app.get('/v1/realtime/calls')
    return (data as unknown[]).length === 0
  })
  gate.resolve()
  t.match(await answer, { status: 503, body: { error: { code: 'audit_unavailable' } } })
  t.match(await app.wrote('call.ended', 2), [{}, { reason: 'ended', started: false }])
  t.match(await app.limits(), { call_seconds: { hour: { remaining: 1155 } } })
})

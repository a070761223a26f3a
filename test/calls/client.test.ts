// The official OpenAI clients, unmodified: they create calls, hang up, and repeat only what may be repeated.

import OpenAI from 'openai'
import OpenAI6 from 'openai-6'
import t, { type Test } from 'tap'
import { accept, cutBody, rejecting } from '../support/call-replies.ts'
import { ANSWER, AUDIO_ANSWER, AUDIO_OFFER, OFFER } from '../support/sdp.ts'
import { failure } from '../support/upstream.ts'
import { type CallsApp, type CallsOptions, startCalls } from './harness.ts'

const EXAMPLE = new URL('examples/call-from-node.js', import.meta.url).href

async function start (t: Test, options?: CallsOptions): Promise<{ app: CallsApp, client: OpenAI, baseURL: string }> {
  const app = await startCalls(t, options)
  const baseURL = `${app.url}/v1`
  return { app, client: new OpenAI({ baseURL, apiKey: await app.token() }), baseURL }
}

t.test('the example of the page calls and hangs up, with a session and without', async (t) => {
  const { app, baseURL } = await start(t)
  const { call } = await import(EXAMPLE)
  for (const session of [undefined, { type: 'realtime', audio: { output: { voice: 'cedar' } } }]) {
    const { answer, hangUp } = await call(baseURL, await app.token(), OFFER, session)
    t.equal(answer, ANSWER)
    t.equal(app.upstream.live(), 1)
    await hangUp()
    t.equal(app.upstream.live(), 0)
  }
  t.same(app.upstream.creations.map(({ parts }) => parts.sdp?.text), [OFFER, OFFER])
  t.match(app.upstream.creations.map(({ body }) => body), [
    { instructions: 'You are Ada.' }, { instructions: 'You are Ada.', audio: { output: { voice: 'cedar' } } }
  ])
  t.match(app.lines('call.ended'), [{ reason: 'client' }, { reason: 'client' }])
})

t.test('version 7: the answer\'s headers are there, and hanging up twice is one hang-up', async (t) => {
  const { app, client } = await start(t)
  const response = await client.realtime.calls.create({ sdp: AUDIO_OFFER, session: { type: 'realtime' } })
  t.equal(response.status, 201)
  t.equal(await response.text(), AUDIO_ANSWER)
  t.equal(response.headers.get('x-call-seconds'), '600')
  const id = response.headers.get('location')?.split('/').at(-1) as string
  await client.realtime.calls.hangup(id)
  await client.realtime.calls.hangup(id)
  t.equal(app.upstream.hangUps.length, 1)
  await t.rejects(client.realtime.calls.hangup('rtc_unknown'), { status: 404, code: 'not_found' })
})

t.test('version 6, which cannot create calls, posts the form, and hangs up', async (t) => {
  const { app, baseURL } = await start(t)
  const client = new OpenAI6({ baseURL, apiKey: await app.token() })
  t.notOk('create' in client.realtime.calls)
  const body = new FormData()
  body.append('sdp', OFFER)
  body.append('session', JSON.stringify({ type: 'realtime' }))
  const response = await client.post('/realtime/calls', { body }).asResponse()
  t.equal(await response.text(), ANSWER)
  await client.realtime.calls.hangup(response.headers.get('location')?.split('/').at(-1) as string)
  t.match(app.lines('call.ended'), [{ reason: 'client' }])
  t.equal(app.upstream.live(), 0)
})

type Refusal = Readonly<{
  name: string
  error: new (...args: never[]) => Error
  status: number
  code: string
  prepare: (app: CallsApp) => unknown
  created: number
}>

/** Refusals that the client would repeat, if the answer did not forbid it. */
const ONCE: readonly Refusal[] = [
  {
    name: 'a second call at a time',
    error: OpenAI.ConflictError,
    status: 409,
    code: 'call_in_progress',
    prepare: (app) => app.begin(),
    created: 1
  },
  {
    name: 'a call whose sideband is refused',
    error: OpenAI.InternalServerError,
    status: 502,
    code: 'upstream_error',
    prepare: ({ upstream }) => upstream.onAttach(rejecting()),
    created: 1
  },
  {
    name: 'a call whose answer is cut',
    error: OpenAI.InternalServerError,
    status: 502,
    code: 'upstream_error',
    prepare: ({ upstream }) => upstream.onCreate(cutBody),
    created: 1
  },
  {
    name: 'a call whose id is lost',
    error: OpenAI.InternalServerError,
    status: 502,
    code: 'upstream_error',
    prepare: ({ upstream }) => upstream.onCreate(accept({ location: null })),
    created: 1
  },
  {
    name: 'a key that OpenAI refuses',
    error: OpenAI.InternalServerError,
    status: 502,
    code: 'upstream_rejected',
    prepare: ({ upstream }) => upstream.onCreate(failure(401)),
    created: 0
  }
]

for (const { name, error, status, code, prepare, created } of ONCE) {
  t.test(`the client asks once: ${name} is ${error.name}`, async (t) => {
    const { app, client } = await start(t)
    await prepare(app)
    const linesBefore = app.auditLines().filter(({ event }) => event !== 'call.started').length
    const thrown = await client.realtime.calls.create({ sdp: OFFER }).then(() => null, (reason) => reason)
    t.ok(thrown instanceof error)
    t.match(thrown, { status, code, requestID: /^[0-9a-f-]{36}$/ })
    t.equal(app.upstream.calls.length, created)
    t.equal(app.upstream.creations.length, 1, 'no second call')
    const answered = app.auditLines().filter(({ event }) => event === 'call.refused' || event === 'call.unknown')
    t.equal(answered.length - linesBefore, 1, 'and no second request')
  })
}

t.test('a failure before there is a call is repeated by the client, and the user does not see it', async (t) => {
  const { app, client } = await start(t)
  app.upstream.onCreate(failure(500), accept())
  const response = await client.realtime.calls.create({ sdp: OFFER })
  t.equal(await response.text(), ANSWER)
  t.equal(app.upstream.live(), 1)
  t.same(app.auditLines().map(({ event }) => event), ['call.refused', 'call.started'])
})

// One call from start to end, over real sockets.

import t from 'tap'
import { audioTurn } from '../support/call-events.ts'
import { ANSWER, OFFER } from '../support/sdp.ts'
import { startCalls } from './harness.ts'

t.test('a call is created with the policy\'s session, watched, hung up and written down', async (t) => {
  const app = await startCalls(t, {
    calls: '{ max_seconds: 300 }', limits: '{ minute: 10, day: 100, call_seconds: { hour: 1200 } }'
  })
  const answer = await app.begin()
  t.equal(answer.status, 201)
  t.equal(answer.text, ANSWER)
  t.match(answer.headers.get('content-type'), /^application\/sdp/)
  t.equal(answer.headers.get('x-call-seconds'), '300')
  t.equal(answer.headers.get('ratelimit-remaining'), '9')
  const path = answer.headers.get('location') as string
  t.match(path, /^\/v1\/realtime\/calls\/rtc_[\w-]{22}$/)

  const [creation] = app.upstream.creations
  t.equal(creation?.parts.sdp?.text, OFFER)
  t.same(creation?.body, { type: 'realtime', model: 'gpt-realtime-2.1', instructions: 'You are Ada.' })
  const call = await app.upstream.created()
  t.match(await call.next('session.update'), { session: { type: 'realtime', instructions: 'You are Ada.' } })
  t.match(app.lines('call.started'), [{
    call_id: path.split('/').at(-1), upstream_call_id: call.id, max_seconds: 300, secret_sha256: null, policy: 'pro'
  }])

  call.push(...audioTurn())
  t.match(await app.get('/v1/realtime/calls'), { status: 200, body: { object: 'list', data: [{ status: 'live' }] } })
  app.clock.pass(12_300)
  t.match(await app.hangUp(path), { status: 200, body: { status: 'ended', end_reason: 'client', seconds: 13 } })
  t.match(await app.hangUp(path), { status: 200, body: { status: 'ended', end_reason: 'client', seconds: 13 } })
  t.equal(app.upstream.live(), 0)
  t.equal(app.upstream.hangUps.length, 1)
  t.match(app.lines('call.ended'), [{
    call_id: path.split('/').at(-1),
    reason: 'client',
    seconds: 13,
    started: true,
    usage: { responses: 1, input_tokens: 12, output_tokens: 70, output: { text: 9, audio: 61 } },
    complete: true,
    hangup_confirmed: true
  }])
  t.match(await app.limits(), { minute: { remaining: 9 }, call_seconds: { hour: { remaining: 1187 } } })
  t.match(await app.get('/v1/realtime/calls'), { body: { data: [] } })
})

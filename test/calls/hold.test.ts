// A live call: its timers, its sideband, and its hang-up.

import t, { type Test } from 'tap'
import {
  audioTurn, committed, errorEvent, itemAdded, outputAudio, responseCreated, responseDone, responseFailed,
  speechStarted, speechStopped, transcribed, usageOf
} from '../support/call-events.ts'
import {
  accept, closing, confirm, gone, held, notFound, open, refusing, silent, stalled
} from '../support/call-replies.ts'
import type { HangUp } from '../support/calls-upstream.ts'
import { until } from '../support/until.ts'
import { failure, hang } from '../support/upstream.ts'
import type { Call } from '../support/upstream-call.ts'
import { type CallsApp, type CallsOptions, policyOf, startCalls } from './harness.ts'

type Live = Readonly<{ app: CallsApp, call: Call, path: string, status: () => Promise<any> }>

async function startCall (t: Test, options: CallsOptions = {}, offer?: string): Promise<Live> {
  const app = await startCalls(t, options)
  const answer = await app.begin(offer === undefined ? {} : { offer })
  t.equal(answer.status, 201)
  const path = answer.headers.get('location') as string
  const call = app.upstream.calls[0] as Call
  return { app, call, path, status: async () => (await app.get(path)).body }
}

/** Pushes events, and waits until the service has handled them: a last response is counted in the receipt. */
async function seen ({ call, status }: Live, ...events: Parameters<Call['push']>): Promise<void> {
  const { usage: { responses } } = await status()
  call.push(...events, responseDone(`seen_${responses}`, usageOf({})))
  await until('the events to be seen', async () => (await status()).usage.responses > responses)
}

function reasons (app: CallsApp): unknown[] {
  return app.lines('call.ended').map(({ reason }) => reason)
}

t.test('call: never joined: ended after 45 s, not before', async (t) => {
  const { app, status } = await startCall(t, { calls: '{ idle_seconds: 20 }' })
  await app.pass(44_999)
  t.match(await status(), { status: 'live' })
  await app.pass(1)
  t.match(await app.wrote('call.ended'), [{ reason: 'never_connected', seconds: 45, started: true }])
})

t.test('call: never joined: after idle_seconds where that is more', async (t) => {
  const { app, status } = await startCall(t, { calls: '{ idle_seconds: 100 }' })
  await app.pass(99_000)
  t.match(await status(), { status: 'live' })
  await app.pass(1000)
  t.match(await app.wrote('call.ended'), [{ reason: 'never_connected' }])
})

t.test('call: a session.updated that was not asked for counts as joined, and is not idle for ever', async (t) => {
  const live = await startCall(t, { calls: '{ idle_seconds: 20 }' })
  const { app, call, status } = live
  await app.pass(30_000)
  call.change({ audio: { output: { speed: 1.1 } } })
  await seen(live)
  await app.pass(19_000)
  t.match(await status(), { status: 'live' })
  await app.pass(1000)
  t.match(await app.wrote('call.ended'), [{ reason: 'idle' }])
})

t.test('call: idle: ended idle_seconds after the last activity of either side', async (t) => {
  const live = await startCall(t, { calls: '{ idle_seconds: 60 }' })
  const { app, status } = live
  await seen(live, ...audioTurn())
  await app.pass(50_000)
  await seen(live, itemAdded({ id: 'typed' }))
  await app.pass(59_000)
  t.match(await status(), { status: 'live' })
  await app.pass(1000)
  t.match(await app.wrote('call.ended'), [{ reason: 'idle', seconds: 110 }])
})

for (const [name, begin, end] of [
  ['from speech_started to speech_stopped', speechStarted(), speechStopped()],
  ['from speech_started to committed', speechStarted(), committed()],
  ['while a response is open', responseCreated('resp_9'), responseDone('resp_9')],
  ['from output_audio_buffer.started to stopped', outputAudio('started'), outputAudio('stopped')],
  ['from output_audio_buffer.started to cleared', outputAudio('started'), outputAudio('cleared')]
] as const) {
  t.test(`call: not idle: ${name}`, async (t) => {
    const live = await startCall(t, { calls: '{ idle_seconds: 20 }' })
    const { app, status } = live
    await seen(live, begin)
    await app.pass(100_000)
    t.match(await status(), { status: 'live' })
    await seen(live, end)
    await app.pass(19_000)
    t.match(await status(), { status: 'live' })
    await app.pass(1000)
    t.match(await app.wrote('call.ended'), [{ reason: 'idle' }])
  })
}

t.test('call: after the sideband was reopened no one is assumed to speak', async (t) => {
  const live = await startCall(t, { calls: '{ idle_seconds: 20 }' })
  const { app, call, status } = live
  await seen(live, speechStarted(), responseCreated('resp_9'), outputAudio('started'))
  call.drop()
  await app.upstream.attached(call.id, 2)
  await seen(live)
  await app.pass(19_000)
  t.match(await status(), { status: 'live' })
  await app.pass(1000)
  t.match(await app.wrote('call.ended'), [{ reason: 'idle', complete: false }])
})

t.test('call: max_seconds: ended then, with what was used', async (t) => {
  const live = await startCall(t, { calls: '{ max_seconds: 30 }', limits: '{ call_seconds: { hour: 100 } }' })
  const { app, status } = live
  const { created_at: createdAt, ends_at: endsAt } = await status()
  t.equal(endsAt - createdAt, 30)
  await seen(live)
  await app.pass(30_000)
  t.match(await app.wrote('call.ended'), [{ reason: 'max_duration', seconds: 30, hangup_confirmed: true }])
  t.match(await app.limits(), { call_seconds: { hour: { remaining: 70 } } })
})

t.test('call: the seconds taken: a call lasts no longer than what was left', async (t) => {
  const app = await startCalls(t, { limits: '{ minute: 9, call_seconds: { hour: 25 } }', calls: '{ max_seconds: 20 }' })
  const first = await app.begin()
  t.equal(first.headers.get('x-call-seconds'), '20')
  await app.pass(20_000)
  await app.wrote('call.ended')
  const second = await app.begin()
  t.equal(second.headers.get('x-call-seconds'), '5')
  await app.pass(5000)
  t.match(await app.wrote('call.ended', 2), [{}, { reason: 'max_duration', seconds: 5 }])
  const third = await app.begin()
  t.match(third, { status: 429, body: { error: { code: 'rate_limit_exceeded' } } })
  t.equal(third.headers.get('ratelimit-remaining'), '7', 'nothing is taken')
  t.match(app.lines('call.refused'), [{ reason: 'call_seconds_hour' }])
})

for (const [name, lifeSeconds, endsAfter] of [
  ['100 s: 5 s before it', 100, 95], ['59 s: ignored', 59, 600], ['7,201 s: ignored', 7201, 600]
] as const) {
  t.test(`call: OpenAI's own expires_at in ${name}`, async (t) => {
    const app = await startCalls(t, { calls: '{ max_seconds: 600, idle_seconds: 600 }' })
    // Upstream's clock is an hour off: only the distance counts.
    const upstreamNow = Math.floor(Date.now() / 1000) + 3600
    app.upstream.onCreate(accept({ headers: { date: new Date(upstreamNow * 1000).toUTCString() } }))
    app.upstream.onAttach(({ call, accept }) => {
      call?.on('session.update', () => call.push({
        type: 'session.updated', session: { ...call.session(), expires_at: upstreamNow + lifeSeconds }
      }))
      accept()
    })
    const path = (await app.begin()).headers.get('location') as string
    await app.pass((endsAfter - 1) * 1000)
    t.match((await app.get(path)).body, { status: 'live' })
    await app.pass(1000)
    await app.wrote('call.ended')
    t.match(reasons(app), [/max_duration|never_connected/])
    t.match(app.lines('call.ended'), [{ seconds: endsAfter }])
  })
}

t.test('call: without a Date, or an expires_at, OpenAI\'s end is not known', async (t) => {
  for (const [date, expiresAt] of [['no date', 1_900_000_000], [new Date().toUTCString(), null]] as const) {
    const app = await startCalls(t, { calls: '{ max_seconds: 120 }' })
    app.upstream.onCreate(accept({ headers: { date } }))
    app.upstream.onAttach(({ call, accept }) => {
      call?.on('session.update', () => call.push({
        type: 'session.updated', session: { ...call.session(), expires_at: expiresAt }
      }))
      accept()
    })
    const path = (await app.begin()).headers.get('location') as string
    const { body } = await app.get(path)
    t.equal(Number(body.ends_at) - Number(body.created_at), 120)
  }
})

t.test('call: under on_change report a read has no field of the policy', async (t) => {
  const { call } = await startCall(t, { calls: '{ on_change: report }' })
  t.same((await call.next('session.update')).session, { type: 'realtime' })
})

t.test('fault 54: clock set by an hour either way: timers do not move', async (t) => {
  const { app, status } = await startCall(t, { calls: '{ max_seconds: 60, idle_seconds: 60 }' })
  app.clock.shiftWall(3_600_000)
  await app.pass(59_000)
  app.clock.shiftWall(-7_200_000)
  t.match(await status(), { status: 'live' })
  await app.pass(1000)
  t.match(await app.wrote('call.ended'), [{ seconds: 60 }])
})

t.test('call: at its end an open response is cancelled, and the hang-up follows its response.done', async (t) => {
  const live = await startCall(t)
  const { app, call, path } = live
  await seen(live, responseCreated('resp_7'), responseCreated('resp_8'))
  const answer = app.hangUp(path)
  t.match(await call.next('response.cancel'), { response_id: 'resp_7' })
  t.match(await call.next('response.cancel'), { response_id: 'resp_8' })
  t.match(await app.get(path), { body: { status: 'ending', end_reason: 'client' } })
  t.equal(app.upstream.hangUps.length, 0)
  call.push(responseDone('resp_7', usageOf({ outputText: 5 })), responseDone('resp_8', usageOf({ outputText: 6 })))
  t.match(await answer, { body: { status: 'ended', usage: { output_tokens: 11 } } })
  t.match(app.lines('call.ended'), [{ complete: true }])
})

t.test('call: a response that does not say it is done is waited for 2 s, and makes it incomplete', async (t) => {
  const live = await startCall(t)
  const { app, call, path } = live
  await seen(live, responseCreated('resp_7'))
  const answer = app.hangUp(path)
  await call.next('response.cancel')
  await app.pass(2000)
  t.match(await answer, { body: { status: 'ended' } })
  t.match(app.lines('call.ended'), [{ complete: false }])
})

for (const code of [1000, 1001, 1009, 1011]) {
  t.test(`call: sideband closes with ${code} while the call lives: reopened, incomplete`, async (t) => {
    const live = await startCall(t)
    const { app, call, path } = live
    call.close(code)
    await app.upstream.attached(call.id, 2)
    await seen(live)
    t.match(await call.next('session.update'), { session: { instructions: 'You are Ada.' } }, 'it is read again')
    await app.hangUp(path)
    t.match(app.lines('call.ended'), [{ reason: 'client', complete: false }])
  })

  t.test(`call: sideband closes with ${code} while it is gone: ended`, async (t) => {
    const { app, call } = await startCall(t)
    call.end(code)
    t.match(await app.wrote('call.ended'), [{ reason: 'ended', hangup_confirmed: true, complete: code !== 1009 }])
    t.equal(app.upstream.hangUps.length, 0)
  })
}

t.test('call: sideband drops (1006) while the call lives: reopened, incomplete', async (t) => {
  const live = await startCall(t)
  const { app, call, path } = live
  call.drop()
  await app.upstream.attached(call.id, 2)
  await seen(live)
  await app.hangUp(path)
  t.match(app.lines('call.ended'), [{ reason: 'client', complete: false }])
})

for (const [how, lose] of [
  ['drops', ({ call }: Live) => call.drop()], ['closes', ({ call }: Live) => call.close(1000)]
] as const) {
  t.test(`call: sideband ${how}, and the call is hung up before it is open again: incomplete`, async (t) => {
    const live = await startCall(t)
    const { app, path } = live
    app.upstream.onAttach(stalled)
    lose(live)
    await until('it to be tried again', () => app.upstream.attaches.length === 2)
    t.match(await app.hangUp(path), { body: { status: 'ended' } })
    t.match(app.lines('call.ended'), [{ reason: 'client', hangup_confirmed: true, complete: false }])
  })
}

t.test('call: sideband that drops, and then is closed before it could be read, has been lost', async (t) => {
  const { app, call } = await startCall(t)
  app.upstream.onAttach(closing(1000), notFound)
  call.drop()
  t.match(await app.wrote('call.ended'), [{ reason: 'ended', complete: false }])
})

t.test('call: sideband drops (1006) while it is gone: ended, incomplete', async (t) => {
  const { app, call } = await startCall(t)
  app.upstream.onAttach(notFound)
  call.drop()
  t.match(await app.wrote('call.ended'), [{ reason: 'ended', complete: false }])
})

t.test('call: sideband closes, and the call is found gone after a try that failed: incomplete', async (t) => {
  const { app, call } = await startCall(t)
  app.upstream.onAttach(refusing(500), notFound)
  call.close(1000)
  await app.clock.expire(500)
  t.match(await app.wrote('call.ended'), [{ reason: 'ended', complete: false }])
})

t.test('call: sideband closes, and the call is found gone more than a second later: incomplete', async (t) => {
  const { app, call } = await startCall(t)
  app.upstream.onAttach((attach) => {
    app.clock.pass(1001)
    notFound(attach)
  })
  call.close(1000)
  t.match(await app.wrote('call.ended'), [{ reason: 'ended', complete: false }])
})

t.test('call: OpenAI says 60 minutes: upstream_expired, by the close or by an error before it', async (t) => {
  const first = await startCall(t)
  first.call.end(1001, 'Your session hit the maximum duration of 60 minutes.')
  t.match(await first.app.wrote('call.ended'), [{ reason: 'upstream_expired' }])
  const second = await startCall(t)
  second.call.push(errorEvent('session_expired'))
  second.call.end(1000)
  t.match(await second.app.wrote('call.ended'), [{ reason: 'upstream_expired' }])
})

t.test('call: two missed pings are a loss', async (t) => {
  const { app, call } = await startCall(t, { calls: '{ idle_seconds: 300 }' })
  call.freeze()
  for (let i = 0; i < 3; i++) await app.clock.expire(20_000)
  await app.upstream.attached(call.id, 2)
  t.match(await app.get('/v1/realtime/calls'), { body: { data: [{ status: 'live' }] } })
})

t.test('call: pings that are answered are no loss', async (t) => {
  const live = await startCall(t, { calls: '{ idle_seconds: 300 }' })
  for (let i = 0; i < 5; i++) {
    await live.app.clock.expire(20_000)
    await seen(live)
  }
  t.equal(live.app.upstream.attaches.length, 1)
})

t.test('call: a frame of 5 MiB, again after each reopening: supervision_lost at the fifth', async (t) => {
  const { app, call } = await startCall(t)
  for (let i = 1; i <= 5; i++) {
    await call.next('session.update')
    // An upstream that reads nothing more never answers the close frame.
    if (i > 3) call.freeze()
    call.pushRaw(Buffer.alloc(5 * 1024 * 1024, 'x'))
  }
  t.match(await app.wrote('call.ended'), [{ reason: 'supervision_lost', complete: false }])
  t.equal(app.upstream.live(), 0)
})

t.test('call: refused at every reopening: hung up after the last', async (t) => {
  const { app, call } = await startCall(t)
  app.upstream.onAttach(refusing(500))
  call.drop()
  for (const ms of [500, 1000, 2000, 4000]) await app.clock.expire(ms)
  t.match(await app.wrote('call.ended'), [{ reason: 'supervision_lost', complete: false }])
  t.equal(app.upstream.attaches.length, 6)
  t.equal(app.upstream.hangUps.length, 1)
})

t.test('call: 20 s without a sideband within two minutes hangs up, whatever the tries say', async (t) => {
  const { app, call } = await startCall(t)
  app.upstream.onAttach(stalled)
  call.drop()
  await until('the first try', () => app.upstream.attaches.length === 2)
  await app.pass(5000)
  await app.clock.expire(500)
  await until('the second try', () => app.upstream.attaches.length === 3)
  await app.pass(14_500)
  t.match(await app.wrote('call.ended'), [{ reason: 'supervision_lost' }])
})

t.test('call: a reopened sideband that says nothing is lost again', async (t) => {
  const live = await startCall(t)
  const { app, call } = live
  app.upstream.onAttach(silent, open)
  call.drop()
  await app.upstream.attached(call.id, 2)
  await call.next('session.update')
  await call.next('session.update')
  await app.clock.expire(10_000)
  await app.upstream.attached(call.id, 3)
  await seen(live)
  t.match(await live.status(), { status: 'live' })
})

t.test('call: an error that names our read ends the call', async (t) => {
  const { app, call } = await startCall(t)
  call.on('session.update', ({ event_id: id }) => call.push(errorEvent('invalid_value', String(id))))
  call.drop()
  t.match(await app.wrote('call.ended'), [{ reason: 'policy_change' }])
})

/** Waits until attempt number `times` to hang up has failed and the next one is scheduled. */
async function failed ({ app, call }: Live, times: number): Promise<void> {
  await app.upstream.hungUp(call.id, times)
  await app.settle()
}

t.test('call: hang-up: 500 three times, then 200: retried after 1, 5 and 15 s', async (t) => {
  const live = await startCall(t)
  const { app, path } = live
  app.upstream.onHangUp(failure(500), failure(500), failure(500), confirm)
  const answer = app.hangUp(path)
  await failed(live, 1)
  app.clock.pass(999)
  t.equal(app.upstream.hangUps.length, 1)
  app.clock.pass(1)
  await failed(live, 2)
  app.clock.pass(5000)
  t.match(await answer, { status: 200, body: { status: 'ending' } }, 'after 5 s')
  await failed(live, 3)
  t.match(await app.begin(), { status: 409 }, 'the place stays taken')
  app.clock.pass(15_000)
  t.match(await app.wrote('call.ended'), [{ hangup_confirmed: true, seconds: 21 }])
  t.equal((await app.begin()).status, 201)
})

t.test('call: hang-up: confirmed before the last event has come: its usage is in the receipt', async (t) => {
  const { app, call, path } = await startCall(t)
  app.upstream.onHangUp((_hangUp, response) => {
    response.writeHead(200).end(() => {
      call.push(responseDone('resp_1', usageOf({ inputText: 3 })))
      call.end()
    })
  })
  t.match(await app.hangUp(path), { body: { status: 'ended', usage: { responses: 1 } } })
  t.match(app.lines('call.ended'), [{ complete: true, usage: { input_tokens: 3 } }])
})

t.test('call: hang-up: one that does not close the sideband may have brought more events', async (t) => {
  const { app, call, path } = await startCall(t)
  app.upstream.onHangUp((_hangUp, response) => {
    call.end(null)
    response.writeHead(200).end()
  })
  const answer = app.hangUp(path)
  await app.clock.expire(800)
  t.match(await answer, { body: { status: 'ended' } })
  t.match(await app.wrote('call.ended'), [{ complete: false, hangup_confirmed: true }])
})

for (const status of [404, 400] as const) {
  t.test(`call: hang-up: ${status} call_id_not_found confirms it`, async (t) => {
    const { app, path } = await startCall(t)
    app.upstream.onHangUp(gone(status))
    t.match(await app.hangUp(path), { status: 200, body: { status: 'ended' } })
  })
}

t.test('call: hang-up: one that hangs is ended after 5 s and tried again, never two at once', async (t) => {
  const live = await startCall(t)
  const { app, path } = live
  app.upstream.onHangUp(hang, confirm)
  const answers = [app.hangUp(path), app.hangUp(path)]
  await failed(live, 1)
  app.clock.pass(5000)
  for (const answer of answers) t.match(await answer, { status: 200, body: { status: 'ending' } })
  t.equal(app.upstream.hangUps.length, 1)
  await app.settle()
  app.clock.pass(1000)
  await app.wrote('call.ended')
  t.equal(app.upstream.hangUps.length, 2)
})

t.test('call: hang-up refused until the longest possible end: given up there, unconfirmed', async (t) => {
  const live = await startCall(t)
  const { app, path, status } = live
  app.upstream.onHangUp(failure(500))
  const answer = app.hangUp(path)
  let n = 1
  for (const ms of [1000, 5000, 15_000]) {
    await failed(live, n++)
    app.clock.pass(ms)
  }
  await answer
  while (app.clock.monotonicMs() < 3_500_000) {
    await failed(live, n++)
    app.clock.pass(60_000)
  }
  t.match(await status(), { status: 'ending' })
  await failed(live, n)
  app.clock.pass(100_000)
  t.match(await app.wrote('call.ended'), [{ hangup_confirmed: false, complete: false, reason: 'client' }])
  t.equal((await app.begin()).status, 201, 'the place is free')
})

t.test('call: what the sideband knows confirms a hang-up that fails', async (t) => {
  const { app, call, path } = await startCall(t)
  app.upstream.onHangUp(failure(500))
  const answer = app.hangUp(path)
  await app.upstream.hungUp(call.id)
  call.end(1000)
  t.match(await answer, { body: { status: 'ended', end_reason: 'client' } })
  t.match(app.lines('call.ended'), [{ hangup_confirmed: true, complete: true }])
})

for (const how of ['closes', 'drops'] as const) {
  t.test(`call: sideband ${how} while a hang-up is under way: not dialled again, and no warning`, async (t) => {
    const { app, call, path } = await startCall(t)
    const { reply, release } = held(confirm)
    app.upstream.onHangUp(reply)
    const answer = app.hangUp(path)
    await app.upstream.hungUp(call.id)
    if (how === 'closes') call.end(1000)
    else call.drop()
    await app.settle()
    await app.settle()
    release()
    t.match(await answer, { body: { status: 'ended', end_reason: 'client' } })
    t.match(app.lines('call.ended'), [{ hangup_confirmed: true, complete: how === 'closes' }])
    t.equal(app.upstream.attaches.length, 1)
    t.notOk(app.logLines().some(({ msg }) => msg === 'the sideband of a call is lost'))
  })
}

t.test('call: sideband closes while a hang-up is under way that then fails: reported as incomplete', async (t) => {
  const { app, call, path } = await startCall(t)
  const { reply, release } = held<HangUp>(failure(500))
  app.upstream.onHangUp(reply, confirm)
  const answer = app.hangUp(path)
  await app.upstream.hungUp(call.id)
  call.close(1000)
  await app.settle()
  t.equal(app.upstream.attaches.length, 1)
  release()
  await app.upstream.attached(call.id, 2)
  await call.next('session.update')
  await call.next('session.update')
  await app.settle()
  app.clock.pass(1000)
  t.match(await answer, { body: { status: 'ended' } })
  t.match(app.lines('call.ended'), [{ complete: false }])
})

t.test('call: sideband closes after a hang-up that failed, and is lost at the next: incomplete', async (t) => {
  const live = await startCall(t)
  const { app, call, path } = live
  app.upstream.onHangUp(failure(500), confirm)
  app.upstream.onAttach(stalled)
  const answer = app.hangUp(path)
  await failed(live, 1)
  call.close(1000)
  await until('it to be tried again', () => app.upstream.attaches.length === 2)
  app.clock.pass(1000)
  t.match(await answer, { body: { status: 'ended' } })
  t.match(app.lines('call.ended'), [{ hangup_confirmed: true, complete: false }])
})

t.test('call: a sideband that closes is logged as information, one that drops as a warning', async (t) => {
  const { app, call } = await startCall(t)
  call.close(1000)
  await app.upstream.attached(call.id, 2)
  await call.next('session.update')
  await call.next('session.update')
  await app.settle()
  call.drop()
  await app.upstream.attached(call.id, 3)
  const lost = app.logLines().filter(({ msg }) => msg === 'the sideband of a call is lost')
  t.match(lost, [{ severity: 'INFO', reason: 'closed' }, { severity: 'WARNING', reason: 'lost' }])
})

t.test('call: what is no JSON, no object, no known type, or has no type, is ignored', async (t) => {
  const live = await startCall(t)
  const { call, path, app } = live
  for (const frame of [
    'no json', '[]', '{}', '{"type":7}', '{"type":"response.done"', '{"type":"session.updated","session":7}',
    '{"type":"toString"}', '{ "type": "unknown.type" }', Buffer.from([0, 1, 2])
  ]) call.pushRaw(frame)
  await seen(live)
  await app.hangUp(path)
  t.match(app.lines('call.ended'), [{ usage: { responses: 1 } }])
  t.equal(app.upstream.attaches.length, 1)
})

t.test('call: usage missing, negative, a string, twice: counted as it can be', async (t) => {
  const live = await startCall(t)
  const { call, path, app } = live
  const good = usageOf({ inputText: 3, outputAudio: 4 })
  call.push(
    responseDone('a', good), responseDone('a', good), responseFailed('b'), transcribed('i'), transcribed('i'),
    transcribed('j', { type: 'duration', seconds: 2.5 })
  )
  await seen(live)
  t.match((await live.status()).usage, {
    responses: 3,
    input_tokens: 3,
    output_tokens: 4,
    input: { text: 3 },
    output: { audio: 4 },
    transcription: { seconds: 2.5, input_tokens: 26, output_tokens: 9 }
  })
  call.push(responseDone('c', null), responseDone('d', { ...good, input_tokens: -1, output_tokens: '7' }))
  await seen(live)
  t.match((await live.status()).usage, { responses: 6, input_tokens: 3, output_tokens: 4, output: { audio: 8 } })
  await app.hangUp(path)
  t.match(app.lines('call.ended'), [{ complete: false }])
})

t.test('call: policy reloaded with the caller blocked: hung up within 2 s, once', async (t) => {
  const live = await startCall(t)
  const { app, call } = live
  await seen(live, responseCreated('resp_1'))
  await app.swapPolicy(policyOf({ blocked: '[{ subject: ada }]' }))
  await call.next('response.cancel')
  await app.clock.expire(500)
  t.match(await app.wrote('call.ended'), [{ reason: 'blocked', started: true }])
  t.equal(app.upstream.live(), 0)
})

t.test('call: shorter max_seconds and idle_seconds take effect; a changed fixed does not', async (t) => {
  const live = await startCall(t, { calls: '{ max_seconds: 600, idle_seconds: 300 }' })
  const { app, status } = live
  await seen(live)
  const next = policyOf({ calls: '{ max_seconds: 100, idle_seconds: 30 }' }).replace('You are Ada.', 'You are Bob.')
  await app.swapPolicy(next)
  const { created_at: createdAt, ends_at: endsAt } = await status()
  t.equal(endsAt - createdAt, 100)
  await app.swapPolicy(policyOf({ calls: '{ max_seconds: 600, idle_seconds: 300 }' }))
  await app.pass(30_000)
  t.match(await app.wrote('call.ended'), [{ reason: 'idle', seconds: 30 }])
})

t.test('call: a stop hangs up what runs, all at once, and no more calls begin', async (t) => {
  const app = await startCalls(t, { env: { DRAIN_SECONDS: '1' } })
  for (const sub of ['ada', 'bob', 'eve']) t.equal((await app.begin({ claims: { sub } })).status, 201)
  const stopped = app.stop()
  const refused = await app.begin({ claims: { sub: 'dan' } })
  t.match(refused, { status: 503, body: { error: { code: 'draining' } } })
  await stopped
  t.same(reasons(app), ['shutdown', 'shutdown', 'shutdown'])
  t.equal(app.upstream.live(), 0)
})

t.test('call: a stop gives up after 10 s, and says so', async (t) => {
  const { app } = await startCall(t)
  app.upstream.onHangUp(failure(500))
  const stopped = app.stop()
  await app.clock.expire(10_000)
  await stopped
  t.match(app.lines('call.ended'), [{ reason: 'shutdown', hangup_confirmed: false }])
})

t.test('call: a stop that gives up does not wait for the answer to a hang-up', async (t) => {
  const live = await startCall(t)
  const { app, call } = live
  app.upstream.onHangUp(hang)
  const stopped = app.stop()
  await app.upstream.hungUp(call.id)
  app.clock.pass(5000)
  await app.clock.expire(1000)
  await app.upstream.hungUp(call.id, 2)
  app.clock.pass(4000)
  await stopped
  t.match(app.lines('call.ended'), [{ reason: 'shutdown', hangup_confirmed: false }])
})

t.test('call: a stop does not wait for the next attempt of a hang-up that failed', async (t) => {
  const live = await startCall(t)
  const { app, path } = live
  app.upstream.onHangUp(failure(500), failure(500), failure(500), confirm)
  const answer = app.hangUp(path)
  await failed(live, 1)
  app.clock.pass(1000)
  await failed(live, 2)
  app.clock.pass(5000)
  await failed(live, 3)
  await answer
  const stopped = app.stop()
  await app.clock.expire(1000)
  await stopped
  t.match(app.lines('call.ended'), [{ reason: 'client', hangup_confirmed: true }])
})

t.test('call: a stop that finds no time for a response to be done still asks to hang up', async (t) => {
  const live = await startCall(t)
  const { app, call } = live
  await seen(live, responseCreated('resp_7'))
  app.upstream.onHangUp(hang)
  const stopped = app.stop()
  await call.next('response.cancel')
  app.clock.pass(10_000)
  await app.upstream.hungUp(call.id)
  t.match(await app.wrote('call.ended'), [{ reason: 'shutdown', hangup_confirmed: false, complete: false }])
  // The attempt that is under way times out.
  app.clock.pass(5000)
  await stopped
})

t.test('call: a last line that cannot be written is written later, once, as a repeated one', async (t) => {
  const { app, path } = await startCall(t)
  app.audit.refuse()
  t.match(await app.hangUp(path), { body: { status: 'ended' } })
  t.same(app.lines('call.ended'), [])
  await app.clock.expire(1000)
  app.audit.recover()
  await app.clock.expire(5000)
  t.match(await app.wrote('call.ended'), [{ reason: 'client', repeated: true }])
  await app.pass(600_000)
  t.equal(app.lines('call.ended').length, 1)
})

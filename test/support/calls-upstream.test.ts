// The scripted upstream of calls behaves as the tests that use it assume.

import { once } from 'node:events'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import type { JsonObject } from '../../src/json.ts'
import { audioTurn, itemAdded, responseDone, responseFailed } from './call-events.ts'
import {
  accept, closing, confirm, cutBody, gone, held, notFound, onlySecrets, open, opened, redirect, rejecting, silent,
  stalledBody
} from './call-replies.ts'
import { type CallsUpstream, startCallsUpstream } from './calls-upstream.ts'
import { createInbox } from './phone.ts'
import { AUDIO_OFFER, OFFER } from './sdp.ts'
import { failure, hang, reset } from './upstream.ts'

const session: JsonObject = { type: 'realtime', model: 'gpt-realtime-2.1', instructions: 'You are Ada.' }

function create (upstream: CallsUpstream, sdp = OFFER, signal?: AbortSignal) {
  const body = new FormData()
  body.append('sdp', new Blob([sdp], { type: 'application/sdp' }), 'offer')
  body.append('session', JSON.stringify(session))
  return fetch(`${upstream.url}/realtime/calls`, {
    method: 'POST',
    redirect: 'manual',
    headers: { authorization: 'Bearer sk-test', 'openai-safety-identifier': 'user_1' },
    body,
    ...signal === undefined ? {} : { signal }
  })
}

function hangUp (upstream: CallsUpstream, id: string, signal?: AbortSignal) {
  return fetch(`${upstream.url}/realtime/calls/${id}/hangup`, {
    method: 'POST', ...signal === undefined ? {} : { signal }
  })
}

function dial (t: Test, upstream: CallsUpstream, id: string) {
  const socket = new WebSocket(`${upstream.url.replace('http', 'ws')}/realtime?call_id=${id}`)
  const inbox = createInbox()
  t.teardown(() => socket.terminate())
  socket.on('error', () => {})
  socket.on('message', (data) => inbox.put(data.toString()))
  return { socket, ...inbox, send: (event: JsonObject) => socket.send(JSON.stringify(event)) }
}

async function attach (t: Test, upstream: CallsUpstream) {
  const response = await create(upstream)
  t.equal(response.status, 201)
  const call = upstream.calls.at(-1) as CallsUpstream['calls'][number]
  const sideband = dial(t, upstream, call.id)
  await once(sideband.socket, 'open')
  await upstream.attached(call.id)
  return { call, ...sideband }
}

async function statusOf (t: Test, upstream: CallsUpstream, id: string): Promise<number> {
  const [, response] = await once(dial(t, upstream, id).socket, 'unexpected-response')
  response.resume()
  return response.statusCode
}

t.test('creations that fail leave a call or none, as they are scripted', async (t) => {
  const upstream = await startCallsUpstream(t)
  upstream.onCreate(
    failure(429), failure(401), redirect(307, '/elsewhere'), reset(), opened(reset()), cutBody,
    accept({ location: null }), accept({ location: '/v1/nowhere' }), accept({ answer: 'no sdp' })
  )
  for (const status of [429, 401, 307]) t.equal((await create(upstream)).status, status)
  await t.rejects(create(upstream))
  t.equal(upstream.live(), 0)
  await t.rejects(create(upstream))
  t.equal(upstream.live(), 1)
  const cut = await create(upstream)
  t.equal(cut.headers.get('location'), `/v1/realtime/calls/${upstream.calls[1]?.id}`)
  await t.rejects(cut.text())
  t.equal((await create(upstream)).headers.get('location'), null)
  t.equal((await create(upstream)).headers.get('location'), '/v1/nowhere')
  t.equal(await (await create(upstream)).text(), 'no sdp')
  t.equal(upstream.live(), 5)
  t.equal(upstream.creations.length, 9)
})

t.test('a creation that is held, or never answered, is seen while it waits', async (t) => {
  const upstream = await startCallsUpstream(t)
  const { reply, release } = held(accept({ location: 'absolute' }))
  upstream.onCreate(reply, hang, stalledBody)
  const creating = create(upstream)
  await upstream.asked(1)
  t.equal(upstream.live(), 0)
  release()
  t.match((await creating).headers.get('location'), /^https:\/\/api\.openai\.com\/v1\/realtime\/calls\/rtc_/)

  const gone = new AbortController()
  const left = create(upstream, OFFER, gone.signal)
  const { ended } = await upstream.asked(2)
  gone.abort()
  await t.rejects(left)
  await ended
  t.equal((await create(upstream, OFFER)).status, 201, 'its head comes without its body')
  t.equal(upstream.live(), 2)
})

t.test('a request is kept with its parts, and answered in kind', async (t) => {
  const upstream = await startCallsUpstream(t)
  const response = await create(upstream, AUDIO_OFFER)
  t.notMatch(await response.text(), 'm=application')
  t.match(await (await create(upstream)).text(), 'm=application')
  const { parts, headers, body } = await upstream.asked(1)
  t.match(parts.sdp, { headers: { 'content-type': 'application/sdp' }, text: AUDIO_OFFER })
  t.same(body, session)
  t.equal(headers.authorization, 'Bearer sk-test')
  t.equal(upstream.maxLive('user_1'), 2)
  t.equal(upstream.maxLive('user_2'), 0)
})

t.test('where only secrets create, the key is 401 and a raw offer is the session that was minted', async (t) => {
  const upstream = await startCallsUpstream(t)
  upstream.onCreate(onlySecrets)
  t.equal((await create(upstream)).status, 401)
  const minting = await fetch(`${upstream.url}/realtime/client_secrets`, {
    method: 'POST', body: JSON.stringify({ session })
  })
  const { value } = await minting.json() as { value: string }
  const post = (secret: string) => fetch(`${upstream.url}/realtime/calls`, {
    method: 'POST', headers: { 'content-type': 'application/sdp', authorization: `Bearer ${secret}` }, body: OFFER
  })
  t.equal((await post('ek_unknown')).status, 401)
  t.equal((await post(value)).status, 201)
  t.match((await upstream.created()).session(), session)
})

t.test('a sideband is refused as often as it is scripted, and always where the call is unknown', async (t) => {
  const upstream = await startCallsUpstream(t)
  upstream.onAttach(notFound, notFound, open)
  await create(upstream)
  const { id } = await upstream.created()
  t.equal(await statusOf(t, upstream, id), 404)
  t.equal(await statusOf(t, upstream, id), 404)
  await once(dial(t, upstream, id).socket, 'open')
  await upstream.attached(id)
  t.equal(await statusOf(t, upstream, 'rtc_unknown'), 404)
})

t.test('a sideband may be silent, be rejected, or close at once', async (t) => {
  const upstream = await startCallsUpstream(t)
  upstream.onAttach(silent, rejecting(), closing(1011))
  const mute = await attach(t, upstream)
  mute.send({ type: 'session.update', session: { type: 'realtime' } })
  await mute.call.next('session.update')
  t.strictSame(mute.seen, [])

  const rejected = await attach(t, upstream)
  rejected.send({ type: 'session.update', event_id: 'ours', session: { type: 'realtime' } })
  t.match(await rejected.next('error'), { error: { event_id: 'ours' } })

  await create(upstream)
  const [code] = await once(dial(t, upstream, (await upstream.created(3)).id).socket, 'close')
  t.equal(code, 1011)
  t.equal(upstream.live(), 3)
})

t.test('the session is merged, by either side, and shown unless it shall not be', async (t) => {
  const upstream = await startCallsUpstream(t)
  const { call, send, next, seen } = await attach(t, upstream)
  send({ type: 'session.update', session: { type: 'realtime' } })
  t.match(await next('session.updated'), {
    session: { ...session, id: call.id.replace('rtc', 'sess'), audio: { output: { voice: 'alloy' } } }
  })
  call.change({ audio: { input: { turn_detection: { type: 'semantic_vad' } } } })
  t.match(await next('session.updated'), { session: { audio: { input: { turn_detection: { eagerness: 'auto' } } } } })
  call.change({ instructions: 'You are Bob.' }, false)
  send({ type: 'session.update', event_id: 'bad', session: { type: 'realtime', voice: 'x' } })
  t.match(await next('error'), { error: { code: 'unknown_parameter', event_id: 'bad' } })
  t.equal(seen.length, 3, 'what was not shown was not sent')
  send({ type: 'session.update', session: { type: 'realtime', tools: [] } })
  t.match(await next('session.updated'), { session: { instructions: 'You are Bob.' } })
})

t.test('events come as they are pushed, and items are deleted on request', async (t) => {
  const upstream = await startCallsUpstream(t)
  const { call, send, next, seen } = await attach(t, upstream)
  call.push(...audioTurn(), responseFailed('resp_2'), itemAdded({ id: 'item_s', role: 'system' }))
  t.match(await next('response.done'), { response: { id: 'resp_1', usage: { total_tokens: 82 } } })
  t.match(await next('response.done'), { response: { status: 'failed', usage: null } })
  t.equal(seen.length, audioTurn().length + 2)
  send({ type: 'conversation.item.delete', item_id: 'item_s' })
  t.match(await next('conversation.item.deleted'), { item_id: 'item_s', event_id: /./ })
  call.on('response.cancel', () => call.push(responseDone('resp_3', null, { status: 'cancelled' })))
  send({ type: 'response.cancel' })
  t.match(await next('response.done'), { response: { id: 'resp_3', status: 'cancelled' } })
})

t.test('a sideband closes while its call lives on, or with it', async (t) => {
  const upstream = await startCallsUpstream(t)
  const { call, socket } = await attach(t, upstream)
  const closed = once(socket, 'close')
  call.close(1001, 'Your session hit the maximum duration of 60 minutes.')
  t.match(await closed, [1001])
  for (const [end, code] of [[call.drop, 1006], [call.end, 1000]] as const) {
    const { socket } = dial(t, upstream, call.id)
    await once(socket, 'open')
    const closed = once(socket, 'close')
    end()
    t.match(await closed, [code])
  }
  t.equal(upstream.attaches.length, 3)
  t.equal(await statusOf(t, upstream, call.id), 404)
})

t.test('a hang-up may fail, hang, be confirmed, or find nothing', async (t) => {
  const upstream = await startCallsUpstream(t)
  upstream.onHangUp(failure(500), hang, confirm)
  const { call, socket } = await attach(t, upstream)
  const closed = once(socket, 'close')
  t.equal((await hangUp(upstream, call.id)).status, 500)
  const left = new AbortController()
  const hanging = hangUp(upstream, call.id, left.signal)
  await upstream.hungUp(call.id, 2)
  left.abort()
  await t.rejects(hanging)
  t.equal(upstream.live(), 1)
  t.equal((await hangUp(upstream, call.id)).status, 200)
  await upstream.ended(call.id)
  t.match(await closed, [1000])
  const again = await hangUp(upstream, call.id)
  t.equal(again.status, 404)
  t.match(await again.json(), { error: { code: 'call_id_not_found' } })

  upstream.onHangUp(gone(400))
  await create(upstream)
  t.equal((await hangUp(upstream, (await upstream.created(2)).id)).status, 400)
  t.equal(upstream.live(), 0)
  t.equal(upstream.maxLive(), 1)
})

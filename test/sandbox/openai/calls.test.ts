// Calls that a server creates with its key: held by a WebRTC peer, watched over a sideband, hung up.

import { once } from 'node:events'
import OpenAI from 'openai'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import type { JsonObject } from '../../../src/json.ts'
import { startUpstream, type UpstreamOptions } from '../../../src/sandbox/openai/upstream.ts'
import { createInbox, createPhone, type Phone } from '../../support/phone.ts'
import { until } from '../../support/until.ts'

// Most of these tests wait, one of them twice seven seconds.
t.jobs = 4

const apiKey = 'sk-sandbox-0123456789abcdef'
const realtime: JsonObject = { type: 'realtime', model: 'gpt-realtime-2.1', instructions: 'You are Ada.' }
const NOT_FOUND = { error: { type: 'invalid_request_error', code: 'call_id_not_found', param: '' } }

async function start (t: Test, options: Partial<UpstreamOptions> = {}) {
  const upstream = await startUpstream({ apiKey, ...options })
  t.teardown(upstream.close)
  return upstream.url
}

type Parts = Record<string, string | Blob>

function create (url: string, parts: Parts, key = apiKey) {
  const body = new FormData()
  for (const [name, part] of Object.entries(parts)) body.append(name, part)
  return fetch(`${url}/realtime/calls`, { method: 'POST', headers: { authorization: `Bearer ${key}` }, body })
}

function hangUp (url: string, id: string, key = apiKey) {
  return fetch(`${url}/realtime/calls/${id}/hangup`, { method: 'POST', headers: { authorization: `Bearer ${key}` } })
}

async function call (t: Test, url: string, session: JsonObject = realtime, options: { channel?: boolean } = {}) {
  const phone = await createPhone(t, options)
  const response = await create(url, { sdp: phone.offer, session: JSON.stringify(session) })
  t.equal(response.status, 201)
  return { phone, response, id: idOf(response), answer: await response.text() }
}

function idOf ({ headers }: Response): string {
  return /^\/v1\/realtime\/calls\/(rtc_\w+)$/.exec(headers.get('location') ?? '')?.[1] as string
}

async function join (phone: Phone, answer: string): Promise<void> {
  await phone.take(answer)
  await phone.next('session.created')
}

function dial (t: Test, url: string, id: string, key = apiKey) {
  const socket = new WebSocket(
    `${url.replace('http', 'ws')}/realtime?call_id=${id}`, { headers: { authorization: `Bearer ${key}` } }
  )
  t.teardown(() => socket.terminate())
  // A refused socket is torn down while it connects.
  socket.on('error', () => {})
  const inbox = createInbox()
  socket.on('message', (data) => inbox.put(data.toString()))
  return { socket, ...inbox, send: (event: JsonObject) => socket.send(JSON.stringify(event)) }
}

async function attach (t: Test, url: string, id: string) {
  const sideband = dial(t, url, id)
  await once(sideband.socket, 'open')
  return sideband
}

async function refusal (t: Test, url: string, id: string, key = apiKey) {
  const [, response] = await once(dial(t, url, id, key).socket, 'unexpected-response')
  return { status: response.statusCode, body: JSON.parse((await response.setEncoding('utf8').toArray()).join('')) }
}

t.test('a page without a data channel is missed when its checks stop', { buffered: true }, async (t) => {
  const url = await start(t)
  const { phone, id, answer } = await call(t, url, realtime, { channel: false })
  const { socket } = await attach(t, url, id)
  await phone.take(answer)
  await until('the connection', () => phone.peer.connectionState === 'connected')
  phone.peer.close()
  t.match(await once(socket, 'close'), [1000])
})

t.test('what creates no call is refused and named', { buffered: true }, async (t) => {
  const url = await start(t)
  const { offer } = await createPhone(t)
  const session = JSON.stringify(realtime)
  const cases: [parts: Parts, code: string, param: string | null][] = [
    [{ session }, 'missing_required_parameter', 'sdp'],
    [{ sdp: offer }, 'missing_required_parameter', 'session'],
    [{ sdp: offer, session, extra: '1' }, 'unknown_parameter', 'extra'],
    [{ sdp: offer, session: 'no json' }, 'invalid_value', 'session'],
    [{ sdp: offer, session: '{}' }, 'missing_required_parameter', 'session.type'],
    [{ sdp: offer, session: '{"type":"transcription"}' }, 'invalid_value', 'session.type'],
    [{ sdp: offer, session: '{"type":"realtime","voice":"cedar"}' }, 'unknown_parameter', 'session.voice'],
    [{ sdp: 'hello', session }, 'invalid_offer', null],
    [{ sdp: `${offer}m=video 9 UDP/TLS/RTP/SAVPF 96\r\n`, session }, 'invalid_offer', null]
  ]
  for (const [parts, code, param] of cases) {
    const response = await create(url, parts)
    t.equal(response.status, 400)
    t.match(await response.json(), { error: { type: 'invalid_request_error', code, param } })
  }
  t.equal((await create(url, { sdp: offer, session }, 'sk-wrong')).status, 401)
  const garbage = await fetch(`${url}/realtime/calls`, {
    method: 'POST',
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'multipart/form-data; boundary=x' },
    body: 'no form'
  })
  t.equal(garbage.status, 400)
})

t.test('a server that takes no key at /calls says so, and calls with a client secret then', {
  buffered: true
}, async (t) => {
  const url = await start(t, { quirks: { refusesKeyAtCalls: true } })
  const { offer, take, next } = await createPhone(t)
  const refused = await create(url, { sdp: offer, session: JSON.stringify(realtime) })
  t.equal(refused.status, 401)
  t.match(await refused.json(), { error: { message: /ephemeral/ } })

  const client = new OpenAI({ baseURL: url, apiKey, maxRetries: 0 })
  const { value } = await client.realtime.clientSecrets.create({ session: realtime as never })
  const created = await fetch(`${url}/realtime/calls`, {
    method: 'POST',
    headers: { authorization: `Bearer ${value}`, 'content-type': 'application/sdp' },
    body: offer
  })
  const sideband = await attach(t, url, idOf(created))
  await take(await created.text())
  await next('session.created')
  t.equal((await hangUp(url, idOf(created))).status, 200)
  await once(sideband.socket, 'close')
})

t.test('a sideband is refused before the upgrade: a wrong key, an unknown call, one that has ended', {
  buffered: true
}, async (t) => {
  const url = await start(t, { quirks: { refusedAttaches: 2 } })
  const { id } = await call(t, url)
  t.equal((await refusal(t, url, id, 'sk-wrong')).status, 401)
  t.match(await refusal(t, url, 'rtc_unknown'), { status: 404, body: NOT_FOUND })
  t.match(await refusal(t, url, id), { status: 404, body: NOT_FOUND })
  t.match(await refusal(t, url, id), { status: 404, body: NOT_FOUND })
  await attach(t, url, id)
  await hangUp(url, id)
  t.match(await refusal(t, url, id), { status: 404, body: NOT_FOUND })
})

t.test('a call lives unjoined, and a read on its sideband is answered by the whole session', {
  buffered: true
}, async (t) => {
  const url = await start(t, { now: () => 1_800_000_000_000 })
  const { id, response, answer } = await call(
    t, url, { ...realtime, audio: { input: { turn_detection: { type: 'semantic_vad' } } } }
  )
  t.equal(response.headers.get('content-type'), 'text/plain; charset=utf-8')
  t.match(answer, /^v=0\r\n/)
  const sideband = await attach(t, url, id)
  sideband.send({ type: 'session.update', session: { type: 'realtime' } })
  const { session } = await sideband.next('session.updated')
  t.match(session, {
    ...realtime,
    id: id.replace('rtc', 'sess'),
    expires_at: 1_800_003_600,
    max_output_tokens: 'inf',
    audio: { input: { turn_detection: { type: 'semantic_vad', eagerness: 'auto' } }, output: { voice: 'alloy' } }
  })
  t.strictSame(sideband.seen, ['session.updated'], 'no session.created')
  sideband.send({ type: 'session.update', event_id: 'ours', session: { type: 'realtime', model: 'other' } })
  t.match(await sideband.next('error'), { error: { param: 'session.model', event_id: 'ours' } })
})

t.test('one session is shared: updates of either side reach both, errors only the one that asked', {
  buffered: true
}, async (t) => {
  const url = await start(t)
  const { phone, id, answer } = await call(t, url)
  const sideband = await attach(t, url, id)
  await join(phone, answer)

  phone.send({ type: 'make.coffee' })
  await phone.next('error')
  phone.send({
    type: 'session.update',
    session: { type: 'realtime', audio: { input: { turn_detection: { type: 'server_vad', threshold: 0.7 } } } }
  })
  t.match(await sideband.next('session.updated'), {
    session: {
      instructions: 'You are Ada.',
      audio: { input: { turn_detection: { threshold: 0.7, silence_duration_ms: 200 } } }
    }
  })
  await phone.next('session.updated')
  sideband.send({ type: 'session.update', session: { type: 'realtime', instructions: '' } })
  t.match(await phone.next('session.updated'), { session: { instructions: '' } })

  phone.send({ type: 'conversation.item.create', item: { type: 'message', role: 'system', content: [] } })
  const { item } = await sideband.next('conversation.item.added')
  t.equal(item.role, 'system')
  sideband.send({ type: 'conversation.item.delete', item_id: item.id })
  await phone.next('conversation.item.deleted')
  phone.send({ type: 'conversation.item.truncate', item_id: item.id, content_index: 0, audio_end_ms: 0 })
  t.match(await phone.next('error'), { error: { code: 'item_truncate_invalid_item_id' } })
  t.notOk(sideband.seen.includes('error'))
})

t.test('a server may keep the client\'s updates from the sideband', { buffered: true }, async (t) => {
  const url = await start(t, { quirks: { mirrorsUpdates: false } })
  const { phone, id, answer } = await call(t, url)
  const sideband = await attach(t, url, id)
  await join(phone, answer)
  phone.send({ type: 'session.update', session: { type: 'realtime', instructions: 'You are Bob.' } })
  await phone.next('session.updated')
  t.notOk(sideband.seen.includes('session.updated'))
  sideband.send({ type: 'session.update', session: { type: 'realtime' } })
  t.match(await sideband.next('session.updated'), { session: { instructions: 'You are Bob.' } }, 'a read shows it')
})

t.test('speech is answered with a voice, in the recorded order, also where there is no data channel', {
  buffered: true
}, async (t) => {
  const url = await start(t)
  const { phone, id, answer } = await call(t, url, realtime, { channel: false })
  t.notMatch(answer, 'm=application')
  const sideband = await attach(t, url, id)
  await phone.take(answer)
  await until('the connection', () => phone.peer.connectionState === 'connected')
  await phone.talk(400)
  const done = await sideband.next('response.done')
  t.match(done.response, {
    status: 'completed', conversation_id: /^conv_/, output_modalities: ['audio'], audio: { output: { voice: 'alloy' } }
  })
  t.ok(done.response.usage.input_token_details.audio_tokens > 0)
  t.ok(done.response.usage.output_token_details.audio_tokens > 0)
  await sideband.next('output_audio_buffer.stopped')
  t.ok(phone.heard() > 20, `${phone.heard()} loud frames were heard`)
  t.strictSame(sideband.seen, [
    'input_audio_buffer.speech_started', 'input_audio_buffer.speech_stopped', 'input_audio_buffer.committed',
    'conversation.item.added', 'conversation.item.done', 'response.created', 'response.output_item.added',
    'conversation.item.added', 'response.content_part.added', 'response.output_audio_transcript.delta',
    'output_audio_buffer.started', 'response.output_audio.done', 'response.output_audio_transcript.done',
    'response.content_part.done', 'conversation.item.done', 'response.output_item.done', 'response.done',
    'rate_limits.updated', 'output_audio_buffer.stopped'
  ])

  sideband.send({ type: 'session.update', session: { type: 'realtime', audio: { output: { voice: 'cedar' } } } })
  t.match(await sideband.next('error'), { error: { code: 'cannot_update_voice' } }, 'its voice stays once heard')
})

t.test('a response shows its own voice and whether it is out of band, and can be cancelled', {
  buffered: true
}, async (t) => {
  const url = await start(t)
  const { phone, id, answer } = await call(t, url)
  const sideband = await attach(t, url, id)
  await join(phone, answer)
  phone.send({ type: 'response.create', response: { temperature: 1 } })
  t.match(await phone.next('error'), { error: { code: 'unknown_parameter', param: 'response.temperature' } })
  phone.send({ type: 'response.cancel' })
  t.match(await phone.next('error'), { error: { code: 'response_cancel_not_active' } })

  // At once: the model takes 150 ms, in which a busy machine may not bring an answer and the next message.
  sideband.send({
    type: 'response.create',
    response: { conversation: 'none', audio: { output: { voice: 'cedar' } }, max_output_tokens: 50 }
  })
  sideband.send({ type: 'response.create' })
  sideband.send({ type: 'response.cancel', response_id: 'resp_other' })
  sideband.send({ type: 'response.cancel' })
  t.match(await phone.next('response.created'), {
    response: {
      conversation_id: null, status: 'in_progress', audio: { output: { voice: 'cedar' } }, max_output_tokens: 50
    }
  })
  t.match(await sideband.next('error'), { error: { code: 'conversation_already_has_active_response' } })
  t.match(await sideband.next('error'), { error: { code: 'response_cancel_not_active' } })
  t.match(await phone.next('response.done'), {
    response: { status: 'cancelled', status_details: { reason: 'client_cancelled' } }
  })
  t.notOk(sideband.seen.includes('conversation.item.added'))

  phone.send({ type: 'response.create' })
  await sideband.next('output_audio_buffer.started')
  phone.send({ type: 'output_audio_buffer.clear' })
  await sideband.next('output_audio_buffer.cleared')
  phone.send({ type: 'response.create', response: { audio: { output: { voice: 'cedar' } } } })
  t.match(await phone.next('error'), {
    error: { code: 'cannot_update_voice', param: 'response.audio.output.voice' }
  }, 'one that was heard stays')
})

t.test('a hang-up ends the peer and the sideband; a second one finds nothing', { buffered: true }, async (t) => {
  const url = await start(t)
  const { phone, id, answer } = await call(t, url)
  const sideband = await attach(t, url, id)
  await join(phone, answer)
  t.equal((await hangUp(url, id, 'sk-wrong')).status, 401)
  const [[code], again] = await Promise.all([
    once(sideband.socket, 'close'), hangUp(url, id).then(() => hangUp(url, id)),
    phone.ended
  ])
  t.equal(code, 1000)
  t.equal(again.status, 404)
  t.match(await again.json(), NOT_FOUND)
})

t.test('a page that goes ends the call, a sideband that goes does not', { buffered: true }, async (t) => {
  const url = await start(t)
  const { phone, id, answer } = await call(t, url)
  const first = await attach(t, url, id)
  first.socket.terminate()
  await join(phone, answer)
  const second = await attach(t, url, id)
  phone.hangUp()
  const [code] = await once(second.socket, 'close')
  t.equal(code, 1000)
  t.equal((await hangUp(url, id)).status, 404)
})

t.test('a session that has lasted as long as it may is closed with OpenAI\'s reason', { buffered: true }, async (t) => {
  const url = await start(t, { sessionSeconds: 1 })
  const { id } = await call(t, url)
  const { socket } = await attach(t, url, id)
  const [code, reason] = await once(socket, 'close')
  t.equal(code, 1001)
  t.equal(reason.toString(), 'Your session hit the maximum duration of 60 minutes.')
})

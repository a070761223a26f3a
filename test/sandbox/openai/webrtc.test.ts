// Calls over WebRTC, with a peer that is not a browser. test/browser has those of browsers.

import OpenAI from 'openai'
import t, { type Test } from 'tap'
import { MediaStreamTrack, type RTCDataChannel } from 'werift'
import { startUpstream, type UpstreamOptions } from '../../../src/sandbox/openai/upstream.ts'
import { createPeer } from '../../support/phone.ts'
import { until } from '../../support/until.ts'

const apiKey = 'sk-sandbox-0123456789abcdef'
const realtime = { type: 'realtime' as const, model: 'gpt-realtime-2.1', instructions: 'You are Ada.' }

async function start (t: Test, options: Partial<UpstreamOptions> = {}) {
  const logged: string[] = []
  const upstream = await startUpstream({ apiKey, log: (line) => logged.push(line), ...options })
  t.teardown(upstream.close)
  return { url: upstream.url, logged, client: new OpenAI({ baseURL: upstream.url, apiKey, maxRetries: 0 }) }
}

function post (url: string, secret: string | null, sdp: string, headers: Record<string, string> = {}) {
  const authorization = secret === null ? undefined : { authorization: `Bearer ${secret}` }
  return fetch(
    url, { method: 'POST', headers: { 'content-type': 'application/sdp', ...authorization, ...headers }, body: sdp }
  )
}

/** Returns events one at a time, and keeps those that come before they are asked for. */
function eventsOf (channel: RTCDataChannel): () => Promise<any> {
  const waiting: string[] = []
  let wake = () => {}
  channel.onMessage.subscribe((message) => { waiting.push(message.toString()); wake() })
  return async () => {
    while (waiting.length === 0) await new Promise<void>((resolve) => { wake = resolve })
    return JSON.parse(waiting.shift() as string)
  }
}

async function call (t: Test, url: string, secret: string) {
  const peer = createPeer(t)
  peer.addTrack(new MediaStreamTrack({ kind: 'audio' }))
  const channel = peer.createDataChannel('oai-events')
  const next = eventsOf(channel)
  await peer.setLocalDescription(await peer.createOffer())
  const response = await post(url, secret, peer.localDescription?.sdp ?? '')
  const answer = await response.text()
  if (response.status === 201) await peer.setRemoteDescription({ type: 'answer', sdp: answer })
  return { peer, channel, next, response, answer }
}

t.test('without a secret that opens something it is 401, in the envelope, and readable for a page', async (t) => {
  let nowMs = 1_800_000_000_000
  const { url, client } = await start(t, { now: () => nowMs })
  const { value } = await client.realtime.clientSecrets.create(
    { expires_after: { anchor: 'created_at', seconds: 10 }, session: realtime }
  )
  nowMs += 10_000
  for (const secret of [null, 'ek_nobody_minted_this_one', apiKey, value]) {
    const response = await post(`${url}/realtime/calls`, secret, 'v=0', { origin: 'http://page.test' })
    t.equal(response.status, 401)
    t.equal(response.headers.get('access-control-allow-origin'), '*')
    t.match(
      await response.json(),
      { error: { type: 'invalid_request_error', code: secret === null ? null : 'invalid_api_key' } }
    )
  }
})

t.test('what is no offer is 400', async (t) => {
  const { url, client } = await start(t)
  const { value } = await client.realtime.clientSecrets.create({ session: realtime })
  const filmed = createPeer(t)
  filmed.addTrack(new MediaStreamTrack({ kind: 'audio' }))
  filmed.addTransceiver('video')
  const { sdp: withVideo = '' } = await filmed.createOffer()
  const mute = createPeer(t)
  mute.createDataChannel('oai-events')
  const { sdp: withoutAudio = '' } = await mute.createOffer()
  for (const sdp of ['', 'hello', 'v=0\r\nm=application x\r\n', 'v=0\r\nm=audio x\r\n', withVideo, withoutAudio]) {
    const response = await post(`${url}/realtime/calls`, value, sdp)
    t.equal(response.status, 400, sdp.slice(0, 20))
    t.match(await response.json(), { error: { type: 'invalid_request_error' } })
  }
  const json = await fetch(
    `${url}/realtime/calls`,
    { method: 'POST', headers: { authorization: `Bearer ${value}`, 'content-type': 'application/json' }, body: '{}' }
  )
  t.equal(json.status, 400)
})

t.test('a translation is called where translations are, and nothing else is', async (t) => {
  const { url, client } = await start(t)
  const realtimeSecret = await client.realtime.clientSecrets.create({ session: realtime })
  t.equal((await call(t, `${url}/realtime/translations/calls`, realtimeSecret.value)).response.status, 400)

  const { value } = await client.realtime.translations.clientSecrets.create(
    { session: { model: 'gpt-realtime-translate' } }
  )
  t.equal((await call(t, `${url}/realtime/calls`, value)).response.status, 400)
  const { response, next } = await call(t, `${url}/realtime/translations/calls`, value)
  t.equal(response.status, 201)
  t.match(response.headers.get('location'), /^\/v1\/realtime\/translations\/calls\/rtc_\w+$/)
  t.match(await next(), { type: 'session.created', session: { type: 'translation', model: 'gpt-realtime-translate' } })
})

t.test('a preflight allows pages of any origin', async (t) => {
  const { url } = await start(t)
  const preflight = await fetch(`${url}/realtime/calls`, {
    method: 'OPTIONS',
    headers: {
      origin: 'http://page.test',
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization,content-type'
    }
  })
  t.equal(preflight.status, 204)
  t.match(preflight.headers.get('access-control-allow-headers'), 'authorization')
})

t.test('a call is the session that was minted, and a session.update is answered', async (t) => {
  const { url, client } = await start(t)
  const { value } = await client.realtime.clientSecrets.create(
    { session: { ...realtime, audio: { output: { voice: 'cedar' } } } }
  )
  const { response, answer, channel, next } = await call(t, `${url}/realtime/calls`, value)
  t.equal(response.status, 201)
  t.equal(response.headers.get('content-type'), 'application/sdp')
  t.match(response.headers.get('location'), /^\/v1\/realtime\/calls\/rtc_\w+$/)
  t.match(response.headers.get('access-control-expose-headers'), 'Location')
  const addresses = new Set([...answer.matchAll(/^a=candidate:(?:\S+ ){4}(\S+)/gm)].map(([, address]) => address))
  t.same(addresses, new Set(['127.0.0.1']), 'nothing but this machine is offered')

  t.match(await next(), {
    type: 'session.created',
    session: {
      id: /^sess_/, model: 'gpt-realtime-2.1', instructions: 'You are Ada.', audio: { output: { voice: 'cedar' } }
    }
  })
  channel.send(JSON.stringify({ type: 'session.update', session: { type: 'realtime', instructions: 'You are Bob.' } }))
  t.match(
    await next(),
    { type: 'session.updated', session: { instructions: 'You are Bob.', audio: { output: { voice: 'cedar' } } } }
  )
  channel.send(JSON.stringify({ type: 'session.update', session: { type: 'realtime', voice: 'cedar' } }))
  t.match(await next(), { type: 'error', error: { code: 'unknown_parameter', param: 'session.voice' } })
})

t.test('a call that is hung up is ended, and one in progress does not hold up the end', async (t) => {
  const { url, client, logged } = await start(t)
  const { value } = await client.realtime.clientSecrets.create({ session: realtime })
  const { next, channel, response } = await call(t, `${url}/realtime/calls`, value)
  t.match(await next(), { type: 'session.created' })
  channel.close()
  const id = response.headers.get('location')?.split('/').at(-1)
  await until('the end of the call', () => logged.includes(`${id} ended`))

  const second = await call(t, `${url}/realtime/calls`, value)
  t.match(await second.next(), { type: 'session.created' })
})

// A minted secret opens the Realtime WebSocket, with OpenAI's own client and as a browser does.

import { once } from 'node:events'
import { connect as connectPlain, type NetConnectOpts } from 'node:net'
import OpenAI from 'openai'
import { OpenAIRealtimeWS } from 'openai/realtime/ws'
import t, { type Test } from 'tap'
import { WebSocket as NodeWebSocket } from 'ws'
import { startUpstream, type UpstreamOptions } from '../../../src/sandbox/openai/upstream.ts'

const apiKey = 'sk-sandbox-0123456789abcdef'
const realtime = { type: 'realtime' as const, model: 'gpt-realtime-2.1', instructions: 'You are Ada.' }

async function start (t: Test, options: Partial<UpstreamOptions> = {}) {
  const upstream = await startUpstream({ apiKey, ...options })
  t.teardown(upstream.close)
  return { url: upstream.url, client: new OpenAI({ baseURL: upstream.url, apiKey, maxRetries: 0 }) }
}

/** OpenAI's client insists on wss: here the same bytes go over a plain socket. */
function connect (t: Test, url: string, secret: string, target: { model: string } | { intent: 'transcription' }) {
  const createConnection = (options: NetConnectOpts) => connectPlain(options)
  const session = new OpenAIRealtimeWS(
    { ...target, options: { createConnection } as object }, new OpenAI({ baseURL: url, apiKey: secret })
  )
  t.teardown(() => session.close())
  return session
}

function refusal (url: string, secret: string): Promise<{ status: number | undefined, body: unknown }> {
  return new Promise((resolve, reject) => {
    new NodeWebSocket(`${url}/realtime?model=gpt-realtime-2.1`, { headers: { authorization: `Bearer ${secret}` } })
      .on('open', () => reject(new Error('it opened')))
      .on('unexpected-response', (_request, response) => {
        response.setEncoding('utf8').toArray().then(
          (chunks) => resolve({ status: response.statusCode, body: JSON.parse(chunks.join('')) }), reject
        )
      })
  })
}

const next = (session: OpenAIRealtimeWS, type: Parameters<OpenAIRealtimeWS['once']>[0]): Promise<any> =>
  new Promise((resolve) => session.once(type, resolve))

t.test('an unknown secret is 401 before the upgrade', async (t) => {
  const { url } = await start(t)
  const { status, body } = await refusal(url, 'ek_nobody_minted_this_one')
  t.equal(status, 401)
  t.match(body, { error: { type: 'invalid_request_error', code: 'invalid_api_key' } })
})

t.test('the server key is no client secret', async (t) => {
  const { url } = await start(t)
  t.equal((await refusal(url, apiKey)).status, 401)
})

t.test('a secret opens sessions until it expires, and not one second longer', async (t) => {
  let nowMs = 1_800_000_000_000
  const { url, client } = await start(t, { now: () => nowMs })
  const { value } = await client.realtime.clientSecrets.create(
    { expires_after: { anchor: 'created_at', seconds: 10 }, session: realtime }
  )

  nowMs += 9_999
  const [first, second] = [connect(t, url, value, realtime), connect(t, url, value, realtime)]
  const created = await Promise.all([next(first, 'session.created'), next(second, 'session.created')])
  t.not(created[0].session.id, created[1].session.id, 'each is a session of its own')
  nowMs += 1
  t.equal((await refusal(url, value)).status, 401)
  first.send({ type: 'session.update', session: { type: 'realtime', instructions: 'Still here.' } })
  t.match(
    await next(first, 'session.updated'),
    { session: { instructions: 'Still here.' } },
    'a running session outlives its secret'
  )
})

t.test('session.created carries the config that was minted', async (t) => {
  const { url, client } = await start(t)
  const { value } = await client.realtime.clientSecrets.create(
    { session: { ...realtime, audio: { output: { voice: 'cedar' } } } }
  )
  const created = await next(connect(t, url, value, { model: 'gpt-of-the-url' }), 'session.created')
  t.match(created, {
    type: 'session.created',
    event_id: /^event_/,
    session: {
      type: 'realtime',
      model: 'gpt-realtime-2.1',
      instructions: 'You are Ada.',
      audio: {
        output: { voice: 'cedar', speed: 1 }
      }
    }
  })
})

t.test('a transcription secret opens a transcription session', async (t) => {
  const { url, client } = await start(t)
  const { value } = await client.realtime.clientSecrets.create(
    { session: { type: 'transcription', audio: { input: { transcription: { model: 'gpt-live-transcribe' } } } } }
  )
  const created = await next(connect(t, url, value, { intent: 'transcription' }), 'session.created')
  t.match(
    created,
    { session: { type: 'transcription', audio: { input: { transcription: { model: 'gpt-live-transcribe' } } } } }
  )
})

t.test('a browser shows its secret as a subprotocol, and it is not echoed', async (t) => {
  const { url, client } = await start(t)
  const { value } = await client.realtime.clientSecrets.create({ session: realtime })
  const socket = new WebSocket(
    `${url}/realtime?model=gpt-realtime-2.1`, [`openai-insecure-api-key.${value}`, 'realtime']
  )
  t.teardown(() => socket.close())
  const [{ data }] = await once(socket, 'message')
  t.equal(socket.protocol, 'realtime')
  t.match(JSON.parse(data), { type: 'session.created', session: { instructions: 'You are Ada.' } })
})

t.test('what a session does not take is an error event that names it, and the session goes on', async (t) => {
  const { url, client } = await start(t)
  const { value } = await client.realtime.clientSecrets.create({ session: realtime })
  const session = connect(t, url, value, realtime)
  await next(session, 'session.created')
  const cases: [event: object, code: string, param: string][] = [
    [
      { type: 'session.update', session: { type: 'realtime', model: 'gpt-realtime-2.1-mini' } }, 'invalid_value',
      'session.model'
    ],
    [{ type: 'session.update', session: { instructions: 'no type' } }, 'missing_required_parameter', 'session.type'],
    [{ type: 'session.update', session: { type: 'realtime', voice: 'cedar' } }, 'unknown_parameter', 'session.voice'],
    [{ type: 'session.update' }, 'missing_required_parameter', 'session'],
    [{ type: 'make.coffee' }, 'invalid_value', 'type'],
    [[], 'missing_required_parameter', 'type']
  ]
  for (const [event, code, param] of cases) {
    session.send(event as never)
    t.match(await next(session, 'error'), { error: { type: 'invalid_request_error', code, param } })
  }
  session.send(
    { type: 'session.update', session: { type: 'realtime', model: 'gpt-realtime-2.1', output_modalities: ['text'] } }
  )
  t.match(
    await next(session, 'session.updated'), { session: { output_modalities: ['text'], instructions: 'You are Ada.' } }
  )
})

t.test('a response comes as text, in the documented order', async (t) => {
  const { url, client } = await start(t)
  const { value } = await client.realtime.clientSecrets.create({ session: realtime })
  const session = connect(t, url, value, realtime)
  const types: string[] = []
  session.on('event', ({ type }) => types.push(type))
  await next(session, 'session.created')
  session.send({ type: 'input_audio_buffer.append', audio: '' })
  session.send({ type: 'response.create' })
  t.match(
    await next(session, 'response.done'),
    { response: { status: 'completed', output: [{ content: [{ type: 'output_text' }] }] } }
  )
  t.strictSame(types, [
    'session.created', 'response.created', 'response.output_item.added', 'conversation.item.added',
    'response.content_part.added',
    'response.output_text.delta', 'response.output_text.done', 'response.content_part.done', 'conversation.item.done',
    'response.output_item.done', 'response.done'
  ])
})

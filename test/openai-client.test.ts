// The official OpenAI client over a real socket: typed results, error classes, retries.

import OpenAI from 'openai'
import type { Test } from 'tap'
import t from 'tap'
import { type App, type AppOptions, POLICY, startApp } from './support/app.ts'
import { failure, GA, json, reset } from './support/upstream.ts'

async function start (t: Test, options: AppOptions = {}): Promise<{ app: App, client: OpenAI }> {
  const app = await startApp(t, { ...options, env: { OPENAI_MINT_API: 'client_secrets', ...options.env } })
  return { app, client: new OpenAI({ baseURL: `${app.url}/v1`, apiKey: await app.token() }) }
}

t.test('beta.realtime.sessions.create mints', async (t) => {
  const { app, client } = await start(t)
  const session = await client.beta.realtime.sessions.create({ voice: 'cedar', speed: 1.25 })
  t.equal(session.client_secret.value, app.upstream.secrets[0])
  t.type(session.client_secret.expires_at, 'number')
  t.equal(session.voice, 'cedar')
  t.equal(session.speed, 1.25)
})

t.test('beta.realtime.transcriptionSessions.create mints', async (t) => {
  const { app, client } = await start(t)
  const session = await client.beta.realtime.transcriptionSessions.create(
    { input_audio_transcription: { language: 'en' } }
  )
  t.equal(session.client_secret.value, app.upstream.secrets[0])
  t.match(session.input_audio_transcription, { model: 'gpt-4o-transcribe', language: 'en' })
})

t.test('realtime.clientSecrets.create mints', async (t) => {
  const { app, client } = await start(t)
  const { data, request_id: requestId } = await client.realtime.clientSecrets
    .create({
      expires_after: { anchor: 'created_at', seconds: 120 },
      session: { type: 'realtime', audio: { output: { voice: 'cedar' } } }
    })
    .withResponse()
  t.equal(data.value, app.upstream.secrets[0])
  t.match(data.session, { type: 'realtime', model: 'gpt-realtime-2.1', audio: { output: { voice: 'cedar' } } })
  t.equal(requestId, app.auditLines()[0]?.request_id)
})

t.test('a translation session is minted by the client\'s plain post', async (t) => {
  const { app, client } = await start(t)
  const answer = await client.post<{ value: string, session: { model: string } }>(
    '/realtime/translations/client_secrets', { body: { session: { audio: { output: { language: 'de' } } } } }
  )
  t.equal(answer.value, app.upstream.secrets[0])
  t.equal(answer.session.model, 'gpt-realtime-translate')
})

const mint = (client: OpenAI) => client.realtime.clientSecrets.create({ session: { type: 'realtime' } })

const REFUSALS: {
  name: string,
  error: new (...args: never[]) => Error,
  status: number,
  code: string,
  asked: number,
  options?: AppOptions,
  break?: (app: App) => unknown,
  client?: (app: App, client: OpenAI) => Promise<OpenAI>,
  act?: (client: OpenAI) => Promise<unknown>
}[] = [
  {
    name: 'no valid token',
    error: OpenAI.AuthenticationError,
    status: 401,
    code: 'invalid_credentials',
    asked: 1,
    client: async (_app, client) => client.withOptions({ apiKey: 'sk-not-a-token' })
  },
  {
    name: 'no policy',
    error: OpenAI.PermissionDeniedError,
    status: 403,
    code: 'no_policy',
    asked: 1,
    client: async (app, client) => client.withOptions({ apiKey: await app.token({ plan: 'free' }) })
  },
  {
    name: 'what the policy does not allow',
    error: OpenAI.PermissionDeniedError,
    status: 403,
    code: 'policy_violation',
    asked: 1,
    act: (client) => client.realtime.clientSecrets.create({ session: { type: 'realtime', model: 'gpt-realtime' } })
  },
  {
    name: 'a body that is no session',
    error: OpenAI.BadRequestError,
    status: 400,
    code: 'invalid_request',
    asked: 1,
    act: (client) => client.post('/realtime/client_secrets', { body: { session: [] } })
  },
  {
    name: 'an unknown address',
    error: OpenAI.NotFoundError,
    status: 404,
    code: 'not_found',
    asked: 0,
    act: (client) => client.models.list()
  },
  {
    name: 'a used up day',
    error: OpenAI.RateLimitError,
    status: 429,
    code: 'rate_limit_exceeded',
    asked: 2,
    options: { policy: POLICY.replace('minute: 50, day: 500', 'day: 1') },
    act: async (client) => {
      await mint(client)
      await mint(client)
    }
  },
  {
    name: 'an upstream that rejects our key',
    error: OpenAI.InternalServerError,
    status: 502,
    code: 'upstream_rejected',
    asked: 1,
    break: ({ upstream }) => upstream.answer(GA, failure(401, 'invalid_api_key'))
  },
  {
    name: 'an upstream that wants money',
    error: OpenAI.RateLimitError,
    status: 429,
    code: 'upstream_rate_limited',
    asked: 1,
    break: ({ upstream }) => upstream.answer(GA, failure(429, 'insufficient_quota'))
  },
  {
    name: 'an upstream that fails for good',
    error: OpenAI.InternalServerError,
    status: 502,
    code: 'upstream_error',
    asked: 3,
    break: ({ upstream }) => upstream.answer(GA, reset('HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{'))
  }
]

for (const { name, error, status, code, asked, options, break: breakIt, client: clientOf, act = mint } of REFUSALS) {
  t.test(`${name} is ${error.name}, after ${asked === 3 ? 'three requests' : 'no pointless retry'}`, async (t) => {
    const { app, client } = await start(t, options)
    breakIt?.(app)
    const thrown = await act(await clientOf?.(app, client) ?? client).then(() => null, (reason) => reason)
    t.ok(thrown instanceof error)
    t.match(thrown, { status, code, requestID: /^[0-9a-f-]{36}$/ })
    t.equal(app.auditLines().length, asked)
    if (asked > 0) t.equal(thrown.requestID, app.auditLines().at(-1)?.request_id)
  })
}

t.test('a temporary failure is retried by the client, and the user does not see it', async (t) => {
  const { app, client } = await start(t)
  const cut = reset('HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{')
  const minted = json(
    200, { value: 'ek_canary_second', expires_at: Math.floor(Date.now() / 1000) + 60, session: { type: 'realtime' } }
  )
  app.upstream.answer(GA, cut, minted)
  t.equal((await mint(client)).value, 'ek_canary_second')
  t.same(app.auditLines().map(({ event }) => event), ['mint.unknown', 'mint.granted'])
})

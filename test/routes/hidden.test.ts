// Values that the operator hides are in no answer, by any route and in any shape, even if upstream echoes them.

import t from 'tap'
import type { JsonObject } from '../../src/json.ts'
import { CALLERS, CANARIES, startApp } from '../support/app.ts'
import {
  currentAnswer, failure, GA, inSeconds, json, legacyAnswer, type Received,
  SESSIONS, TRANSCRIPTIONS, TRANSLATIONS
} from '../support/upstream.ts'

const KEY = CANARIES.MCP_KEY
const LEGACY_POLICY = `${CALLERS}
prompts:
  secret: { session: { instructions: { $env: MCP_KEY } } }
policies:
  - name: all
    when: any
    limits: none
    realtime:
      fixed:
        model: m
        tools:
          - type: function
            name: find
            description: 'for {{sub}}'
            parameters: { type: object, enum: [1, [{ $env: MCP_KEY }]] }
        tracing: { group_id: '{{sub}}', workflow_name: { $env: MCP_KEY } }
      defaults: { audio: { input: { transcription: { model: whisper-1, prompt: { $env: MCP_KEY } } } } }
      allow: { audio.output.voice: { type: string } }
      prompts: [secret]
      default_prompt: secret
    transcription:
      fixed: { audio: { input: { transcription: { model: whisper-1, prompt: { $env: MCP_KEY } } } } }
`
const POLICY = `${LEGACY_POLICY}    translation:
      fixed: { model: m, audio: { output: { language: { $env: MCP_KEY } } } }
`.replace(
    'tools: [',
    "tools: [{ type: mcp, server_label: '{{sub}}', server_url: { $env: MCP_KEY }, allowed_tools: [a, " +
      '{ $env: MCP_KEY }] }, '
  )

/** Reorders the tools, adds fields, and puts the secret into places where the policy does not have it. */
function scatterSecret (session: JsonObject): JsonObject {
  const tools = (session.tools ?? []) as JsonObject[]
  return {
    ...session,
    ...(tools.length > 0 && {
      tools: [
        ...tools.map((tool) => ({ ...tool, server_description: `asks ${KEY} first` })).reverse(),
        { type: 'mcp', server_label: 'more', server_url: `https://mcp.test/?key=${KEY}` }
      ]
    }),
    voice: `${KEY}!`,
    include: ['fine', `not ${KEY}`],
    prompt: { id: 'pmpt', variables: { [KEY]: 1, other: [{ deep: `${KEY}/` }] } }
  }
}

const ROUTES = ['client_secrets', 'translations/client_secrets', 'sessions', 'transcription_sessions'] as const

for (const mintApi of ['auto', 'client_secrets', 'sessions'] as const) {
  t.test(`edge M2: no answer shows a value by $env, whatever upstream echoes (${mintApi})`, async (t) => {
    const app = await startApp(
      t, { policy: mintApi === 'sessions' ? LEGACY_POLICY : POLICY, env: { OPENAI_MINT_API: mintApi } }
    )
    const answer = (received: Received, value: string): JsonObject => {
      if (received.path === SESSIONS || received.path === TRANSCRIPTIONS) {
        return scatterSecret(legacyAnswer(received, value))
      }
      const current = currentAnswer(received, value)
      return { ...current, session: scatterSecret(current.session as JsonObject) }
    }
    for (const path of [GA, TRANSLATIONS, SESSIONS, TRANSCRIPTIONS]) {
      app.upstream.answer(path, (received, response) => json(200, answer(received, 'ek_1'))(received, response))
    }
    for (const route of ROUTES.filter((name) => mintApi !== 'sessions' || !name.startsWith('translations'))) {
      const { status, text } = await app.mint(route)
      t.equal(status, 200, route)
      t.notMatch(text, KEY)
      t.match(JSON.stringify(app.upstream.requests.at(-1)?.body), KEY, 'it was sent')
    }
    const { body } = await app.mint('client_secrets')
    t.match(
      body.session,
      { type: 'realtime', model: 'm', include: ['fine'], tracing: { group_id: 'ada' } },
      'the rest is shown'
    )
  })
}

t.test('edge M2: neither a refusal nor what may be asked for shows a value by $env', async (t) => {
  const app = await startApp(t, { policy: POLICY })
  t.match((await app.mint(
    'client_secrets', { session: { instructions: 'x', audio: { input: { transcription: { prompt: 'y' } } } } }
  )).body.error, { param: 'session.instructions' })
  for (const param of [KEY, `session.${KEY}`, `session.audio.output.voice.${KEY}`, `session.tools[0].${KEY}`]) {
    app.upstream.answer(GA, failure(400, 'invalid_value', { param }))
    const { status, text } = await app.mint('client_secrets', { session: { audio: { output: { voice: 'cedar' } } } })
    t.equal(status, 502, param)
    t.notMatch(text, KEY)
  }
  const answer = await app.request('/v1/realtime/policy', { headers: { authorization: `Bearer ${await app.token()}` } })
  t.equal(answer.status, 200)
  t.notMatch(answer.text, KEY)
})

for (const mintApi of ['client_secrets', 'sessions'] as const) {
  t.test(`edge L1: a temperature that is hidden is in no answer (${mintApi})`, async (t) => {
    const policy = `${CALLERS}
policies:
  - { name: all, when: any, limits: none, realtime: { fixed: { model: m, temperature: 0.9 }, hide: [temperature] } }`
    const app = await startApp(t, { policy, env: { OPENAI_MINT_API: mintApi } })
    for (const route of ['sessions', 'client_secrets']) {
      const { status, text } = await app.mint(route, {})
      t.equal(status, 200)
      t.notMatch(text, 'temperature')
    }
    app.upstream.answer(
      GA, json(200, { value: 'ek_2', expires_at: inSeconds(60), session: { type: 'realtime', temperature: 0.9 } })
    )
    t.notMatch((await app.mint('sessions', {})).text, 'temperature')
  })
}

t.test('edge L4: on the wire, a beta turn detection that is not allowed mints nothing', async (t) => {
  const app = await startApp(t, {
    policy: `${CALLERS}
policies: [{ name: all, when: any, limits: none, realtime: { fixed: { model: m } } }]`
  })
  for (const [detection, param] of [
    [{}, 'turn_detection'], [{ eagerness: 'low' }, 'turn_detection.eagerness'],
    [{ type: 'server_vad' }, 'turn_detection.type']
  ] as const) {
    t.match(
      await app.mint('sessions', { turn_detection: detection }),
      { status: 403, body: { error: { code: 'policy_violation', param } } }
    )
    t.match(
      await app.mint('client_secrets', { session: { audio: { input: { turn_detection: detection } } } }),
      { status: 403, body: { error: { param: `session.audio.input.${param}` } } }
    )
  }
  t.equal(app.upstream.requests.length, 0)
})

// Complete policy files, as an operator writes them: how they load, and with which warnings.

import t from 'tap'
import { type Caller, createCaller } from '../../src/callers/caller.ts'
import { selectPolicy } from '../../src/policy/select.ts'
import { ask, fileWith, lines, outcome, readPolicy, rulesOf } from '../policy/harness.ts'

const EXAMPLE = `
callers:                                   # who may call; the request's credential selects the entry
  - jwt:
      issuer: https://auth.example.com/
      audience: voice-app
      algorithms: [RS256, PS256, ES256, EdDSA]
      require: { azp: [web, ios] }
      type: at+jwt
      clock_tolerance: 30
  - jwt:
      issuer: internal
      secret_env: [JWT_NEW, JWT_OLD]
      require: { aud2: voice }
      max_lifetime: 3600
      cookie: token
  - forward: { issuer: app, url: http://app:3000/api/me, cookie: sid, pass: [cookie], subject: /id }
  - introspection:
      issuer: https://other.example.com/
      url: https://other.example.com/introspect
      client_id: mint
      client_secret_env: X
  - gateway:
      issuer: gateway
      header: x-auth-request-user
      from: [10.0.0.0/8]
      secret_header: x-gateway-secret
      secret_env: Y
  - guest: {}

prompts:
  support:
    variables: { product: { type: string, maxLength: 40 } }
    session:
      instructions: You help {{/app_metadata/name|our customer}} with {{variables.product}}.
      tools: [ { type: function, name: find } ]
  pmpt_68ab@2:
    session: { audio: { input: { noise_reduction: { type: near_field } } } }

policies:
  - { name: suspended, when: { status: suspended }, deny: true }
  - name: pro
    when: { plan: [pro, team], /app_metadata/beta: true, blocked_at: null }
    limits: { minute: 10, day: 500, total: { day: 20000 } }
    realtime:
      fixed:
        model: gpt-realtime-2.1
        max_output_tokens: 2048
        tracing: { workflow_name: "{{/org/name}}" }
      defaults:
        audio: { output: { voice: marin } }
      allow:
        audio.output.voice: { enum: [marin, cedar] }
        audio.output.speed: { type: number, minimum: 0.75, maximum: 1.25 }
      ignore: [temperature]
      aliases: { gpt-4o-realtime-preview: gpt-realtime-2.1 }
      prompts: [support, pmpt_68ab@2]
      default_prompt: pmpt_68ab@2
      expires_after: { default: 60, max: 300 }
      hide: [instructions, tools]
    transcription:
      fixed: { audio: { input: { transcription: { model: gpt-live-transcribe } } } }
    translation:
      fixed: { model: gpt-realtime-translate }
  - name: trial
    when: guest
    limits: { day: 2 }
    realtime:
      fixed:
        model: gpt-realtime-2.1-mini
        instructions: You are Ada, the voice agent of {{/org/name|nobody}}.
        tools:
          - type: mcp
            server_label: crm
            server_url: https://mcp.example.com
            headers: { X-Key: { $env: MCP_KEY } }
blocked:
  - { subject: "auth0|123" }
  - { issuer: https://auth.example.com/, subject: u-9 }
  - { safety_identifier: ${'5f1c'.repeat(16)} }
`

const callerOf = (claims: Caller['claims'], issuer = 'https://auth.example.com/'): Caller =>
  createCaller({ issuer, subject: 'u1', claims })

t.test('fault 42: a policy file with every feature loads', async (t) => {
  const { policies, problems, callers, warnings } = readPolicy(EXAMPLE)
  t.strictSame(lines(problems), [])
  t.strictSame(
    lines(warnings),
    [
      'policies.2.realtime.fixed.tools.0.headers is left out of our answers, ' +
        'but the live session may still show it to the client'
    ]
  )
  t.equal(callers?.length, 6)
  t.ok(Object.isFrozen(policies) && Object.isFrozen(policies?.policies[1]?.sessions.realtime?.fixed.source))
  t.strictSame(policies?.policies.map(
    ({ name, limits, denies, sessions }) => [name, limits, denies, Object.keys(sessions)]
  ), [
    ['suspended', null, true, []],
    [
      'pro',
      { caller: { minute: 10, day: 500 }, total: { day: 20000 }, callSeconds: { caller: {}, total: {} } },
      false,
      ['realtime', 'transcription', 'translation']
    ],
    ['trial', { caller: { day: 2 }, total: {}, callSeconds: { caller: {}, total: {} } }, false, ['realtime']]
  ])
  const claims = { plan: 'team', app_metadata: { beta: true, name: 'Ada' }, org: { name: 'Acme' } }
  const policy = policies && selectPolicy(policies, callerOf(claims), '')
  const rules = policy?.sessions.realtime
  if (rules === undefined) throw new Error('not read')
  t.strictSame(rules.hide, [['instructions'], ['tools']])
  t.strictSame(ask(rules, {
    model: 'gpt-4o-realtime-preview',
    voice: 'cedar',
    temperature: 0.8,
    prompt: { id: 'support', variables: { product: 'bikes' } }
  }, { legacy: true, claims }), {
    session: {
      audio: { output: { voice: 'cedar' } },
      instructions: 'You help Ada with bikes.',
      tools: [{ type: 'function', name: 'find' }],
      model: 'gpt-realtime-2.1',
      max_output_tokens: 2048,
      tracing: { workflow_name: 'Acme' }
    },
    expiresAfterSeconds: 60,
    model: 'gpt-realtime-2.1',
    prompt: 'support',
    ignored: ['temperature'],
    accepted: [[['audio', 'output', 'voice'], 'cedar']]
  })
  t.equal(outcome(rules, {}, { claims: { ...claims, org: {} } }), '403 policy_violation null')
})

t.test('fault 42: anchors and merge keys work as in YAML', async (t) => {
  const { policies, problems } = readPolicy(`
callers: [ { guest: {} } ]
policies:
  - name: free
    when: { plan: free }
    limits: &limits { minute: 1 }
    realtime: &base
      fixed: &fixed { model: gpt-realtime-2.1-mini, max_output_tokens: 512 }
      allow: { audio.output.voice: &voice { enum: [marin] } }
  - name: pro
    when: { plan: pro }
    limits: { <<: *limits, day: 2 }
    realtime:
      <<: *base
      fixed: { <<: *fixed, model: gpt-realtime-2.1 }
      allow: { audio.output.voice: *voice, audio.output.speed: { type: number } }
`)
  t.strictSame(lines(problems), [])
  t.strictSame(
    policies?.policies[1]?.limits, { caller: { minute: 1, day: 2 }, total: {}, callSeconds: { caller: {}, total: {} } }
  )
  t.strictSame(
    policies?.policies[1]?.sessions.realtime?.fixed.source, { model: 'gpt-realtime-2.1', max_output_tokens: 512 }
  )
  t.strictSame(
    policies?.policies[0]?.sessions.realtime?.fixed.source, { model: 'gpt-realtime-2.1-mini', max_output_tokens: 512 }
  )
})

t.test('fault 42: secrets are filled in', async (t) => {
  const rules = rulesOf({
    session: {
      fixed: {
        tools: [
          { type: 'mcp', server_label: 'crm', authorization: { $file: 'token' }, headers: { 'X-Key': { $env: 'KEY' } } }
        ]
      },
      default_prompt: 'p'
    },
    prompts: { p: { session: { instructions: { $env: 'PERSONA' } } } }
  })
  t.strictSame(ask(rules, {}).session, {
    instructions: 'secret of PERSONA',
    tools: [
      { type: 'mcp', server_label: 'crm', authorization: 'secret in token', headers: { 'X-Key': 'secret of KEY' } }
    ]
  })
})

t.test('fault 42: probable mistakes load with a warning', async (t) => {
  const shown = 'is left out of our answers, but the live session may still show it to the client'
  const unknown = 'is not a path that this version knows: it is sent as written'
  const { problems, warnings } = readPolicy(fileWith({
    session: {
      fixed: {
        model: 'm',
        brand_new: { deep: 1 },
        instructions: '{{user_metadata}} {{/unsafe_metadata/name|x}} {{/app_metadata/name|x}}',
        tools: [{ type: 'mcp', server_label: 'crm', authorization: 'x' }]
      },
      defaults: { audio: { output: { colour: 'red' } } },
      allow: { 'other.path': true },
      ignore: ['old.junk'],
      hide: ['brand_newer', 'audio.output.voice'],
      prompts: ['p']
    },
    prompts: { p: { session: { parallel_tool_calls: true, 'audio.input': 1, newest: '{{/user_metadata/x|y}}' } } },
    entry: { when: { '/user_metadata/plan': 'pro', plan: 'pro' } }
  }))
  t.strictSame(lines(problems), [])
  t.strictSame(lines(warnings).sort(), [
    'policies.0.realtime.allow.other.path ' + unknown,
    'policies.0.realtime.defaults.audio.output.colour ' + unknown,
    'policies.0.realtime.fixed reads /unsafe_metadata/name, which users can write themselves',
    'policies.0.realtime.fixed reads user_metadata, which users can write themselves',
    'policies.0.realtime.fixed.brand_new.deep ' + unknown,
    'policies.0.realtime.fixed.tools.0.authorization ' + shown,
    'policies.0.realtime.hide brand_newer is not a path that this version knows',
    'policies.0.when uses /user_metadata/plan, which users can write themselves',
    'prompts.p.session reads /user_metadata/x, which users can write themselves',
    'prompts.p.session.audio.input is one name with dots in it: write audio: { input: … }',
    'prompts.p.session.newest ' + unknown
  ])
})

t.test('fault 42: a policy for guests without a guest entry loads with a warning', async (t) => {
  const { problems, warnings } = readPolicy(
    fileWith({ entry: { when: 'guest', limits: { day: 1 } } }).replace(',{"guest":{}}', '')
  )
  t.strictSame(lines(problems), [])
  t.match(lines(warnings), [/^policies\.0 is for guests, but callers: has no guest/])
})

t.test('fault 42: limits: none, a guest\'s limits and a total load', async (t) => {
  for (const entry of [
    { limits: 'none' }, { when: 'guest', limits: { hour: 1 } }, { limits: { total: { minute: 1 } } }
  ]) t.strictSame(readPolicy(fileWith({ entry })).problems, [])
})

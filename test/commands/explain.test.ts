import t, { type Test } from 'tap'
import { callCommand, runCommand } from '../support/command.ts'

const POLICY = `
callers: [{ jwt: { issuer: 'https://auth.test/', audience: voice } }]
prompts: { support: { session: { instructions: 'You help {{name}}.' } } }
policies:
  - { name: suspended, when: { status: suspended }, deny: true }
  - name: pro
    when: { plan: pro }
    limits: { day: 5 }
    realtime:
      fixed:
        model: gpt-realtime-2.1
        tools:
          - type: mcp
            server_label: crm
            headers: { X-Key: { $env: MCP_KEY }, X-Other: canary-header }
            authorization: canary-spelled-out
      allow: { audio.output.voice: { enum: [marin, cedar] } }
      ignore: [temperature]
      prompts: [support]
    transcription:
      fixed: { audio: { input: { transcription: { model: whisper-1 } } } }
    translation:
      fixed: { model: gpt-realtime-translate }
  - name: caller
    when: { plan: caller }
    limits: { day: 5, call_seconds: { day: 600 } }
    realtime:
      fixed: { model: gpt-realtime-2.1 }
      allow: { temperature: { type: number } }
      secrets: false
      calls: { max_seconds: 60, data_channel: false }
  - name: trial
    when: guest
    limits: { day: 1 }
    transcription: { allow: { audio.input.transcription.model: { enum: [whisper-1] } } }
blocked: [{ subject: mallory }]
`

function explain (t: Test, options: Record<string, string>, { policy = POLICY, env = {}, by = callCommand } = {}) {
  const args = Object.entries({ config: `${t.testdir({ 'policy.yaml': policy })}/policy.yaml`, ...options }).flatMap(
    ([name, value]) => [`--${name}`, value]
  )
  return by('explain', args, { MCP_KEY: 'canary-mcp-key', ...env })
}

t.test('without a known route, or with invalid claims, the usage is printed', async (t) => {
  for (const options of [
    { route: 'realtime/call' }, { route: 'realtime/sessions', claims: 'nobody' },
    { route: 'realtime/sessions', surprise: 'x' }
  ] as Record<string, string>[]) {
    const { code, out, err } = await explain(t, options)
    t.equal(code, 2, JSON.stringify(options))
    t.equal(out, '')
    t.match(err, /^usage: /)
  }
})

t.test('field F3: the subject is read where the entry of the issuer says', async (t) => {
  const policy = POLICY.replace('audience: voice', 'audience: voice, subject: /oid')
  const claims = { iss: 'https://auth.test/', sub: 'everyone', plan: 'pro', name: 'Ada' }
  const printed = async (changes: object) => {
    const options = { route: 'realtime/client_secrets', claims: JSON.stringify({ ...claims, ...changes }) }
    return (await explain(t, options, { policy })).out
  }
  t.match(await printed({ oid: 'mallory' }), /403 caller_blocked/)
  t.match(await printed({ oid: 7, sub: 'mallory' }), /^policy {9}pro/)
  t.match(await printed({ iss: 'https://other.test/', oid: 'mallory' }), /^policy {9}pro/)
})

t.test('field F13: without claims, a caller that an endpoint names in a header has unknown ones', async (t) => {
  const entry = (subject: string) =>
    `{ forward: { issuer: app, url: 'https://app.test/', cookie: sid, pass: [cookie], ${subject} } }`
  const printed = async (subject: string, claims: object) => {
    const policy = POLICY.replace(/callers: .*/, `callers: [${entry(subject)}]`).replace('plan: pro', 'suspended: null')
    const options = { route: 'realtime/client_secrets', claims: JSON.stringify({ iss: 'app', ...claims }) }
    return (await explain(t, options, { policy })).out
  }
  t.match(await printed('subject_header: x-user', { sub: 'ada' }), /^refused {8}403 no_policy/m)
  t.match(await printed('subject_header: x-user', { sub: 'ada', name: 'Ada' }), /^policy {9}pro/)
  t.match(await printed('subject: /id', { sub: 'ada' }), /^policy {9}pro/)
})

t.test('a policy file that cannot be read or is invalid is reported instead', async (t) => {
  const missing = await callCommand('explain', ['--config', '/nowhere/policy.yaml', '--route', 'realtime/sessions'])
  t.equal(missing.code, 1)
  t.match(missing.err, /^\/nowhere\/policy\.yaml cannot be read/)
  const wrong = await explain(
    t, { route: 'realtime/sessions' }, { policy: POLICY.replace('allow:', 'alow:').replace('limits: { day: 5 }', '') }
  )
  t.equal(wrong.code, 1)
  t.match(
    wrong.out, /^problem {2}policies\.1\.realtime\.alow is not a known key.*\nproblem {2}policies\.1 needs limits/s
  )
})

t.test('a refusal is printed with its code and its path', async (t) => {
  const ga = 'realtime/client_secrets'
  const pro = '{"plan":"pro","name":"Ada"}'
  const rows: [options: Record<string, string>, printed: string[]][] = [
    [{ route: ga }, ['refused        403 no_policy']],
    [{ route: ga, claims: '{"plan":"pro","sub":"mallory"}' }, ['refused        403 caller_blocked']],
    [
      { route: ga, claims: 'guest' },
      ['policy         trial', 'kind           realtime', 'refused        403 policy_violation']
    ],
    [{ route: ga, claims: pro, body: '{' }, ['policy         pro', 'refused        400 invalid_json']],
    [
      { route: ga, claims: pro, body: '{"session":{"model":"x"}}' },
      ['policy         pro', 'kind           realtime', 'refused        403 policy_violation at session.model']
    ],
    [
      { route: 'realtime/sessions', claims: pro, body: '{"voice":"alloy"}' },
      ['policy         pro', 'kind           realtime', 'refused        403 policy_violation at voice']
    ],
    [
      { route: ga, claims: '{"plan":"pro"}', body: '{"session":{"prompt":{"id":"support"}}}' },
      ['policy         pro', 'kind           realtime', 'refused        403 policy_violation']
    ]
  ]
  for (const [options, printed] of rows) {
    const { code, out, err } = await explain(t, options)
    t.strictSame(out.trimEnd().split('\n'), printed, JSON.stringify(options))
    t.equal(err, '')
    t.equal(code, 0)
  }
})

t.test('a call that is refused is printed with its code and its path', async (t) => {
  const at = ' at '
  const offer = JSON.stringify('v=0\nm=audio 9 X 111\nm=application 9 X x\n')
  const rows: [route: string, plan: string, body: string, refused: string][] = [
    ['realtime/calls', 'pro', '', '403 policy_violation'],
    ['realtime/client_secrets', 'caller', '', '403 policy_violation'],
    ['realtime/sessions', 'caller', '', '403 policy_violation'],
    ['realtime/calls', 'caller', '{"session":{"model":"x"}}', `403 policy_violation${at}session.model`],
    ['realtime/calls', 'caller', '{"session":{"type":"transcription"}}', `400 invalid_request${at}session.type`],
    ['realtime/calls', 'caller', '{"session":[]}', `400 invalid_request${at}session`],
    ['realtime/calls', 'caller', '{"offer":"x"}', '400 invalid_request'],
    ['realtime/calls', 'caller', '{"sdp":1}', `400 invalid_request${at}sdp`],
    ['realtime/calls', 'caller', '{"sdp":"x"}', `400 invalid_request${at}sdp`],
    ['realtime/calls', 'caller', `{"sdp":${offer}}`, `403 policy_violation${at}sdp`]
  ]
  for (const [route, plan, body, refused] of rows) {
    const { out } = await explain(t, { route, claims: JSON.stringify({ plan }), body })
    t.equal(out.trimEnd().split('\n').at(-1), `refused        ${refused}`, `${route} ${plan} ${body}`)
  }
})

t.test('a call is printed with its rules, and with the session that it is created with', async (t) => {
  const { code, out } = await explain(t, {
    route: 'realtime/calls',
    claims: '{"plan":"caller"}',
    body: JSON.stringify({ session: { temperature: 0.8 }, sdp: 'v=0\nm=audio 9 X 111\n' })
  })
  const [head = '', session = ''] = out.split('\nthe session of POST /realtime/calls\n')
  t.strictSame(head.trim().split('\n'), [
    'policy         caller', 'kind           realtime', 'max_seconds    60', 'idle_seconds   60', 'concurrent     1',
    'when_full      refuse', 'total          none', 'data_channel   false', 'on_change      restore'
  ])
  t.strictSame(JSON.parse(session), { model: 'gpt-realtime-2.1', type: 'realtime' })
  t.equal(code, 0)
})

t.test('the upstream request is printed without its secrets', async (t) => {
  const { code, out } = await explain(t, {
    route: '/v1/realtime/client_secrets',
    claims: '{"plan":"pro","name":"Ada"}',
    body: '{"session":{"temperature":0.8,"audio":{"output":{"voice":"cedar"}},"prompt":{"id":"support"}}}'
  }, { by: runCommand })
  const [head = '', body = ''] = out.split(/^POST \/realtime\/client_secrets$/m)
  t.strictSame(
    head.trim().split('\n'),
    ['policy         pro', 'kind           realtime', 'prompt         support', 'ignored        temperature']
  )
  t.strictSame(JSON.parse(body), {
    expires_after: { anchor: 'created_at', seconds: 60 },
    session: {
      type: 'realtime',
      model: 'gpt-realtime-2.1',
      instructions: 'You help Ada.',
      audio: { output: { voice: 'cedar' } },
      tools: [{
        type: 'mcp',
        server_label: 'crm',
        headers: { 'X-Key': '(secret)', 'X-Other': '(secret)' },
        authorization: '(secret)'
      }]
    }
  })
  t.notMatch(out, 'canary')
  t.equal(code, 0)
})

t.test('each upstream route is printed with its body', async (t) => {
  const pro = { claims: '{"plan":"pro"}', body: '' }
  const lifetime = { anchor: 'created_at', seconds: 60 }
  const ga = {
    expires_after: lifetime,
    session: { type: 'transcription', audio: { input: { transcription: { model: 'whisper-1' } } } }
  }
  const flat = { input_audio_transcription: { model: 'whisper-1' }, client_secret: { expires_at: lifetime } }
  const rows: [route: string, mintApi: string, sent: [path: string, body: unknown][]][] = [
    [
      'realtime/transcription_sessions', 'auto',
      [
        ['POST /realtime/transcription_sessions', flat],
        ['if that route does not exist: POST /realtime/client_secrets', ga]
      ]
    ],
    ['realtime/transcription_sessions', 'client_secrets', [['POST /realtime/client_secrets', ga]]],
    ['realtime/translations/client_secrets', 'auto', [[
      'POST /realtime/translations/client_secrets',
      { expires_after: lifetime, session: { model: 'gpt-realtime-translate' } }
    ]]]
  ]
  for (const [route, mintApi, sent] of rows) {
    const { out } = await explain(t, { route, ...pro }, { env: { OPENAI_MINT_API: mintApi } })
    const printed = out.split('\n\n').slice(1).map(
      (part) => [part.slice(0, part.indexOf('\n')), JSON.parse(part.slice(part.indexOf('\n')))]
    )
    t.strictSame(printed, sent, `${route} by ${mintApi}`)
  }
  const sessions = await explain(
    t, { route: 'realtime/client_secrets', ...pro }, { env: { OPENAI_MINT_API: 'sessions' } }
  )
  t.equal(sessions.code, 1)
  t.match(sessions.out, /^problem {2}policies\.1\.translation cannot be minted with OPENAI_MINT_API=sessions/m)
})

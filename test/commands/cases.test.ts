// `npm run check-config -- FILE --cases CASES`: an operator's test cases, as run in CI.

import t, { type Test } from 'tap'
import type { Caller } from '../../src/callers/caller.ts'
import { readCases } from '../../src/commands/cases.ts'
import { callerOf, type DryRoute, dryRun, routeNamed } from '../../src/commands/dry-run.ts'
import { callCommand, runCommand } from '../support/command.ts'

const POLICY = `
callers: [{ jwt: { issuer: 'https://auth.test/', audience: voice } }]
prompts: { support: { session: { instructions: You help. } } }
policies:
  - name: pro
    when: { plan: pro }
    limits: { day: 5 }
    realtime:
      fixed:
        model: gpt-realtime-2.1
        tools:
          - type: mcp
            server_label: crm
            server_url: https://mcp.test
            server_description: { $file: persona.txt }
            headers: { X-Key: { $env: MCP_KEY } }
            authorization: canary-spelled-out
      allow: { audio.output.voice: { enum: [marin, cedar] } }
      ignore: [temperature]
      prompts: [support]
      expires_after: { default: 60, max: 120 }
      calls: { max_seconds: 60, data_channel: false }
blocked: [{ subject: mallory }]
`
const TOOLS = [{
  type: 'mcp',
  server_label: 'crm',
  server_url: 'https://mcp.test',
  server_description: '($file persona.txt)',
  headers: { 'X-Key': '(secret)' },
  authorization: '(secret)'
}]
const ENV = { MCP_KEY: 'canary-mcp-key' }

function check (t: Test, cases: string) {
  const dir = t.testdir({ 'policy.yaml': POLICY, 'persona.txt': 'canary persona', 'cases.yaml': cases })
  return callCommand('check-config', [`${dir}/policy.yaml`, '--cases', `${dir}/cases.yaml`], ENV)
}

t.test('the example cases pass for the example policy', async (t) => {
  const { code, out } = await runCommand(
    'check-config', ['ephemint.example.yaml', '--cases', 'deploy/cases.example.yaml']
  )
  t.match(out, /^12 cases passed$/m)
  t.equal(code, 0)
})

t.test('a failed case is printed with the expected and the actual values, without secrets', async (t) => {
  const { code, out, err } = await check(t, `
- name: wrong policy
  claims: { plan: pro }
  route: realtime/client_secrets
  expect: { policy: free, kind: transcription }
- name: not refused
  claims: { plan: pro }
  route: realtime/client_secrets
  expect: { refused: policy_violation, param: session.model }
- { name: refused, claims: { plan: none }, route: realtime/client_secrets, expect: { policy: pro } }
- name: another param
  claims: { plan: pro }
  route: realtime/client_secrets
  body: { session: { model: x } }
  expect: { refused: policy_violation, param: null }
- name: another code
  claims: { plan: pro, sub: mallory }
  route: realtime/client_secrets
  expect: { refused: no_policy }
- name: other values
  claims: { plan: pro }
  route: realtime/sessions
  body: { temperature: 0.8 }
  expect: { ignored: [], prompt: support, expires_after: 30, upstream: { model: x, instructions: y, tools: [] } }
- name: another call
  claims: { plan: pro }
  route: realtime/calls
  expect: { calls: { max_seconds: 600, idle_seconds: 60, total: 9 }, upstream: { model: x } }
- name: another offer
  claims: { plan: pro }
  route: realtime/calls
  body: { sdp: "v=0\\nm=audio 9 UDP/TLS/RTP/SAVPF 111\\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\\n" }
  expect: { refused: invalid_request }
- { name: passes, claims: guest, route: realtime/client_secrets, expect: { refused: no_policy } }
`)
  t.equal(code, 1)
  t.equal(err, '')
  const [, printed] = out.split('policy.yaml is valid\n')
  t.same(printed?.split('\n'), [
    'failed   wrong policy',
    '           policy: expected "free", got "pro"',
    '           kind: expected "transcription", got "realtime"',
    'failed   not refused',
    '           outcome: expected refused policy_violation at session.model, got a grant',
    'failed   refused',
    '           policy: expected "pro", got null',
    '           outcome: expected a grant, got refused no_policy',
    'failed   another param',
    '           outcome: expected refused policy_violation at no param, got refused policy_violation at session.model',
    'failed   another code',
    '           outcome: expected refused no_policy, got refused caller_blocked',
    'failed   other values',
    '           prompt: expected "support", got null',
    '           ignored: expected [], got ["temperature"]',
    '           expires_after: expected 30, got 60',
    '           upstream model: expected "x", got "gpt-realtime-2.1"',
    '           upstream instructions: expected "y", got nothing',
    `           upstream tools: expected [], got ${JSON.stringify(TOOLS)}`,
    'failed   another call',
    '           calls max_seconds: expected 600, got 60',
    '           calls total: expected 9, got null',
    '           upstream model: expected "x", got "gpt-realtime-2.1"',
    'failed   another offer',
    '           outcome: expected refused invalid_request, got refused policy_violation',
    '8 of 9 cases failed',
    ''
  ])
})

t.test('passed cases are counted', async (t) => {
  const { code, out } = await check(t, `
- name: one
  claims: { plan: pro, iss: 'https://auth.test/', sub: ada }
  route: realtime/client_secrets
  body: { session: { prompt: { id: support } } }
  expect: { prompt: support, upstream: { instructions: You help. } }
`)
  t.match(out, /^1 case passed$/m)
  t.equal(code, 0)
})

t.test('a cases file with problems runs nothing, and all problems are reported at once', async (t) => {
  const { code, out } = await check(t, `
- { name: a, claims: nobody, route: realtime/nonsense, expect: { refused: nonsense }, extra: 1 }
- { name: b, claims: {}, route: realtime/client_secrets, expect: {} }
`)
  t.equal(code, 1)
  t.notMatch(out, /is valid|passed|failed/)
  for (const problem of [
    /0\.extra is not a known key: allowed here are name, claims, route, body, expect/, /0\.claims .*"guest"/,
    /0\.route must be one of/, /0\.expect\.refused must be one of/, /1\.expect must not be empty/
  ]) t.match(out, problem)
})

t.test('a case that contradicts itself is a problem', async (t) => {
  const one = (expect: string, name = 'a') =>
    `- { name: ${name}, claims: guest, route: realtime/client_secrets, expect: ${expect} }\n`
  const rows: [text: string, problem: object][] = [
    [one('{ param: x }'), { path: '0.expect.param', problem: 'has no meaning without refused' }],
    [
      one('{ refused: no_policy, upstream: {} }'),
      { path: '0.expect.upstream', problem: 'has no meaning together with refused' }
    ],
    [one('{ refused: no_policy }') +
      one('{ refused: no_policy }'), { path: '1.name', problem: 'is the name of another case too' }],
    [one('{ calls: {} }'), { path: '0.expect.calls', problem: 'has no meaning for this route' }],
    [
      one('{ expires_after: 60 }').replace('client_secrets', 'calls'),
      { path: '0.expect.expires_after', problem: 'has no meaning for this route' }
    ],
    [
      one('{ refused: no_policy, calls: {} }').replace('client_secrets', 'calls'),
      { path: '0.expect.calls', problem: 'has no meaning together with refused' }
    ],
    ['- {', { path: 'line 1' }],
    ['[]', { path: '' }],
    [
      '- { name: a, claims: { __proto__: 1 }, route: realtime/sessions, expect: {} }',
      { problem: 'is a reserved name' }
    ]
  ]
  for (const [text, problem] of rows) t.match(readCases(text).problems[0], problem, text)
})

t.test('a policy file with problems runs no case, and a missing cases file is reported', async (t) => {
  const dir = t.testdir({ 'policy.yaml': POLICY, 'cases.yaml': '[]' })
  const unset = await callCommand('check-config', [`${dir}/policy.yaml`, '--cases', `${dir}/cases.yaml`])
  t.match(unset.out, /MCP_KEY/)
  t.match(unset.out, /cases\.yaml: /)
  t.equal(unset.code, 1)
  const missing = await callCommand('check-config', [`${dir}/policy.yaml`, '--cases', `${dir}/nothing.yaml`], ENV)
  t.match(missing.err, /nothing\.yaml cannot be read/)
  t.equal(missing.code, 1)
})

t.test('a bug of ours is not reported as a refusal', async (t) => {
  const route = routeNamed('/v1/realtime/sessions') as DryRoute
  const request = { caller: callerOf({}) as Caller, route, body: '', safetyIdentifierSecret: null }
  t.throws(
    () => dryRun({
      isBlocked: () => { throw new TypeError('ours') }, policies: [], claimsRead: new Set()
    }, request),
    { message: 'ours' }
  )
})

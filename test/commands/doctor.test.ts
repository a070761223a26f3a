// `npm run doctor` as an operator runs it.

import t, { type Test } from 'tap'
import { startUpstream as startEmulator } from '../../src/sandbox/openai/upstream.ts'
import { callCommand, runCommand } from '../support/command.ts'
import { startConnectProxy } from '../support/connect-proxy.ts'
import { answers, startHostileIssuer } from '../support/hostile-issuer.ts'
import { NO_REDIS, startRedis } from '../support/redis.ts'
import { GA, startUpstream } from '../support/upstream.ts'

const CANARIES = {
  OPENAI_API_KEY: 'sk-canary-key',
  SAFETY_IDENTIFIER_SECRET: 'canary-safety-secret-'.padEnd(40, 'x'),
  TOKEN_SECRET: 'canary-token-secret-'.padEnd(40, 'x')
}
const CALLERS = `
callers:
  - jwt: { issuer: 'https://auth.test/', audience: voice, secret_env: TOKEN_SECRET }
  - forward: { issuer: app, url: 'APP/me', cookie: sid, pass: [cookie], subject: /id }
  - gateway: { issuer: gateway, header: x-user, from: [10.0.0.0/8], secret_header: x-secret, secret_env: TOKEN_SECRET }
`
const POLICIES = `policies:
  - { name: p, when: any, limits: none, realtime: { fixed: { model: gpt-realtime-2.1, instructions: canary } } }
`

async function doctor (t: Test, { policy = CALLERS + POLICIES, env = {}, args = [], by = callCommand }: {
  policy?: string, env?: Record<string, string>, args?: string[], by?: typeof callCommand
}) {
  const app = await startHostileIssuer(t, answers({}, 401))
  const dir = t.testdir({ 'ephemint.yaml': policy.replace('APP', app.url) })
  const ran = await by('doctor', args, { ...CANARIES, EPHEMINT_CONFIG: `${dir}/ephemint.yaml`, ...env })
  t.notMatch(ran.out + ran.err, 'canary', 'no secret is printed')
  return ran
}

t.test('if all is well, each check prints one line, nothing is minted and the exit code is 0', {
  skip: NO_REDIS
}, async (t) => {
  const upstream = await startUpstream(t)
  const redis = await startRedis(t)
  const { code, out, err } = await doctor(
    t,
    { env: { OPENAI_BASE_URL: upstream.url, REDIS_URL: redis.url, CORS_ORIGINS: 'https://app.test' }, by: runCommand }
  )
  t.match(out.split('\n').map((line) => line.replace(/:.*/, '')), [
    'ok     environment', 'ok     policy file', 'ok     upstream', 'ok     callers.0.jwt', 'ok     callers.1.forward',
    'ok     redis', 'ok     audit', 'ok     clock'
  ])
  t.equal(err, '', 'in a pipe there is no progress')
  t.equal(code, 0)
  t.equal(upstream.requests.length, 0)
})

t.test('with --mint one secret is minted and reported', async (t) => {
  const upstream = await startUpstream(t)
  const { code, out } = await doctor(t, { env: { OPENAI_BASE_URL: upstream.url }, args: ['--mint'] })
  t.match(out, /^ok {5}mint: one secret was minted by policy p/m)
  t.match(upstream.requests, [{ path: GA }])
  t.equal(upstream.requests.length, 1)
  t.equal(code, 0)
})

t.test('call: with --call one call is made and ended; its faults decide the exit code', async (t) => {
  const policy = CALLERS + POLICIES.replace(' } } }', ' }, calls: {} } }')
  for (const [quirks, code, last] of [
    [{}, 0, /^ok {5}call: no sideband attaches to one that has ended/m],
    [{ refusesKeyAtCalls: true }, 1, /^wrong {2}call: was not created: .*\n +→ set OPENAI_CALLS_API=secret/m]
  ] as const) {
    const upstream = await startEmulator({ apiKey: CANARIES.OPENAI_API_KEY, quirks })
    t.teardown(upstream.close)
    const ran = await doctor(t, { policy, env: { OPENAI_BASE_URL: upstream.url }, args: ['--call'] })
    t.match(ran.out, /^note {3}call: a real one is made now, .*it costs a few cents$/m)
    t.match(ran.out, last)
    t.equal(ran.code, code)
  }
})

t.test('a fault is reported with advice and does not hide other faults', async (t) => {
  const upstream = await startHostileIssuer(t, answers({}, 401))
  const { code, out } = await doctor(t, {
    policy: CALLERS.replace('gateway:', 'gatway:') + POLICIES,
    env: { OPENAI_BASE_URL: upstream.url, SAFETY_IDENTIFIER_SECRET: '', AUDIT_FILE: '/nowhere/audit.jsonl' },
    args: ['--mint', '--call']
  })
  t.equal(code, 1)
  t.match(out, /^note {3}environment: .*SAFETY_IDENTIFIER_SECRET is not set\n +→ set it/m)
  t.match(out, /^wrong {2}policy file: callers\.2\.gatway is not a known key/m)
  t.match(out, /^wrong {2}upstream: .*401.*\n +→ put a valid key/m)
  t.match(out, /^note {3}mint: was not tried/m)
  t.match(out, /^note {3}call: was not made\n +→ fix the policy file first/m)
  t.match(out, /^wrong {2}audit: /m)
})

t.test('a caller entry with a problem is not checked, the others are', async (t) => {
  const upstream = await startUpstream(t)
  const { code, out } = await doctor(t, { env: { OPENAI_BASE_URL: upstream.url, TOKEN_SECRET: 'short' } })
  t.equal(code, 1)
  t.match(out, /^wrong {2}policy file: callers\.0\.jwt\.secret_env .*32 bytes/m)
  t.notMatch(out, /callers\.0\.jwt:/)
  t.match(out, /^ok {5}callers\.1\.forward/m)
})

t.test('caller entries that contradict each other are not checked', async (t) => {
  const introspection = '  - introspection: ' +
    '{ issuer: ISSUER, url: \'http://127.0.0.1:9/\', client_id: mint, client_secret_env: TOKEN_SECRET }\n'
  const { code, out } = await doctor(t, {
    policy: `callers:\n${introspection.replace('ISSUER', 'one')}${introspection.replace('ISSUER', 'two')}${POLICIES}`,
    env: { OPENAI_API_KEY: '' }
  })
  t.equal(code, 1)
  t.match(out, /^wrong {2}policy file: callers has two introspection entries/m)
  t.notMatch(out, /callers\.\d/)
})

t.test('without a valid environment or policy file the remaining checks still run', async (t) => {
  const { code, out } = await callCommand('doctor', [], { EPHEMINT_CONFIG: '/nowhere.yaml', PORT: 'x' })
  t.equal(code, 1)
  t.match(out, /^wrong {2}environment: OPENAI_API_KEY or OPENAI_API_KEY_FILE must be set$/m)
  t.match(out, /^wrong {2}environment: PORT must be/m)
  t.match(out, /^wrong {2}policy file: \/nowhere\.yaml cannot be read/m)
  t.match(out, /^note {3}upstream: was not checked/m)
  t.match(out, /^note {3}clock/m)
})

t.test('field F23: the doctor reports which requests go by a proxy, and what it refuses', async (t) => {
  const proxy = await startConnectProxy(t, { ports: {}, login: 'user:canary-proxy' })
  // The keys of auth.test are not requested: its tokens are signed with a secret.
  const policy = CALLERS.replace('gateway:', `jwt: { issuer: 'https://keys.test/', audience: voice }
  - jwt: { issuer: 'https://b.test/', audience: voice, jwks: 'https://cdn.test/keys' }
  - introspection:
      { issuer: as, url: 'https://as.test/i', client_id: mint, client_secret_env: TOKEN_SECRET }
  - forward:
      issuer: plain
      url: http://plain.test/me
      header: x-plain
      pass: [x-plain]
      subject: /id
      insecure_http: true
  - gateway:`)
  const { code, out } = await doctor(t, {
    policy: policy + POLICIES,
    env: { OPENAI_BASE_URL: 'https://api.test/v1', HTTPS_PROXY: proxy.url, NO_PROXY: 'as.test' }
  })
  t.equal(code, 1)
  t.match(out, new RegExp(`^ok {5}proxy: api\\.test by http://${proxy.host}, 127\\.0\\.0\\.1:\\d+ directly, ` +
    `keys\\.test by http://${proxy.host}, cdn\\.test by http://${proxy.host}, ` +
    'as\\.test directly, plain\\.test directly$', 'm'))
  t.match(out, /^wrong {2}upstream: .*api\.test.*: the proxy .* opens no tunnel to it\n +→ let the proxy/m)
  const stranger = await doctor(t, {
    env: { OPENAI_BASE_URL: 'https://api.test/v1', HTTPS_PROXY: proxy.url.replace('user:', 'stranger:') }
  })
  t.match(stranger.out, /^wrong {2}upstream: .*the proxy .* wants a login\n +→ put user and password/m)
})

t.test('field F19: the doctor reports which patterns match hosts of others', async (t) => {
  const policy = CALLERS.replace(/^.*forward: .*\n/m, '') + POLICIES
  const env = { CORS_ORIGINS: 'https://app-*-team.vercel.app,https://pr-*.app.test,https://app.test' }
  const { out } = await doctor(t, { policy, env: { ...env, OPENAI_BASE_URL: 'http://127.0.0.1:1/v1' } })
  t.match(out, /^note {3}environment: CORS_ORIGINS: .*a host that https:\/\/app-\*-team\.vercel\.app matches$/m)
  t.equal(out.match(/^note {3}environment/gm)?.length, 1)
  t.match(out, /^ok {5}policy file/m)
})

t.test('without a valid CORS_ORIGINS the policy file is not checked, and the rest is', async (t) => {
  const { code, out } = await doctor(t, { env: { CORS_ORIGINS: 'null', OPENAI_API_KEY: '' } })
  t.equal(code, 1)
  t.match(out, /^wrong {2}environment: CORS_ORIGINS entry 1 /m)
  t.match(out, /^note {3}policy file: was not checked\n +→ fix the environment first/m)
  t.match(out, /^note {3}upstream: was not checked/m)
})

t.test('an unknown option prints the usage and exits with 2', async (t) => {
  const { code, err } = await runCommand('doctor', ['--nonsense'])
  t.equal(code, 2)
  t.match(err, /^usage: /)
})

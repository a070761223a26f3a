// Starts first: it starts a dozen services, one after the other.
// The start of the process: an invalid configuration stops it with a reason, a valid one mints.

import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { createSigner, forge } from './callers/forge.ts'
import { policyOf } from './calls/harness.ts'
import { CALLERS, CANARIES, POLICY } from './support/app.ts'
import { startCallsUpstream } from './support/calls-upstream.ts'
import { startFaultProxy } from './support/fault-proxy.ts'
import { answers, startHostileIssuer } from './support/hostile-issuer.ts'
import { OFFER } from './support/sdp.ts'
import { spawnService, startService, tokenOf } from './support/service.ts'
import { until } from './support/until.ts'
import { GA, inSeconds, startUpstream } from './support/upstream.ts'

/** Runs the service and prints its CPU time, which does not depend on other load as elapsed time does. */
const TIMED = ['/bin/sh', '-c', '"$@"; code=$?; times >&2; exit $code', 'sh']

function processorSeconds (stderr: string): number {
  const [, ...times] = /(\d+)m([\d.]+)s (\d+)m([\d.]+)s\n$/.exec(stderr) as RegExpExecArray
  const [minutes = 0, seconds = 0, systemMinutes = 0, systemSeconds = 0] = times.map(Number)
  return 60 * (minutes + systemMinutes) + seconds + systemSeconds
}

const REFUSED: { name: string, isCounted?: true, env: Record<string, string>, policy?: string, says: RegExp[] }[] = [
  {
    name: 'an environment with faults',
    isCounted: true,
    env: { OPENAI_API_KEY: 'canary key', OPENAI_BASE_URL: 'http://canary.test', PORT: 'canary', LOG_LEVEL: 'canary' },
    says: [/OPENAI_API_KEY/, /OPENAI_BASE_URL/, /PORT/, /LOG_LEVEL/]
  },
  {
    name: 'a policy file with faults',
    env: {},
    policy: `${CALLERS}
policies:
  - { name: a, limits: none, realtime: {} }
  - { name: b, when: {}, limits: none, canary: 1 }`,
    says: [/policies\.0\.when is missing/, /policies\.1\.when/, /policies\.1\.canary/]
  },
  {
    name: 'a missing secret of the policy file',
    env: { TOKEN_SECRET: '' },
    says: [/callers\.0\.jwt\.secret_env/, /TOKEN_SECRET/]
  },
  {
    name: 'a secret that is too short',
    env: { TOKEN_SECRET: 'canary' },
    says: [/callers\.0\.jwt\.secret_env .*TOKEN_SECRET/]
  },
  {
    name: 'a missing policy file',
    env: { EPHEMINT_CONFIG: '/nowhere/ephemint.yaml' },
    says: [/\/nowhere\/ephemint\.yaml cannot be read: no such file or directory/]
  },
  {
    name: 'a file without a key',
    env: { OPENAI_API_KEY: '', OPENAI_API_KEY_FILE: '/dev/null' },
    says: [/OPENAI_API_KEY_FILE/]
  },
  {
    name: 'an audit file that cannot be written',
    isCounted: true,
    env: { AUDIT_FILE: '/nowhere/canary' },
    says: [/AUDIT_FILE cannot be opened for appending: no such file or directory/]
  },
  {
    name: 'turned-off certificate checks',
    env: { NODE_TLS_REJECT_UNAUTHORIZED: '0' },
    says: [/NODE_TLS_REJECT_UNAUTHORIZED/]
  }
]

// Fills the compile cache, as in the image.
t.before(async () => {
  const { exited } = await spawnService(t, { upstreamUrl: 'http://127.0.0.1:9/v1', env: { OPENAI_API_KEY: '' } })
  await exited
})

for (const { name, isCounted, env, policy, says } of REFUSED) {
  t.test(`fault 42, F15: ${name} stops the start and is reported by name, without values`, async (t) => {
    const service = await spawnService(t, {
      upstreamUrl: 'http://127.0.0.1:9/v1',
      command: TIMED,
      env,
      ...(isCounted ? { isCounted } : {}),
      ...(policy === undefined ? {} : { policy })
    })
    const { code } = await service.exited
    const reported = service.stderr()
    t.equal(code, 1)
    if (!isCounted) t.ok(processorSeconds(reported) < 2, `within 2 s: ${processorSeconds(reported)} s`)
    for (const problem of says) t.match(reported, problem)
    t.same(reported.split('\n').filter((line) => line !== '' && !/^(ephemint: |\(|\d+m)/.test(line)), [], 'no stack')
    t.notMatch(reported.replaceAll('policies.1.canary', ''), /canary/)
    t.same(service.log, [])
  })
}

t.test('fault 16: without the keys of an issuer it is not ready, serves the others, and recovers', async (t) => {
  const signer = createSigner('ES256', 'first')
  const issuer = await startHostileIssuer(t, answers({ keys: [signer.jwk] }))
  const proxy = await startFaultProxy(t, { host: '127.0.0.1', port: Number(new URL(issuer.url).port) })
  await proxy.inject('refuse')
  const upstream = await startUpstream(t)
  const policy = POLICY.replace(
    'callers:',
    `callers:\n  - jwt: { issuer: 'https://other.test/', audience: voice, jwks: 'http://${proxy.host}/keys' }`
  )
  const service = await spawnService(t, { upstreamUrl: upstream.url, policy })
  await until('the service to listen', () => service.ask('/livez').then(() => true, () => false), 20_000)
  t.match(await service.ask('/readyz'), { status: 503, body: { waiting_for: ['identity'] } })
  t.equal((await service.mint()).status, 200)
  const claims = { iss: 'https://other.test/', sub: 'bob', aud: 'voice', plan: 'pro', exp: inSeconds(60) }
  const authorization = `Bearer ${forge(signer, claims)}`
  t.match(await service.mint({ headers: { authorization } }), { status: 503, code: 'identity_unavailable' })
  await proxy.inject('pass')
  await until('the service to be ready', async () => (await service.ask('/readyz')).status === 200, 31_000)
  t.equal((await service.mint({ headers: { authorization } })).status, 200)
})

t.test('a valid configuration becomes ready, mints, and exits on SIGTERM', async (t) => {
  const upstream = await startUpstream(t)
  const service = await startService(t, { upstreamUrl: upstream.url, isCounted: true, env: { LOG_LEVEL: 'trace' } })
  t.match(await service.ask('/livez'), { status: 200, body: { status: 'ok' } })
  const { status, body } = await service.mint()
  t.equal(status, 200)
  t.equal(body.value, upstream.secrets[0])
  t.equal(upstream.requests[0]?.headers.authorization, `Bearer ${CANARIES.OPENAI_API_KEY}`)
  t.equal(upstream.requests[0]?.path, GA)
  service.kill('SIGTERM')
  t.match(await service.exited, { code: 0, signal: null })
  t.match(service.audit, [{ event: 'mint.granted' }])
  t.equal(service.stderr(), '')
  const written = JSON.stringify([service.log, service.audit])
  for (const secret of [...Object.values(CANARIES), ...upstream.secrets]) t.notOk(written.includes(secret))
})

t.test('the audit trail goes to AUDIT_FILE if it is set', async (t) => {
  const upstream = await startUpstream(t)
  const file = join(mkdtempSync(join(tmpdir(), 'ephemint-')), 'audit.jsonl')
  const service = await startService(t, { upstreamUrl: upstream.url, isCounted: true, env: { AUDIT_FILE: file } })
  await service.mint()
  t.match(JSON.parse(readFileSync(file, 'utf8')), { audit: 1, event: 'mint.granted' })
  t.same(service.audit, [])
  service.kill('SIGTERM')
  t.match(await service.exited, { code: 0 })
})

/** A module that reports on stderr when the package that only calls need is loaded. */
const REPORT_WS = `data:text/javascript,${encodeURIComponent(`
  import { registerHooks } from 'node:module'
  registerHooks({
    load (url, context, next) {
      if (url.includes('/node_modules/ws/')) process.stderr.write('ws\\n')
      return next(url, context)
    }
  })
`)}`

t.test('call: a service that mints loads nothing of what only calls need, until the first call', async (t) => {
  const upstream = await startCallsUpstream(t)
  const args = ['--import', REPORT_WS]
  const service = await startService(t, { upstreamUrl: upstream.url, policy: policyOf(), args })
  t.equal((await service.mint()).status, 200)
  t.equal(service.stderr(), '')
  const { status } = await fetch(`${service.url}/v1/realtime/calls`, {
    method: 'POST',
    headers: { authorization: `Bearer ${await tokenOf()}`, 'content-type': 'application/sdp' },
    body: OFFER
  })
  t.equal(status, 201)
  t.match(service.stderr(), /^ws$/m)
})

// The doctor's check of upstream, against servers that accept the key, reject it or fail.

import { once } from 'node:events'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { createKeySets } from '../../../src/callers/jwks.ts'
import { systemClock } from '../../../src/clock.ts'
import { silentLog } from '../../../src/commands/command.ts'
import { compareClocks } from '../../../src/commands/doctor/clock.ts'
import type { Finding } from '../../../src/commands/doctor/finding.ts'
import { checkUpstream, tryMint } from '../../../src/commands/doctor/upstream.ts'
import { type Config, policyEnvironment, readConfig } from '../../../src/config/environment.ts'
import type { Policies } from '../../../src/policy/policy.ts'
import { readRulebook } from '../../../src/rulebook/rulebook.ts'
import { openUpstream, type Upstream } from '../../../src/service.ts'
import { createAuthority } from '../../support/certificate.ts'
import { answers, floods, hangsUp, startHostileIssuer } from '../../support/hostile-issuer.ts'
import { failure, GA, hang, json, SESSIONS, startUpstream } from '../../support/upstream.ts'

const KEY = 'sk-canary-doctor'

function upstreamAt (t: Test, baseUrl: string, env: Record<string, string> = {}): Upstream & { config: Config } {
  const config = readConfig({ OPENAI_API_KEY: KEY, OPENAI_BASE_URL: baseUrl, UPSTREAM_TIMEOUT_MS: '2000', ...env })
  const upstream = openUpstream(config, { log: silentLog, clock: systemClock })
  t.teardown(() => { upstream.close().catch(() => {}) })
  return { ...upstream, config }
}

async function check (t: Test, baseUrl: string, env?: Record<string, string>): Promise<Finding> {
  const { config, client } = upstreamAt(t, baseUrl, env)
  const finding = await checkUpstream(config.upstream, client, compareClocks())
  t.notMatch(JSON.stringify(finding), 'canary')
  return finding
}

t.test('each status of a models request has its own finding', async (t) => {
  const rows: [status: number, state: string, message: RegExp, advice: RegExp][] = [
    [401, 'wrong', /rejects the key/, /OPENAI_API_KEY/],
    [403, 'note', /may not list models/, /--mint/],
    [404, 'note', /does not show/, /--mint/],
    [405, 'note', /does not show/, /OPENAI_BASE_URL/],
    [429, 'note', /limits this key/, /credit/],
    [307, 'wrong', /redirects are not followed/, /OPENAI_BASE_URL/],
    [400, 'wrong', /answers 400/, /OPENAI_BASE_URL/],
    [500, 'wrong', /answers 500/, /down/]
  ]
  for (const [status, state, message, advice] of rows) {
    const server = await startHostileIssuer(t, answers({}, status))
    t.match(await check(t, `${server.url}/v1`), { state, subject: 'upstream', message, advice }, String(status))
  }
})

t.test('an upstream that accepts the key gets one models request, with the headers of a mint', async (t) => {
  const server = await startHostileIssuer(t, answers({ data: [] }))
  t.same(
    await check(t, `${server.url}/v1/`, { OPENAI_ORG_ID: 'org-1' }),
    { state: 'ok', subject: 'upstream', message: `${server.url}/v1/models answers and accepts the key` }
  )
  t.match(
    server.requests,
    [{ method: 'GET', path: '/v1/models', headers: { authorization: `Bearer ${KEY}`, 'openai-organization': 'org-1' } }]
  )
  t.equal(server.requests.length, 1)
})

t.test('the size of the response does not matter', async (t) => {
  const server = await startHostileIssuer(t, floods)
  t.match(await check(t, `${server.url}/v1`), { state: 'ok' })
})

t.test('a connection that fails is reported with its cause', async (t) => {
  const gone = await startHostileIssuer(t)
  await gone.close()
  t.match(await check(t, `${gone.url}/v1`), { state: 'wrong', message: /nothing listens there/, advice: /start it/ })
  const rude = await startHostileIssuer(t, hangsUp)
  t.match(await check(t, `${rude.url}/v1`), { message: /closed the connection/ })
  const slow = await startHostileIssuer(t, () => {})
  t.match(
    await check(t, `${slow.url}/v1`, { UPSTREAM_TIMEOUT_MS: '100' }),
    { message: /cannot be reached/, advice: /firewall/ }
  )
  t.match(await check(t, 'https://nobody.invalid/v1'), { message: /does not resolve/, advice: /DNS/ })
  t.match(await check(t, rude.url.replace('http:', 'https:')), { state: 'wrong' })
  const garbage = await startHostileIssuer(t, (response) => { response.socket?.end('220 hello\r\n') })
  t.match(await check(t, `${garbage.url}/v1`), { message: /not valid HTTP/ })
})

t.test('an untrusted certificate is reported with its cause', async (t) => {
  const authority = createAuthority()
  const rows = [
    [authority.issue(), /not signed by a CA/, /NODE_EXTRA_CA_CERTS/],
    [createAuthority(), /not signed by a CA/, /NODE_EXTRA_CA_CERTS/]
  ] as const
  for (const [certificate, message, advice] of rows) {
    const server = createTlsServer(certificate, (_request, response) => response.end()).listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => server.close())
    t.match(
      await check(t, `https://localhost:${(server.address() as AddressInfo).port}/v1`),
      { state: 'wrong', message, advice }
    )
  }
})

const CALLERS = 'callers: [{ jwt: { issuer: \'https://auth.test/\', audience: voice } }]\n'
const OPEN = `${CALLERS}
policies:
  - { name: suspended, when: { status: suspended }, deny: true }
  - name: named
    when: { plan: pro }
    limits: none
    realtime: { fixed: { model: m, instructions: 'You help {{name}}.' } }
  - { name: open, when: any, limits: none, realtime: { fixed: { model: gpt-realtime-2.1-mini } } }
`
const CLOSED = OPEN.split('\n').filter((line) => !line.includes('open')).join('\n')

function policiesOf (text: string): Policies {
  const { rulebook } = readRulebook(
    text, { ...policyEnvironment({}, './x'), log: silentLog, keySets: createKeySets({ log: silentLog }) }
  )
  return rulebook?.policies as Policies
}

t.test('a trial mint uses the first policy that needs no claims, lasts ten seconds and is discarded', async (t) => {
  const upstream = await startUpstream(t)
  const { config, mint } = upstreamAt(t, upstream.url)
  const finding = await tryMint(config, mint, policiesOf(OPEN))
  t.same(finding, {
    state: 'ok',
    subject: 'mint',
    message: 'one secret was minted by policy open; it opens sessions for 10 s, and was discarded'
  })
  t.match(
    upstream.requests,
    [{ path: GA, body: { expires_after: { seconds: 10 }, session: { model: 'gpt-realtime-2.1-mini' } } }]
  )
})

t.test('if every policy needs claims, only a model is minted, also by the legacy API', async (t) => {
  const upstream = await startUpstream(t)
  const { config, mint } = upstreamAt(t, upstream.url, { OPENAI_MINT_API: 'sessions' })
  t.match(await tryMint(config, mint, policiesOf(CLOSED)), { state: 'ok', message: /only a model/ })
  t.match(upstream.requests, [{ path: SESSIONS, body: { model: 'gpt-realtime-2.1' } }])
})

t.test('a mint that fails is reported with its cause and advice', async (t) => {
  const upstream = await startUpstream(t)
  const { config, mint } = upstreamAt(t, upstream.url)
  const rows = [
    [failure(401), /upstream_rejected \(upstream_401\)/, /right to mint/],
    [failure(429, 'insufficient_quota'), /upstream_rate_limited \(billing\)/, /credit/],
    [
      failure(400, 'unknown_parameter', { param: 'session.model' }), /upstream_rejected \(upstream_400\)/,
      /remove from the policy/
    ],
    [json(200, {}), /upstream_error \(unusable_answer\)/, /its log/]
  ] as const
  for (const [reply, message, advice] of rows) {
    upstream.answer(GA, reply)
    const finding = await tryMint(config, mint, policiesOf(OPEN))
    t.match(finding, { state: 'wrong', subject: 'mint', message, advice })
    t.notMatch(JSON.stringify(finding), 'canary')
  }
})

t.test('a mint that takes too long times out', async (t) => {
  const upstream = await startUpstream(t)
  upstream.answer(GA, hang)
  const { config, mint } = upstreamAt(t, upstream.url, { UPSTREAM_TIMEOUT_MS: '100' })
  t.match(await tryMint(config, mint, policiesOf(OPEN)), { state: 'wrong', message: /upstream_timeout/ })
})

t.test('a bug of ours is not reported as a fault of upstream', async (t) => {
  const { config } = upstreamAt(t, 'http://127.0.0.1:9/v1')
  await t.rejects(
    tryMint(config, async () => { throw new TypeError('ours') }, policiesOf(OPEN)), { message: 'ours' }
  )
})

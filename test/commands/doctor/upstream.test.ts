// Whether upstream answers and takes the key, by servers that do and do not.

import { once } from 'node:events'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { createKeySets } from '../../../src/callers/jwks.ts'
import { silentLog } from '../../../src/commands/command.ts'
import { compareClocks } from '../../../src/commands/doctor/clock.ts'
import type { Finding } from '../../../src/commands/doctor/finding.ts'
import { examineUpstream, tryMint } from '../../../src/commands/doctor/upstream.ts'
import { type Config, policyEnvironment, readConfig } from '../../../src/config/environment.ts'
import type { Policies } from '../../../src/policy/policy.ts'
import { readRulebook } from '../../../src/rulebook/rulebook.ts'
import { type Client, createClient } from '../../../src/upstream/client.ts'
import { openKey } from '../../../src/upstream/key.ts'
import { createAuthority } from '../../support/certificate.ts'
import { answers, floods, hangsUp, startHostileIssuer } from '../../support/hostile-issuer.ts'
import { failure, GA, hang, json, SESSIONS, startUpstream } from '../../support/upstream.ts'

const KEY = 'sk-canary-doctor'

function clientFor (t: Test, baseUrl: string, env: Record<string, string> = {}): { config: Config, client: Client } {
  const config = readConfig({ OPENAI_API_KEY: KEY, OPENAI_BASE_URL: baseUrl, UPSTREAM_TIMEOUT_MS: '2000', ...env })
  const client = createClient(config.upstream, openKey(config.upstream, silentLog), silentLog)
  t.teardown(() => { client.close().catch(() => {}) })
  return { config, client }
}

async function examine (t: Test, baseUrl: string, env?: Record<string, string>): Promise<Finding> {
  const { config, client } = clientFor(t, baseUrl, env)
  const finding = await examineUpstream(config.upstream, client, compareClocks())
  t.notMatch(JSON.stringify(finding), 'canary')
  return finding
}

t.test('each answer to a question that mints nothing says something else of the key', async (t) => {
  const rows: [status: number, state: string, says: RegExp, advice: RegExp][] = [
    [401, 'wrong', /does not take the key/, /OPENAI_API_KEY/],
    [403, 'note', /may not list models/, /--mint/],
    [404, 'note', /cannot be told/, /--mint/],
    [405, 'note', /cannot be told/, /OPENAI_BASE_URL/],
    [429, 'note', /limits this key/, /credit/],
    [307, 'wrong', /somewhere else/, /OPENAI_BASE_URL/],
    [400, 'wrong', /answers 400/, /OPENAI_BASE_URL/],
    [500, 'wrong', /answers 500/, /down/]
  ]
  for (const [status, state, says, advice] of rows) {
    const server = await startHostileIssuer(t, answers({}, status))
    t.match(await examine(t, `${server.url}/v1`), { state, subject: 'upstream', says, advice }, String(status))
  }
})

t.test('an upstream that takes the key is asked for its models, once, as a mint would be asked', async (t) => {
  const server = await startHostileIssuer(t, answers({ data: [] }))
  t.same(
    await examine(t, `${server.url}/v1/`, { OPENAI_ORG_ID: 'org-1' }),
    { state: 'ok', subject: 'upstream', says: `${server.url}/v1/models answers and takes the key` }
  )
  t.match(
    server.asked,
    [{ method: 'GET', path: '/v1/models', headers: { authorization: `Bearer ${KEY}`, 'openai-organization': 'org-1' } }]
  )
  t.equal(server.asked.length, 1)
})

t.test('how much it says does not matter', async (t) => {
  const server = await startHostileIssuer(t, floods)
  t.match(await examine(t, `${server.url}/v1`), { state: 'ok' })
})

t.test('an upstream that does not answer is told apart by why', async (t) => {
  const gone = await startHostileIssuer(t)
  await gone.close()
  t.match(await examine(t, `${gone.url}/v1`), { state: 'wrong', says: /nothing listens there/, advice: /start it/ })
  const rude = await startHostileIssuer(t, hangsUp)
  t.match(await examine(t, `${rude.url}/v1`), { says: /hangs up/ })
  const slow = await startHostileIssuer(t, () => {})
  t.match(
    await examine(t, `${slow.url}/v1`, { UPSTREAM_TIMEOUT_MS: '100' }),
    { says: /cannot be reached/, advice: /firewall/ }
  )
  t.match(await examine(t, 'https://nobody.invalid/v1'), { says: /leads to no address/, advice: /DNS/ })
  t.match(await examine(t, rude.url.replace('http:', 'https:')), { state: 'wrong' })
  const garbage = await startHostileIssuer(t, (response) => { response.socket?.end('220 hello\r\n') })
  t.match(await examine(t, `${garbage.url}/v1`), { says: /no answer that can be read/ })
})

t.test('a certificate that is not good is told apart by what is wrong with it', async (t) => {
  const authority = createAuthority()
  const rows = [
    [authority.issue(), /nobody whom this machine trusts/, /NODE_EXTRA_CA_CERTS/],
    [createAuthority(), /nobody whom this machine trusts/, /NODE_EXTRA_CA_CERTS/]
  ] as const
  for (const [certificate, says, advice] of rows) {
    const server = createTlsServer(certificate, (_request, response) => response.end()).listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => server.close())
    t.match(
      await examine(t, `https://localhost:${(server.address() as AddressInfo).port}/v1`),
      { state: 'wrong', says, advice }
    )
  }
})

const CALLERS = 'callers: [{ jwt: { issuer: \'https://auth.test/\', audience: voice } }]\n'
const OPEN = `${CALLERS}
policies:
  - { name: suspended, when: { status: suspended }, deny: true }
  - { name: named, when: { plan: pro }, limits: none, realtime: { fixed: { model: m, instructions: 'You help {{name}}.' } } }
  - { name: open, when: any, limits: none, realtime: { fixed: { model: gpt-realtime-2.1-mini } } }
`
const CLOSED = OPEN.split('\n').filter((line) => !line.includes('open')).join('\n')

function policiesOf (text: string): Policies {
  const { rulebook } = readRulebook(
    text, { ...policyEnvironment({}, './x'), log: silentLog, keySets: createKeySets({ log: silentLog }) }
  )
  return rulebook?.policies as Policies
}

t.test('a mint that is tried mints by the first policy that needs no claims, for ten seconds, and is given to nobody', async (t) => {
  const upstream = await startUpstream(t)
  const { config, client } = clientFor(t, upstream.url)
  const finding = await tryMint(config, client, policiesOf(OPEN))
  t.same(finding, {
    state: 'ok',
    subject: 'mint',
    says: 'one secret was minted by policy open; it opens sessions for 10 s, and nobody has it'
  })
  t.match(
    upstream.requests,
    [{ path: GA, body: { expires_after: { seconds: 10 }, session: { model: 'gpt-realtime-2.1-mini' } } }]
  )
})

t.test('where every policy needs claims it mints with a model alone; where upstream knows the beta alone, by that', async (t) => {
  const upstream = await startUpstream(t)
  const { config, client } = clientFor(t, upstream.url, { OPENAI_MINT_API: 'sessions' })
  t.match(await tryMint(config, client, policiesOf(CLOSED)), { state: 'ok', says: /nothing but a model/ })
  t.match(upstream.requests, [{ path: SESSIONS, body: { model: 'gpt-realtime-2.1' } }])
})

t.test('a mint that fails says why, and what to do', async (t) => {
  const upstream = await startUpstream(t)
  const { config, client } = clientFor(t, upstream.url)
  const rows = [
    [failure(401), /upstream_rejected \(upstream_401\)/, /right to mint/],
    [failure(429, 'insufficient_quota'), /upstream_rate_limited \(billing\)/, /credit/],
    [
      failure(400, 'unknown_parameter', { param: 'session.model' }), /upstream_rejected \(upstream_400\)/,
      /take out of the policy/
    ],
    [json(200, {}), /upstream_error \(unusable_answer\)/, /its log/]
  ] as const
  for (const [reply, says, advice] of rows) {
    upstream.answer(GA, reply)
    const finding = await tryMint(config, client, policiesOf(OPEN))
    t.match(finding, { state: 'wrong', subject: 'mint', says, advice })
    t.notMatch(JSON.stringify(finding), 'canary')
  }
})

t.test('a mint that takes too long is given up', async (t) => {
  const upstream = await startUpstream(t)
  upstream.answer(GA, hang)
  const { config, client } = clientFor(t, upstream.url, { UPSTREAM_TIMEOUT_MS: '100' })
  t.match(await tryMint(config, client, policiesOf(OPEN)), { state: 'wrong', says: /upstream_timeout/ })
})

t.test('a fault of ours is not taken for one of upstream', async (t) => {
  const { config, client } = clientFor(t, 'http://127.0.0.1:9/v1')
  await t.rejects(
    tryMint(config, { ...client, request: async () => { throw new TypeError('ours') } }, policiesOf(OPEN)),
    { message: 'ours' }
  )
})

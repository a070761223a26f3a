// Fault 4, attack G4: an upstream without a valid certificate never gets the key.

import { once } from 'node:events'
import { createServer, type ServerOptions } from 'node:https'
import type { AddressInfo } from 'node:net'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import t, { type Test } from 'tap'
import { readConfig } from '../../src/config/environment.ts'
import { CANARIES, startApp } from '../support/app.ts'
import { lastDecision, remainingOf } from '../support/behind-proxy.ts'
import { createAuthority } from '../support/certificate.ts'
import { startFaultProxy } from '../support/fault-proxy.ts'

const authority = createAuthority()
const stranger = createAuthority('Other Authority')
const before = getCACertificates()
setDefaultCACertificates([...before, authority.cert])
t.teardown(() => setDefaultCACertificates(before))

/** An upstream that mints for every request that gets past TLS. */
async function startTlsUpstream (t: Test, options: ServerOptions) {
  const asked: string[] = []
  const server = createServer(options, (request, response) => {
    asked.push(request.headers.authorization ?? '')
    const expiresAt = Math.floor(Date.now() / 1000) + 60
    response.end(JSON.stringify(
      { value: 'ek_1', expires_at: expiresAt, session: { type: 'realtime', id: 'sess_1', object: 'realtime.session' } }
    ))
  }).listen(0, '127.0.0.1')
  server.on('tlsClientError', () => {})
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const proxy = await startFaultProxy(t, { host: '127.0.0.1', port: (server.address() as AddressInfo).port })
  return { asked, server, proxy, url: `https://localhost:${proxy.port}/v1` }
}

const REFUSED: [name: string, options: ServerOptions][] = [
  ['has expired', authority.issue({ notAfter: new Date(Date.now() - 60_000) })],
  ['is not valid yet', authority.issue({ notAfter: new Date(Date.now() + 3 * 86_400_000) })],
  ['names another host', authority.issue({ name: 'upstream.example.com' })],
  ['is signed by an unknown authority', stranger.issue()],
  ['signed itself', { cert: stranger.cert, key: stranger.key }],
  [
    'speaks TLS 1.1 at most',
    { ...authority.issue(), maxVersion: 'TLSv1.1', minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' }
  ]
].map(([name, options]) => [name as string, options as ServerOptions])

t.test('G4: turned-off certificate checks stop the start', async (t) => {
  t.throws(
    () => readConfig({ ...CANARIES, NODE_TLS_REJECT_UNAUTHORIZED: '0' }),
    { message: /NODE_TLS_REJECT_UNAUTHORIZED must not be 0/ }
  )
})

for (const [name, options] of REFUSED) {
  t.test(`G4, fault 4: an upstream that ${name} is 502, unasked until its certificate is valid`, async (t) => {
    const { asked, server, proxy, url } = await startTlsUpstream(t, options)
    const app = await startApp(t, { env: { OPENAI_BASE_URL: url } })
    const remaining = await remainingOf(app)
    const connections = proxy.connections()
    const answer = await app.mint('client_secrets')
    t.equal(answer.status, 502)
    t.same(lastDecision(app), { event: 'mint.refused', code: 'upstream_error', reason: 'tls' })
    t.equal(proxy.connections(), connections + 1)
    t.same(asked, [])
    t.same(app.attempts, ['tls'], 'counted apart')
    t.equal(await remainingOf(app), remaining, 'given back')
    server.setSecureContext({ ...authority.issue(), minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3' })
    t.equal((await app.mint('client_secrets')).status, 200)
  })
}

t.test('G4: an upstream with a valid certificate gets the request', async (t) => {
  const { asked, url } = await startTlsUpstream(t, authority.issue())
  const app = await startApp(t, { env: { OPENAI_BASE_URL: url } })
  t.equal((await app.mint('client_secrets')).status, 200)
  t.equal(asked.at(-1), `Bearer ${CANARIES.OPENAI_API_KEY}`)
})

t.test('fault 7: a connection that is reset during the TLS handshake is retried once', async (t) => {
  const { proxy, url } = await startTlsUpstream(t, authority.issue())
  const app = await startApp(t, { env: { OPENAI_BASE_URL: url } })
  await proxy.inject('reset', 1)
  t.equal((await app.mint('client_secrets')).status, 200)
})

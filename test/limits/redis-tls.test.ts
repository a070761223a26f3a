import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import { createServer, getCACertificates, setDefaultCACertificates } from 'node:tls'
import t, { type Test } from 'tap'
import { type Certificate, createAuthority } from '../support/certificate.ts'
import { NO_REDIS, startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { ADA, connectStore, openStore } from './store.ts'

const authority = createAuthority()
const before = getCACertificates()
setDefaultCACertificates([authority.cert])
t.teardown(() => setDefaultCACertificates(before))

t.test('rediss:// gives no password to a server that cannot prove who it is', { skip: NO_REDIS }, async (t) => {
  const rows: [host: string, certificate: Certificate][] = [
    ['localhost', createAuthority('Somebody Else').issue()],
    ['localhost', authority.issue({ name: 'redis.example.com' })],
    ['localhost', authority.issue({ notAfter: new Date(Date.now() - 60_000) })],
    ['127.0.0.1', authority.issue()]
  ]
  for (const [host, certificate] of rows) {
    const { address, served } = await startTls(t, certificate)
    const store = openStore(t, { address: { ...address, host, password: 'canary' } })
    await until('the loss to be told', () => store.messages().includes('Redis is lost: mints are refused'))
    await t.rejects(async () => store.take([ADA]), { code: 'limits_unavailable' })
    t.equal(served(), 0)
    t.notMatch(store.log.kept.join(''), 'canary')
  }
})

t.test('rediss:// counts over TLS, by the name of the server', { skip: NO_REDIS }, async (t) => {
  const { address, served } = await startTls(t, authority.issue())
  const store = await connectStore(t, { address: { ...address, host: 'localhost' } })
  t.equal((await store.take([ADA])).taken, true)
  t.ok(served() > 0)
})

/** Redis, behind what ends TLS. */
async function startTls (t: Test, certificate: Certificate) {
  const redis = await startRedis(t)
  let bytes = 0
  const server = createServer(certificate, (client) => {
    const other = connect(redis.port, '127.0.0.1')
    for (const socket of [client, other]) socket.on('error', () => other.destroy())
    client.on('data', (chunk) => { bytes += chunk.length })
    client.pipe(other).pipe(client)
    t.teardown(() => client.destroy())
  })
  server.on('tlsClientError', () => {})
  server.listen(0)
  await once(server, 'listening')
  t.teardown(() => server.close())
  return { address: { ...redis.address, port: (server.address() as AddressInfo).port, tls: true }, served: () => bytes }
}

import { once } from 'node:events'
import { type AddressInfo, connect } from 'node:net'
import { join } from 'node:path'
import { createServer, getCACertificates, setDefaultCACertificates } from 'node:tls'
import t, { type Test } from 'tap'
import { checkRedis } from '../../src/commands/doctor/redis-and-audit.ts'
import { readConfig, type RedisAddress } from '../../src/config/environment.ts'
import { type Certificate, createAuthority } from '../support/certificate.ts'
import { freePort } from '../support/processes.ts'
import { NO_REDIS, startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { ADA, connectStore, openStore } from './store.ts'

const authority = createAuthority()
const before = getCACertificates()
setDefaultCACertificates([...before, authority.cert])
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
    await until('the loss to be logged', () => store.messages().includes('Redis is lost: mints are refused'))
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

t.test('field F27: a certificate of no public authority needs REDIS_CA_FILE, and by it no other is accepted', {
  skip: NO_REDIS
}, async (t) => {
  const own = createAuthority('Private Authority')
  const stranger = createAuthority('Somebody Else')
  const { cert, key } = own.issue()
  const folder = t.testdir({ 'cert.pem': cert, 'key.pem': key, 'ca.pem': own.cert, 'other.pem': stranger.cert })
  const port = await freePort()
  await startRedis(
    t, '--tls-port', String(port), '--tls-cert-file', `${folder}/cert.pem`, '--tls-key-file', `${folder}/key.pem`,
    '--tls-auth-clients', 'no'
  )
  const connecting = (ca?: string) => {
    const env = { OPENAI_API_KEY: 'sk', REDIS_URL: `rediss://localhost:${port}` }
    const { redis } = readConfig({ ...env, ...(ca === undefined ? {} : { REDIS_CA_FILE: join(folder, ca) }) })
    return { address: redis as RedisAddress }
  }
  for (const ca of [undefined, 'other.pem']) {
    const store = openStore(t, connecting(ca))
    await until('the loss to be logged', () => store.messages().includes('Redis is lost: mints are refused'))
    await t.rejects(async () => store.take([ADA]), { code: 'limits_unavailable' })
  }
  const store = await connectStore(t, connecting('ca.pem'))
  t.equal((await store.take([ADA])).taken, true)
  const doctor = await checkRedis(connecting().address)
  t.match(doctor, { state: 'wrong', message: /cannot be used/, advice: /REDIS_CA_FILE/ })
  t.match(await checkRedis(connecting('ca.pem').address), { state: 'ok' })
})

/** Starts Redis behind a server that terminates TLS. */
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

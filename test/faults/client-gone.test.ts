// Fault 31, attack G17: the client disconnects at each stage of a mint.

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import type { LimitStore } from '../../src/limits/limits.ts'
import { createMemoryStore } from '../../src/limits/memory.ts'
import { type App, POLICY } from '../support/app.ts'
import { remainingOf, startBehindProxy } from '../support/behind-proxy.ts'
import { until } from '../support/until.ts'

const UNLIMITED = POLICY.replace(/limits: .*/, 'limits: none')

async function ask (t: Test, app: App, { length = 2, body = '{}' } = {}): Promise<Socket> {
  const socket = connect(app.port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  socket.on('error', () => {}).resume()
  await once(socket, 'connect')
  socket.write([
    'POST /v1/realtime/client_secrets HTTP/1.1', 'Host: a', `Authorization: Bearer ${await app.token()}`,
    'Content-Type: application/json', `Content-Length: ${length}`, '', body
  ].join('\r\n'))
  return socket
}

const events = (app: App) => app.auditLines().map(({ event }) => event)

for (const [how, leave] of [
  ['hangs up', (socket: Socket) => socket.destroy()],
  ['resets the connection', (socket: Socket) => socket.resetAndDestroy()]
] as const) {
  t.test(`fault 31: a client that ${how} before the end of its body causes no mint`, async (t) => {
    const { app, upstream } = await startBehindProxy(t)
    const before = await remainingOf(app)
    const socket = await ask(t, app, { length: 2, body: '{' })
    await once(app.server, 'request')
    leave(socket)
    await until('the connection to be gone', () =>
      new Promise((resolve) => app.server.getConnections((_error, count) => resolve(count <= 1))))
    t.equal((await app.mint('client_secrets')).status, 200)
    t.equal(upstream.requests.length, 1)
    t.notOk(events(app).includes('mint.unknown'))
    t.equal(await remainingOf(app), before - 1)
  })

  t.test(`fault 31: a client that ${how} before the mint causes no mint`, async (t) => {
    const store = createMemoryStore()
    const { promise: isGone, resolve: goOn } = Promise.withResolvers<void>()
    let isTaking = false
    const limits: LimitStore = {
      ...store,
      take: async (buckets) => {
        isTaking = true
        await isGone
        return store.take(buckets)
      }
    }
    const { app, upstream } = await startBehindProxy(t, { limits })
    const before = await remainingOf(app)
    const socket = await ask(t, app)
    await until('the request to be worked on', () => isTaking)
    leave(socket)
    await until('the connection to be gone', () =>
      new Promise((resolve) => app.server.getConnections((_error, count) => resolve(count <= 1))))
    goOn()
    await until('the decision', () => events(app).length > 0)
    t.same(events(app), ['mint.refused'])
    t.equal(app.auditLines()[0]?.reason, 'client_gone')
    t.equal(upstream.requests.length, 0)
    t.equal(await remainingOf(app), before, 'given back')
  })

  t.test(`G17, fault 31: a client that ${how} during the mint is audited as granted and undelivered`, async (t) => {
    const { app, proxy, upstream } = await startBehindProxy(t)
    await proxy.inject({ slow: 300 })
    const socket = await ask(t, app)
    await upstream.arrived(1)
    leave(socket)
    await until('both lines', () => events(app).length === 2)
    t.same(events(app), ['mint.granted', 'mint.undelivered'])
    const [granted, undelivered] = app.auditLines()
    t.equal(undelivered?.request_id, granted?.request_id)
    t.equal(undelivered?.secret_sha256, granted?.secret_sha256)
  })
}

t.test('fault 31: a client that hangs up after its answer is audited as granted only', async (t) => {
  const { app } = await startBehindProxy(t)
  const socket = await ask(t, app)
  await once(socket, 'data')
  socket.destroy()
  await until('the connection to be gone', () =>
    new Promise((resolve) => app.server.getConnections((_error, count) => resolve(count === 0))))
  t.same(events(app), ['mint.granted'])
})

t.test('G17, fault 31: garbage after a request changes neither its answer nor its audit lines', async (t) => {
  const { app, proxy, upstream } = await startBehindProxy(t)
  await proxy.inject({ slow: 300 })
  const socket = await ask(t, app)
  let received = ''
  socket.on('data', (chunk) => { received += chunk })
  await upstream.arrived(1)
  socket.write('no HTTP\r\n\r\n')
  await until('the connection to be gone', () => socket.closed)
  await until('the decision', () => events(app).length > 0)
  const delivered = received.includes('ek_canary')
  t.same(events(app), delivered ? ['mint.granted'] : ['mint.granted', 'mint.undelivered'])
})

t.test('fault 48: four hundred clients that disconnect leave nothing behind', async (t) => {
  const { app, proxy, upstream } = await startBehindProxy(t, { policy: UNLIMITED, env: { UPSTREAM_CONCURRENCY: '50' } })
  await proxy.inject({ slow: 20 })
  for (let round = 0; round < 8; round++) {
    const leaving = Array.from({ length: 50 }, async (_, i) => {
      const socket = await ask(t, app)
      if (i % 2 === 0) await once(socket, 'data').catch(() => {})
      socket.destroy()
    })
    await Promise.all(leaving)
  }
  await until('every connection to be gone', () =>
    new Promise((resolve) => app.server.getConnections((_error, count) => resolve(count === 0))))
  t.ok(proxy.open() <= 50, `${proxy.open()} connections to upstream`)
  t.equal((await app.mint('client_secrets')).status, 200)
  const lines = app.auditLines()
  const granted = lines.filter(({ event }) => event === 'mint.granted')
  t.equal(new Set(granted.map(({ request_id: id }) => id)).size, granted.length)
  t.equal(granted.length, upstream.secrets.length)
})

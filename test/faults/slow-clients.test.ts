// Attack B9, fault 32: clients that are slow on purpose are closed, and good ones are served meanwhile.

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { type App, startApp } from '../support/app.ts'
import { until } from '../support/until.ts'

t.jobs = 4

/** Timeouts shorter than the real ones, which one test reads. */
const SHORT = { headersTimeout: 400, requestTimeout: 900 }
/** Well below the real timeouts. */
const CLOSED_WITHIN_MS = 9000

async function startShort (t: Test): Promise<App> {
  const app = await startApp(t)
  Object.assign(app.server, SHORT)
  return app
}

async function open (t: Test, { port }: App): Promise<Socket & { received: () => string }> {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  let received = ''
  socket.on('data', (chunk) => { received += chunk })
  socket.on('error', () => {})
  await once(socket, 'connect')
  return Object.assign(socket, { received: () => received })
}

/** Writes byte by byte until the other side closes. */
function drip (t: Test, socket: Socket, text: string): void {
  let next = 0
  const timer = setInterval(() => {
    if (next < text.length && socket.writable) socket.write(text[next++] as string)
  }, 50)
  t.teardown(() => clearInterval(timer))
}

async function assertClosed (t: Test, socket: Socket & { received: () => string }, status = '408'): Promise<void> {
  await until(
    'the connection to be closed', () => socket.closed || socket.destroyed || socket.readableEnded, CLOSED_WITHIN_MS
  )
  t.match(socket.received(), new RegExp(`^HTTP/1.1 ${status} `))
  t.match(socket.received(), /connection: close/i)
  t.match(socket.received(), '"error":{')
}

const HEAD = 'POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: a\r\n'

t.test('B9: ten seconds for the headers, fifteen for the request', { buffered: true }, async (t) => {
  const { server } = await startApp(t)
  t.equal(server.headersTimeout, 10_000)
  t.equal(server.requestTimeout, 15_000)
})

t.test('B9: headers that drip in are closed, and a good client is served meanwhile', { buffered: true }, async (t) => {
  const app = await startShort(t)
  const slow = await Promise.all(Array.from({ length: 50 }, () => open(t, app)))
  for (const socket of slow) drip(t, socket, HEAD + 'X: '.padEnd(1000, 'x'))
  t.equal((await app.mint('client_secrets')).status, 200)
  for (const socket of slow) await assertClosed(t, socket)
  t.equal((await app.mint('client_secrets')).status, 200)
})

t.test('B9: a silent connection is closed', { buffered: true }, async (t) => {
  const app = await startShort(t)
  const silent = await open(t, app)
  await until('the connection to be closed', () => silent.readableEnded || silent.destroyed, CLOSED_WITHIN_MS)
  t.match(silent.received(), /^(HTTP\/1.1 408 [^]*)?$/)
})

t.test('B9: a body that drips in is closed, for any caller, and nothing is minted', { buffered: true }, async (t) => {
  const app = await startShort(t)
  const [caller, nobody] = await Promise.all([open(t, app), open(t, app)])
  for (const [slow, authorization] of [
    [caller, `Authorization: Bearer ${await app.token()}\r\n`], [nobody, '']
  ] as const) {
    slow.write(`${HEAD}${authorization}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n`)
    drip(t, slow, '{"session":{}'.padEnd(1000))
  }
  t.equal((await app.mint('client_secrets')).status, 200)
  await assertClosed(t, caller)
  await assertClosed(t, nobody, '401')
  t.equal(app.upstream.requests.length, 1)
})

t.test('B9: a client that stays after Connection: close is cut off', { buffered: true }, async (t) => {
  const app = await startShort(t)
  const stays = connect({ port: app.port, host: '127.0.0.1', allowHalfOpen: true })
  t.teardown(() => stays.destroy())
  stays.on('error', () => {}).resume()
  await once(stays, 'connect')
  stays.write('no HTTP\r\n\r\n')
  await once(stays, 'end')
  await until('the connection to be gone on our side', () => new Promise((resolve) => {
    app.server.getConnections((_error, count) => resolve(count === 0))
  }), CLOSED_WITHIN_MS)
})

t.test('fault 32: a client that closes its half of the connection has left and takes no place', {
  buffered: true
}, async (t) => {
  const app = await startApp(t)
  const half = await open(t, app)
  half.end(`${HEAD}Authorization: Bearer ${await app.token()}\r\nContent-Length: 0\r\n\r\n`)
  await until('the connection to be closed', () => half.closed, CLOSED_WITHIN_MS)
  const events = await until(
    'the decision', () => app.auditLines().length > 0 ? app.auditLines().map(({ event }) => event) : null
  )
  t.ok([['mint.refused'], ['mint.granted', 'mint.undelivered'], ['mint.granted']].some((expected) =>
    expected.join() === events.join()), events.join())
})

t.test('fault 32: a client that does not read its answers costs only its connection', {
  buffered: true
}, async (t) => {
  const app = await startApp(t)
  const deaf = await open(t, app)
  deaf.pause()
  deaf.write('GET /livez HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(20_000))
  t.equal((await app.mint('client_secrets')).status, 200)
  // Node.js reads no further request from a connection with unread answers.
  t.ok(process.memoryUsage().arrayBuffers < 64 * 1024 * 1024)
})

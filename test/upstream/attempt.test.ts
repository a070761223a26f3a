import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import t from 'tap'
import { Pool } from 'undici'
import { attempt } from '../../src/upstream/attempt.ts'
import { deadlineIn } from '../../src/upstream/deadline.ts'

const POST = { path: '/v1/realtime/client_secrets', headers: {}, body: '{}' }
const NEVER_SENT = { code: 'upstream_timeout', reason: 'deadline', mayHaveSucceeded: false }

t.test('fault 3: a request that waited for its connection until the deadline is never sent', async (t) => {
  const server = createServer().listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const asked = Promise.withResolvers<() => void>()
  const pool = new Pool(`http://127.0.0.1:${port}`, {
    connect: (_options, done) => asked.resolve(() => {
      const socket = connect(port, '127.0.0.1', () => done(null, socket))
    })
  })
  t.match(await attempt(pool, POST, deadlineIn(50)), NEVER_SENT)
  const connected = once(server, 'connection')
  const goOn = await asked.promise
  goOn()
  const [socket] = await connected as [Socket]
  socket.resume()
  await Promise.all([once(socket, 'close'), pool.close()])
  t.equal(socket.bytesRead, 0)
})

t.test('fault 5: once the deadline is over nothing is begun', async (t) => {
  const pool = new Pool('http://127.0.0.1:9', { connect: () => t.fail('connects') })
  const over = { atMs: 0, isOver: () => true, waiting: new Set<() => void>(), end: () => {}, cancel: () => {} }
  t.match(await attempt(pool, POST, over), NEVER_SENT)
  await pool.close()
})

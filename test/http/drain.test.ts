// The parts of a stop that a stopped process cannot show reliably; test/faults/stop.test.ts has the rest.

import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { fastify } from 'fastify'
import t from 'tap'
import { registerDrain } from '../../src/http/drain.ts'
import { until } from '../support/until.ts'

t.test('fault 33: a closing server waits for its answers, and at most a second for half a request', async (t) => {
  const app = fastify()
  let isDraining = false
  registerDrain(app, () => isDraining)
  const work = Promise.withResolvers<void>()
  const begun = Promise.withResolvers<void>()
  app.get('/at-once', async () => 'done')
  app.post('/', async () => 'done')
  app.get('/work', async () => {
    begun.resolve()
    await work.promise
    return 'done'
  })
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const open = async (text: string) => {
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    socket.on('error', () => {}).write(text)
    return socket
  }
  const asked = await open('GET /work HTTP/1.1\r\nHost: a\r\n\r\n')
  const half = await open(
    'GET /at-once HTTP/1.1\r\nHost: a\r\n\r\n' +
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{'
  )
  await once(half, 'data')
  const silent = await open('')
  await begun.promise
  isDraining = true
  const closed = app.close()
  await Promise.all([half, silent].map((socket) => new Promise((resolve) => { socket.once('close', resolve) })))
  work.resolve()
  t.match(String((await once(asked, 'data'))[0]), /^HTTP\/1.1 200 [^]*connection: close/i)
  await closed
})

t.test('an idle connection keeps nothing of its requests, which hold tokens', async (t) => {
  const app = fastify()
  registerDrain(app, () => false)
  t.teardown(() => app.close())
  app.get('/', async () => 'done')
  await app.listen({ port: 0, host: '127.0.0.1' })
  const asked: WeakRef<IncomingMessage>[] = []
  app.server.once('request', (request) => asked.push(new WeakRef(request)))
  const client = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
  t.teardown(() => client.destroy())
  client.write('GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer token\r\n\r\n')
  await once(client, 'data')
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  await until('the request to be forgotten', async () => {
    await turn()
    collect()
    return asked[0]?.deref() === undefined
  })
  t.equal(asked.length, 1)
  t.notOk(client.closed)
})

// Of a stop, what no process that is stopped can be relied on to count: test/faults/drain.test.ts has the rest.

import { fastify } from 'fastify'
import { once } from 'node:events'
import { connect, type AddressInfo } from 'node:net'
import t from 'tap'
import { registerDrain } from '../../src/http/drain.ts'

t.test('fault 33: a server that closes waits for what it answers, and for half of a request no longer than a second', async (t) => {
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
  const half = await open('GET /at-once HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{')
  await once(half, 'data')
  await begun.promise
  isDraining = true
  const closed = app.close()
  await new Promise((resolve) => { half.once('close', resolve) })
  work.resolve()
  t.match(String((await once(asked, 'data'))[0]), /^HTTP\/1.1 200 [^]*connection: close/i)
  await closed
})

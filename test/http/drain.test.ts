// The parts of a stop that a test with a real process cannot show reliably; test/faults/stop.test.ts has the rest.

import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { fastify } from 'fastify'
import t from 'tap'
import { registerDrain } from '../../src/http/drain.ts'
import { trackUnanswered } from '../../src/http/unanswered.ts'
import { until } from '../support/until.ts'

t.test('fault 33: a closing server waits for its answers, and at most a second for half a request', async (t) => {
  const app = fastify()
  let isDraining = false
  registerDrain(app, trackUnanswered(app.server), () => isDraining)
  const work = Promise.withResolvers<void>()
  let begun = 0
  app.get('/at-once', async () => 'done')
  app.post('/', async () => 'done')
  app.get('/work', async () => {
    begun++
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
  const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`
  const halfPost = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{'
  const asked = await open(get('/work'))
  const askedBefore = await open(get('/work') + halfPost)
  const half = await open(get('/at-once') + halfPost)
  await once(half, 'data')
  const silent = await open('')
  await until('both to be in work', () => begun === 2)
  isDraining = true
  const closed = app.close()
  await Promise.all([half, silent].map((socket) => new Promise((resolve) => { socket.once('close', resolve) })))
  work.resolve()
  for (const [answer] of await Promise.all([asked, askedBefore].map((socket) => once(socket, 'data')))) {
    t.match(String(answer), /^HTTP\/1.1 200 [^]*connection: close/i)
  }
  await closed
})

t.test('an idle connection keeps nothing of its requests, which hold tokens', async (t) => {
  const app = fastify()
  registerDrain(app, trackUnanswered(app.server), () => false)
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

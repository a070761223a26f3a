// Sockets that Node hands over with its own error listener taken off: a reset must not end the process.

import { once } from 'node:events'
import { type AddressInfo, connect, type Server, type Socket } from 'node:net'
import { fastify, type FastifyInstance } from 'fastify'
import t from 'tap'
import { registerFraming } from '../../src/http/framing.ts'
import { buildOps } from '../../src/ops.ts'
import { createLogger } from '../../src/records/log.ts'
import { createMetrics } from '../../src/records/metrics.ts'
import { startUpstream } from '../../src/sandbox/openai/upstream.ts'
import { startApp } from '../support/app.ts'
import { keepLines } from '../support/lines.ts'
import { until } from '../support/until.ts'

const RESETS = 50
const HANDED_OVER = {
  connect: 'CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n',
  upgrade: 'GET /v1/realtime HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
    'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n',
  clientError: 'no HTTP\r\n\r\n'
}

const app = await startApp(t)
const ops = await buildOps({ log: createLogger('silent', keepLines()), metrics: createMetrics(), waitingFor: () => [] })
await ops.listen({ host: '127.0.0.1', port: 0 })
t.teardown(() => ops.close())
const emulated = await startUpstream({ apiKey: 'sk-test' })
t.teardown(() => emulated.close())

const LISTENERS: Record<string, { port: number, server?: Server }> = {
  public: app,
  operations: { port: (ops.server.address() as AddressInfo).port, server: ops.server },
  'the sandbox': { port: Number(new URL(emulated.url).port) }
}

for (const [name, { port, server }] of Object.entries(LISTENERS)) {
  for (const [event, bytes] of Object.entries(HANDED_OVER)) {
    t.test(`edge C1: ${name}: a reset right behind a ${event} ends only its own connection`, async (t) => {
      const open = new Set<Socket>()
      server?.on('connection', (socket: Socket) => {
        open.add(socket)
        socket.once('close', () => open.delete(socket))
      })
      for (let i = 0; i < RESETS; i++) {
        const socket = connect(port, '127.0.0.1')
        socket.on('error', () => {})
        await once(socket, 'connect')
        await new Promise((resolve) => socket.write(bytes, resolve))
        // Half of the resets come before the server has read the request, half after its answer.
        if (i % 2 === 1) await Promise.race([once(socket, 'data'), once(socket, 'close')])
        socket.resetAndDestroy()
      }
      await until('the connections to be gone', () => open.size === 0)
      t.equal((await fetch(`http://127.0.0.1:${port}/livez`)).status, name === 'the sandbox' ? 404 : 200)
    })
  }
}

t.test('edge C1: every socket keeps an error listener, whichever of its own Node removes', async (t) => {
  const server = fastify({ forceCloseConnections: true }) as unknown as FastifyInstance
  registerFraming(server)
  await server.listen({ host: '127.0.0.1', port: 0 })
  t.teardown(() => server.close())
  for (const [event, bytes] of Object.entries(HANDED_OVER)) {
    const handed = new Promise<Socket>(
      (resolve) => server.server.once(event, (_first: unknown, socket: Socket) => resolve(socket))
    )
    const client = connect((server.server.address() as AddressInfo).port, '127.0.0.1')
    client.on('error', () => {}).write(bytes)
    const socket = await handed
    t.ok(socket.listenerCount('error') > 0, event)
    socket.emit('error', new Error('reset'))
    socket.destroy()
    client.destroy()
  }
})

// Pipelines: how much of one is begun, how it is cut, and what becomes of answers that are not read.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { surviveErrors } from '../../src/http/parse-errors.ts'
import { boundPipelines } from '../../src/http/pipeline.ts'
import { trackUnanswered } from '../../src/http/unanswered.ts'
import { times } from '../support/times.ts'
import { until } from '../support/until.ts'

const BIG = 'x'.repeat(100_000)
/** The most that the kernel buffers of answers that are not read. */
const KERNEL_BYTES = 16 * 1024 * 1024
/** A few reads of Node, which stops after the one that it has begun. */
const READS_BYTES = 3 * 64 * 1024
/** So many that the kernel cannot buffer all their answers. */
const REQUESTS = 1000

type Respond = (request: IncomingMessage, response: ServerResponse, body: string) => unknown

async function serve (t: Test, answer: Respond, lookMs?: number) {
  const pending = new Set<ServerResponse>()
  const seen = { begun: 0, mostAtOnce: 0, behindUnread: 0 }
  const server = createServer(async (request, response) => {
    seen.begun++
    if ([...pending].some(({ headersSent }) => headersSent)) seen.behindUnread++
    pending.add(response)
    seen.mostAtOnce = Math.max(seen.mostAtOnce, pending.size)
    response.once('close', () => pending.delete(response))
    answer(request, response, String(Buffer.concat(await request.toArray().catch(() => []))))
  })
  server.on('connection', surviveErrors)
  let looked = 0
  boundPipelines(server, trackUnanswered(server), () => { looked++ }, lookMs)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const open = async (options = {}): Promise<Socket> => {
    const socket = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', ...options })
    t.teardown(() => socket.destroy())
    socket.on('error', () => {})
    await once(socket, 'connect')
    return socket
  }
  return { open, seen, server, looked: () => looked }
}

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`
const post = (path: string, body: string) =>
  `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`

async function receive (socket: Socket, isWhole: (text: string) => boolean): Promise<string> {
  let text = ''
  socket.on('data', (bytes) => { text += bytes })
  await until('the answers', () => isWhole(text))
  return text
}

const countOf = (text: string, part: string) => text.split(part).length - 1

t.test('edge H1b: of 1,000 pipelined requests at most 8 are in work, and each is answered in its turn', async (t) => {
  const { open, seen } = await serve(t, async ({ url }, response) => {
    if (Number(url?.slice(1)) % 3 > 0) await turn()
    response.end(url)
  })
  const socket = await open()
  const paths = Array.from({ length: 1000 }, (_, i) => `/${i}`)
  socket.write(paths.map(get).join(''))
  const text = await receive(socket, (text) => text.endsWith('/999'))
  t.same([...text.matchAll(/\r\n\r\n(\/\d+)/g)].map(([, path]) => path), paths)
  t.match(seen, { begun: 1000, behindUnread: 0 })
  t.ok(seen.mostAtOnce <= 8, `${seen.mostAtOnce} at once`)
})

t.test('edge H1b: however requests and packets are cut, each is answered, with its own body', async (t) => {
  const { open } = await serve(t, ({ url }, response, body) => response.end(`${url} ${body.length}\n`))
  const body = fc.array(fc.constantFrom('\r\n\r\n', '\r', '\n', '{}', get('/hidden'), 'x'.repeat(50)), { maxLength: 5 })
    .map((parts) => parts.join(''))
  const requests = fc.array(fc.option(body, { nil: null }), { minLength: 1, maxLength: 20 })
  await fc.assert(fc.asyncProperty(requests, fc.array(fc.nat(400), { maxLength: 8 }), async (bodies, lengths) => {
    const socket = await open()
    socket.setNoDelay(true)
    const bytes = bodies.map((body, i) => body === null ? get(`/${i}`) : post(`/${i}`, body)).join('')
    let at = 0
    for (const length of [...lengths, bytes.length]) {
      socket.write(bytes.slice(at, at += length))
      await turn()
    }
    const text = await receive(socket, (text) => text.includes(`/${bodies.length - 1} `) && text.endsWith('\n'))
    assert.deepEqual(text.match(/^\/\d+ \d+$/gm), bodies.map((body, i) => `/${i} ${body?.length ?? 0}`))
    socket.destroy()
  }), { numRuns: 60 })
})

t.test('edge H1b: a client that stops reading is served no further until it reads again', async (t) => {
  const { open, seen } = await serve(t, (_request, response) => response.end(BIG))
  const socket = await open()
  const ended = once(socket, 'end')
  socket.pause().write(`${get('/').repeat(REQUESTS - 1)}GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`)
  let before = -1
  await until('no more to be begun', async () => {
    const isStill = seen.begun > 0 && seen.begun === before
    before = seen.begun
    return isStill
  })
  t.ok(seen.begun < KERNEL_BYTES / BIG.length, `${seen.begun} begun`)
  let received = 0
  socket.on('data', (bytes) => { received += bytes.length })
  socket.resume()
  await ended
  t.ok(received > REQUESTS * BIG.length)
  t.equal(seen.begun, REQUESTS)
  t.equal(seen.behindUnread, 0)
})

t.test('edge H1b: of connections with 14,000 requests each, eight are begun and little more is read', async (t) => {
  const { open, server, seen } = await serve(t, () => {})
  const connections = times(50)
  const served: Socket[] = []
  server.on('connection', (socket) => served.push(socket))
  const requests = Buffer.from(get('/').repeat(14_000))
  for (let i = 0; i < connections; i++) (await open()).pause().write(requests)
  await until('eight of each', () => seen.begun === connections * 8)
  let before = -1
  await until('no more to be read', () => {
    const read = served.reduce((sum, { bytesRead }) => sum + bytesRead, 0)
    const isStill = read === before
    before = read
    return isStill
  })
  t.equal(seen.begun, connections * 8)
  const most = Math.max(...served.map(({ bytesRead }) => bytesRead))
  t.ok(most <= READS_BYTES, `${most} bytes of ${requests.length}`)
})

t.test('edge H1c: a connection whose answer is not read is closed, ended by a whole request or not', async (t) => {
  for (const end of ['', 'GET / HT']) {
    const { open, server } = await serve(t, (_request, response) => response.end(BIG), 10)
    const deaf = await open()
    deaf.pause().write(get('/').repeat(1000) + end)
    await until('the connection to be closed', () =>
      new Promise((resolve) => server.getConnections((_error, count) => resolve(count === 0))))
  }
  t.pass()
})

t.test('edge H1c: what is in work is waited for, and so is a client that reads', async (t) => {
  const held: ServerResponse[] = []
  const { open } = await serve(
    t, ({ url }, response) => url === '/held' ? held.push(response) : response.end('done'), 2
  )
  const socket = await open()
  // The second answer waits for the first.
  socket.write(get('/held') + get('/'))
  const other = await open()
  for (let i = 0; i < 30; i++) {
    other.write(get('/'))
    await once(other, 'data')
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  held[0]?.end('held')
  t.match(await receive(socket, (text) => text.endsWith('done')), /held[^]*done$/)
})

t.test('edge H1b: all pipelines begin four requests in a turn, and a lone one waits for none of them', async (t) => {
  let [ofTurn, most, alone] = [0, 0, 0]
  const { open, seen, server } = await serve(t, (_request, response) => response.end())
  const firsts = new Set<Socket>()
  server.prependListener('request', ({ url, socket }: IncomingMessage) => {
    if (url === '/alone') alone = seen.begun
    // A request with none before it begins at once.
    if (url === '/alone' || !firsts.has(socket)) return firsts.add(socket)
    if (++ofTurn === 1) setImmediate(() => setImmediate(() => { ofTurn = 0 }))
    most = Math.max(most, ofTurn)
  })
  const sockets = await Promise.all(Array.from({ length: 50 }, () => open()))
  const other = await open()
  for (const socket of sockets) socket.resume().write(get('/').repeat(100))
  await until('some to be begun', () => seen.begun > 50)
  other.write(get('/alone'))
  await once(other, 'data')
  t.ok(alone < 50 * 100, `behind ${alone}`)
  await until('all', () => seen.begun === 50 * 100 + 1, 30_000)
  t.ok(most <= 8, `${most} in two turns`)
})

t.test('edge H1b: bytes that arrive while others are held come behind them, also if Node reads on', async (t) => {
  const held: ServerResponse[] = []
  const { open, seen, looked } = await serve(t, ({ url }, response) => {
    if (url === '/held') held.push(response)
    else response.end(url)
  })
  const socket = await open()
  socket.write(get('/held').repeat(8) + get('/first'))
  await until('eight', () => held.length === 8)
  socket.write(get('/second'))
  held[0]?.req.socket.resume()
  await until('Node to have read on and been stopped again', () => held[0]?.req.socket.isPaused())
  t.same([seen.begun, looked()], [8, 1])
  for (const response of held) response.end('held')
  t.match(await receive(socket, (text) => text.endsWith('/second')), /(held[^]*){8}\/first[^]*\/second$/)
})

t.test('edge H1b: what follows a last answer is dropped unseen', async (t) => {
  const { open, server, seen, looked } = await serve(t, (_request, response) => response.end())
  server.on('clientError', (_error, socket) => socket.end('last'))
  const arrived = once(server, 'connection')
  const socket = await open({ allowHalfOpen: true })
  const [served] = await arrived as [Socket]
  socket.write('no HTTP\r\n\r\n')
  await receive(socket, (text) => text === 'last')
  const before = served.bytesRead
  socket.write(get('/'))
  await until('it to be read', () => served.bytesRead > before)
  t.same([looked(), seen.begun], [1, 0])
})

t.test('edge H1b: nothing is begun behind an answer that ends its connection', async (t) => {
  const { open, seen } = await serve(t, (_request, response) => response.setHeader('connection', 'close').end('last'))
  const socket = await open()
  const closed = once(socket, 'close')
  socket.write(get('/').repeat(50))
  const text = await receive(socket, (text) => text.endsWith('last'))
  await closed
  t.equal(countOf(text, 'HTTP/1.1 200'), 1)
  t.ok(seen.begun <= 8, `${seen.begun}`)
})

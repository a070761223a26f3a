// What no honest client sends. Nothing of it mints, every answer is our envelope, and nothing is smuggled.

import t from 'tap'
import { startApp, type App } from '../fakes/app.ts'
import { assertNoCanary } from '../fakes/invariants.ts'
import { exchange, open, type RawAnswer } from '../fakes/raw-http.ts'
import type { Test } from 'tap'

const POST = 'POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: mint.test\r\n'

async function head (app: App): Promise<string> {
  return `${POST}Authorization: Bearer ${await app.token()}\r\nContent-Type: application/json\r\n`
}

function holdEnvelope (t: Test, app: App, answer: RawAnswer, name: string): void {
  const { headers, text } = answer
  t.match(headers.get('content-type'), /^application\/json/, name)
  t.equal(headers.get('cache-control'), 'no-store')
  t.equal(headers.get('x-content-type-options'), 'nosniff')
  t.match(headers.get('vary'), /Origin/)
  t.equal(headers.get('server'), null)
  const { error } = JSON.parse(text)
  t.same(Object.keys(error), ['message', 'type', 'code', 'param'])
  t.notMatch(text, /FST_|HPE_|node:|stack/)
  assertNoCanary(app, { ...answer, body: { error } })
}

t.test('a request that could be read in two ways is refused, and the connection ends', async (t) => {
  const app = await startApp(t)
  const good = await head(app)
  const smuggled = `${good}Content-Length: 2\r\n\r\n{}`
  const rows: [name: string, bytes: string, status: number][] = [
    ['a length and chunks', `${good}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    ['two lengths', `${good}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}`, 400],
    ['two lengths that differ', `${good}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`, 400],
    ['a list of lengths', `${good}Content-Length: 2, 2\r\n\r\n{}`, 400],
    ['a signed length', `${good}Content-Length: +2\r\n\r\n{}`, 400],
    ['a negative length', `${good}Content-Length: -2\r\n\r\n{}`, 400],
    ['a hexadecimal length', `${good}Content-Length: 0x2\r\n\r\n{}`, 400],
    ['chunked, identity', `${good}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`, 400],
    ['xchunked', `${good}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`, 400],
    ['a space before the colon', `${good}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`, 400],
    ['a vertical tab before chunked', `${good}Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n`, 400],
    ['identity', `${good}Transfer-Encoding: identity\r\n\r\n{}`, 400],
    ['a folded header', `${good}X-Folded: a\r\n b\r\nContent-Length: 2\r\n\r\n{}`, 400],
    ['a header ended by a line feed', `${good}X-Bare: a\nContent-Length: 2\r\n\r\n{}`, 400],
    ['a carriage return in a header', `${good}X-Bare: a\rb\r\nContent-Length: 2\r\n\r\n{}`, 400],
    ['a NUL in a header', `${good}X-Null: a\0b\r\nContent-Length: 2\r\n\r\n{}`, 400],
    ['a chunk extension of 20 KB', `${good}Transfer-Encoding: chunked\r\n\r\n2;${'x'.repeat(20_000)}\r\n{}\r\n0\r\n\r\n`, 413],
    ['a chunk size that overflows', `${good}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}\r\n0\r\n\r\n`, 400],
    ['a chunk ended by a line feed', `${good}Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n`, 400],
    ['a chunk that is no number', `${good}Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n`, 400],
    ['two Host headers', `${good}Host: other.test\r\nContent-Length: 2\r\n\r\n{}`, 400],
    ['no Host header', `${good.replace('Host: mint.test\r\n', '')}Content-Length: 2\r\n\r\n{}`, 400],
    ['HTTP/1.0 without a Host header', `${good.replace('Host: mint.test\r\n', '').replace('1.1', '1.0')}Content-Length: 2\r\n\r\n{}`, 400],
    ['a URL with another host', `${good.replace('/v1', 'http://other.test/v1')}Content-Length: 2\r\n\r\n{}`, 400],
    ['OPTIONS *', 'OPTIONS * HTTP/1.1\r\nHost: mint.test\r\n\r\n', 400],
    ['CONNECT', 'CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n', 400],
    ['HTTP/0.9', 'GET /livez\r\n\r\n', 400],
    ['HTTP/2 by prior knowledge', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400],
    ['HTTP/9.9', `${good.replace('1.1', '9.9')}Content-Length: 2\r\n\r\n{}`, 400],
    ['an unknown method', `BREW${good.slice(4)}Content-Length: 2\r\n\r\n{}`, 400],
    ['TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', 400],
    ['20 KB of headers', `${good}X-Big: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
    ['3000 headers', `${good}${'a:\r\n'.repeat(3000)}\r\n`, 431],
    ['201 headers', `${good}${'a:\r\n'.repeat(198)}\r\n`, 431],
    ['an unknown expectation', `${good}Expect: coffee\r\nContent-Length: 2\r\n\r\n{}`, 417]
  ]
  for (const [name, bytes, status] of rows) {
    const answers = await exchange(app, [bytes, name === 'identity' ? '' : smuggled])
    t.equal(answers[0]?.status, status, name)
    t.ok(answers.every((answer) => answer.status >= 400), `${name}: what follows is not served`)
    t.equal(answers[0]?.headers.get('connection'), 'close', name)
    if (answers[0] !== undefined) holdEnvelope(t, app, answers[0], name)
  }
  t.equal(app.upstream.requests.length, 0)
})

t.test('what is strange but clear is answered like anything else', async (t) => {
  const app = await startApp(t)
  const good = await head(app)
  const end = 'Content-Length: 2\r\n\r\n{}'
  const rows: [name: string, bytes: string, status: number][] = [
    ['HTTP/1.0 with a Host header, as older gateways send', `${good.replace('1.1', '1.0')}${end}`, 200],
    ['Host with a name that is not ours', `${good.replace('mint.test', 'evil.test')}${end}`, 200],
    ['Host with a user, a fragment and spaces', `${good.replace('mint.test', 'a@b #c')}${end}`, 200],
    ['Host of 300 characters', `${good.replace('mint.test', 'x'.repeat(300))}${end}`, 200],
    ['Upgrade to WebSocket', `${good}Connection: Upgrade\r\nUpgrade: websocket\r\n${end}`, 200],
    ['Upgrade to h2c', `${good}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n${end}`, 200],
    ['X-HTTP-Method-Override', `${good}X-HTTP-Method-Override: GET\r\nX-Method-Override: DELETE\r\n${end}`, 200],
    ['conditional headers', `${good}Range: bytes=0-1\r\nIf-None-Match: *\r\nIf-Match: "x"\r\nIf-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT\r\n${end}`, 200],
    ['a query that repeats the body', `${good.replace('client_secrets ', 'client_secrets?session[model]=x&__proto__[x]=1&_method=GET ')}${end}`, 200],
    ['a chunked body', `${good}Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n`, 200],
    ['TRACE', 'TRACE /v1/realtime/client_secrets HTTP/1.1\r\nHost: mint.test\r\n\r\n', 405],
    ['a URL that cannot be decoded', 'GET /v1/%zz HTTP/1.1\r\nHost: mint.test\r\n\r\n', 400],
    ['a URL with a pattern in it', 'GET /v1/:a(( HTTP/1.1\r\nHost: mint.test\r\n\r\n', 404],
    ['a URL with another path encoded in it', 'GET /livez%2f..%2freadyz HTTP/1.1\r\nHost: mint.test\r\n\r\n', 404]
  ]
  for (const [name, bytes, status] of rows) {
    const [answer] = await exchange(app, bytes, 1)
    t.equal(answer?.status, status, name)
    t.equal(answer?.headers.get('cache-control'), 'no-store')
    t.equal(answer?.headers.get('upgrade'), null)
    if (answer !== undefined && status !== 200) holdEnvelope(t, app, answer, name)
  }
  t.ok(app.upstream.requests.every(({ body }) => JSON.stringify(body) === JSON.stringify(app.upstream.requests[0]?.body)), 'nothing of it counts')
})

t.test('each of 100 pipelined requests is authenticated for itself', async (t) => {
  const app = await startApp(t)
  const good = `${await head(app)}Content-Length: 2\r\n\r\n{}`
  const bad = `${POST}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`
  const answers = await exchange(app, Array.from({ length: 100 }, (_, i) => i % 4 === 0 ? good : bad).join(''), 100)
  t.same(answers.map(({ status }) => status), Array.from({ length: 100 }, (_, i) => i % 4 === 0 ? 200 : 401))
  t.equal(app.upstream.requests.length, 25)
})

t.test('a request that hides behind a refused one is not served', async (t) => {
  const app = await startApp(t)
  const good = await head(app)
  const [first, ...others] = await exchange(app, `${POST}Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{}${good}Content-Length: 2\r\n\r\n{}`)
  t.equal(first?.status, 401)
  t.same(others.filter(({ status }) => status < 400), [])
  t.equal(app.upstream.requests.length, 0)
})

t.test('a body that ends early or late mints nothing', async (t) => {
  const app = await startApp(t)
  const good = await head(app)
  const late = await exchange(app, `${good}Content-Length: 2\r\n\r\n{}}`)
  t.same(late.map(({ status }) => status), [400])

  const socket = await open(app)
  socket.write(`${good}Content-Length: 9\r\n\r\n{}`)
  socket.end()
  await app.audit.wrote(2)
  t.match(app.auditLines().at(-1), { event: 'mint.refused', code: 'invalid_request' })
  t.equal(app.upstream.requests.length, 0)
})

t.test('100 Continue is said once it is known whose body it is', async (t) => {
  const app = await startApp(t)
  const refused = await exchange(app, `${POST}Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n`)
  t.same(refused.map(({ status }) => status), [401])
  const socket = await open(app)
  socket.write(`${await head(app)}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n`)
  let text = ''
  for await (const chunk of socket) {
    text += chunk
    if (text === 'HTTP/1.1 100 Continue\r\n\r\n') socket.write('{}')
    if (text.includes('ek_canary')) break
  }
  t.match(text, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/)
})

t.test('what is never finished is given up after 10 and 15 seconds', async (t) => {
  const { server } = await startApp(t)
  t.equal(server.headersTimeout, 10_000)
  t.equal(server.requestTimeout, 15_000)
})

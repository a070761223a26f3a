// Requests that no honest client sends: none of them mints or smuggles another, and every answer is in our envelope.

import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { POLICY, startApp } from '../support/app.ts'
import { assertNoCanary } from '../support/invariants.ts'
import { exchange, exchangeAndLeave, openSocket, type RawAnswer } from '../support/raw-http.ts'
import { until } from '../support/until.ts'

type Rows = readonly (readonly [name: string, bytes: string, status?: number])[]

const app = await startApp(t, { policy: POLICY.replace('{ minute: 50, day: 500 }', 'none') })
const PATH = '/v1/realtime/client_secrets'
const POST = `POST ${PATH} HTTP/1.1\r\nHost: mint.test\r\n`
const TYPE = 'Content-Type: application/json\r\n'
const AUTHORIZATION = `Authorization: Bearer ${await app.token()}\r\n`
const good = `${POST}${AUTHORIZATION}${TYPE}`
const end = 'Content-Length: 2\r\n\r\n{}'
const chunks = '2\r\n{}\r\n0\r\n\r\n'
const chunked = `${good}Transfer-Encoding: chunked\r\n\r\n`
const WEBSOCKET = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
const DATES = 'If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT\r\n' +
  'If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\n'
const old = good.replace('HTTP/1.1', 'HTTP/1.0')

/** Requests that are refused, with 400 unless a status is given. */
const REFUSED: Record<string, Rows> = {
  'B1: a length that could be read in two ways is 400, and the connection ends': [
    ['a length and chunks', `${good}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`],
    ['chunks and a length', `${good}Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n${chunks}`],
    ['two lengths', `${good}Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}`],
    ['two lengths that differ', `${good}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}`],
    ...[
      '1, 1', '2, 2', '+2', '-2', '0x2', '2 2', '2;', '2.0', '1e1', '2_0', '"2"', '\v2', '9'.repeat(30), 'two', ''
    ].map((length) => [`Content-Length: ${length}`, `${good}Content-Length: ${length}\r\n\r\n{}`] as const),
    ['a space before the colon', `${good}Content-Length : 2\r\n\r\n{}`]
  ],
  'B2: a transfer coding that is not chunked to the letter is 400, and the connection ends': [
    ...[
      'chunked, identity', 'identity, chunked', 'chunked, chunked', 'gzip, chunked', ', chunked', 'chunked,',
      'identity', 'xchunked', 'chunkedx', 'chunked;q=1', '"chunked"', 'chunked\r\n ', '\vchunked', '\fchunked',
      '\0chunked', 'chun\tked', 'gzip', ''
    ]
      .map(
        (coding) => [`Transfer-Encoding: ${coding}`, `${good}Transfer-Encoding: ${coding}\r\n\r\n${chunks}`] as const
      ),
    ['a space before the colon', `${good}Transfer-Encoding : chunked\r\n\r\n${chunks}`],
    ['a tab before the colon', `${good}Transfer-Encoding\t: chunked\r\n\r\n${chunks}`],
    ['two codings', `${good}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n${chunks}`],
    [
      'two codings, the other way round',
      `${good}Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`
    ],
    ['behind a line feed', `${good}X: y\nTransfer-Encoding: chunked\r\n\r\n${chunks}`],
    ['on a folded line', `${good}Transfer-Encoding:\r\n chunked\r\n\r\n${chunks}`],
    ['in HTTP/1.0', `${old}Transfer-Encoding: chunked\r\n\r\n${chunks}`]
  ],
  'B3: a line or a chunk that ends or begins otherwise than it must is 400, and the connection ends': [
    ['line feeds alone', `${good}${end}`.replaceAll('\r\n', '\n')],
    ['a header ended by a line feed', `${good}X: a\n${end}`],
    ['a head ended by line feeds', `${good}Content-Length: 2\n\n{}`],
    ['a carriage return in a header', `${good}X: a\rb\r\n${end}`],
    ['a NUL in a header', `${good}X: a\0b\r\n${end}`],
    ['a control character in a header', `${good}X: a\x01b\r\n${end}`],
    ['a folded header', `${good}X: a\r\n b\r\n${end}`],
    ['a folded header, by a tab', `${good}X: a\r\n\tb\r\n${end}`],
    ['a first line that is folded', `${POST.replace('Host', ' Host')}${end}`],
    ['a header without a name', `${good}: a\r\n${end}`],
    ['a header with a space in its name', `${good}X Y: a\r\n${end}`],
    ['a header without a colon', `${good}canary\r\n${end}`],
    ...[
      '2\n', '2\r', '2 \r\n', ' 2\r\n', '0x2\r\n', '+2\r\n', '-2\r\n', 'zz\r\n', '\r\n', '2;\r\n', '2;a\nb\r\n',
      '2;a\rb\r\n', 'fffffffffffffffff\r\n', '10000000000000002\r\n'
    ].map((line) => [`a chunk that begins with ${JSON.stringify(line)}`, `${chunked}${line}{}\r\n0\r\n\r\n`] as const),
    ['a chunk ended by a line feed', `${chunked}2\r\n{}\n0\r\n\r\n`],
    ['a chunk that is not ended', `${chunked}2\r\n{}0\r\n\r\n`],
    ['a chunk that is longer than it says', `${chunked}2\r\n{}{}\r\n0\r\n\r\n`],
    ['a last chunk ended by line feeds', `${chunked}2\r\n{}\r\n0\n\n`],
    ['a chunk extension of 20 KB', `${chunked}2;${'x'.repeat(20_000)}\r\n{}\r\n0\r\n\r\n`],
    ['a length behind the chunks', `${chunked}2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n`]
  ],
  'B5: a second Host is 400, whatever it says, and so is a second Content-Type': [
    ['another one', `${good}Host: other.test\r\n${end}`],
    ['the same', `${good}Host: mint.test\r\n${end}`],
    ['in HTTP/1.0', `${old}host: other.test\r\n${end}`],
    ['another type', `${good}Content-Type: text/plain\r\n${end}`],
    ['the same type', `${good}${TYPE}${end}`]
  ],
  'B6: a missing Host is 400': [
    ['in HTTP/1.1', `${good.replace('Host: mint.test\r\n', '')}${end}`],
    ['in HTTP/1.0', `${old.replace('Host: mint.test\r\n', '')}${end}`]
  ],
  'B7: a URL of another host, CONNECT, and what is neither HTTP/1.0 nor HTTP/1.1 is 400, and the connection ends': [
    ...[
      'http://other.test', 'https://other.test', 'http://mint.test', 'ftp://other.test', 'http://user@mint.test:9090',
      'file://'
    ].map((origin) => [`a URL at ${origin}`, `${good.replace(PATH, origin + PATH)}${end}`] as const),
    ['a path without a slash', `${good.replace(PATH, PATH.slice(1))}${end}`],
    ['OPTIONS *', `${good.replace(`POST ${PATH}`, 'OPTIONS *')}${end}`],
    ['CONNECT', `${good.replace(`POST ${PATH}`, 'CONNECT other.test:443')}\r\n`],
    ['CONNECT with our path', `${good.replace('POST', 'CONNECT')}${end}`],
    ['a line of HTTP/0.9', 'GET /livez\r\n\r\n'],
    ...[
      'HTTP/0.9', 'HTTP/1.2', 'HTTP/1.10', 'HTTP/2.0', 'HTTP/3.0', 'HTTP/9.9', 'http/1.1', 'HTTP/1.1 x', 'HTTPS/1.1',
      'ICE/1.0', ''
    ].map((version) => [version, `${good.replace('HTTP/1.1', version)}${end}`] as const),
    ['HTTP/2 by prior knowledge', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['HTTP/2 by prior knowledge, with a host', 'PRI * HTTP/2.0\r\nHost: mint.test\r\n\r\nSM\r\n\r\n'],
    ['an unknown method', `BREW${good.slice(4)}${end}`],
    ['a method in small letters', `post${good.slice(4)}${end}`],
    ['a tab for a space', `${good.replace(' ', '\t')}${end}`],
    ['TLS', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03']
  ],
  'edge L10: RTSP is 400, and the connection ends': [
    ...['RTSP/1.0', 'RTSP/1.1'].flatMap((version) => [
      [`POST of ${version}`, `${good.replace('HTTP/1.1', version)}${end}`],
      [`GET of ${version}`, `GET /livez ${version}\r\nHost: a\r\n\r\n`]
    ] as const)
  ],
  'B10: headers of 20 KB, and more of them than anyone sends, are 431': [
    ['one of 20 KB', `${good}X: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
    ['20 KB of them', `${good}${`X: ${'x'.repeat(1000)}\r\n`.repeat(20)}\r\n`, 431],
    ['a name of 20 KB', `${good}${'x'.repeat(20_000)}: y\r\n\r\n`, 431],
    ['a URL of 20 KB', `${good.replace(PATH, `${PATH}?${'x'.repeat(20_000)}`)}\r\n`, 431],
    ['3000', `${good}${'a:\r\n'.repeat(3000)}\r\n`, 431],
    ['201', `${good}${'a:\r\n'.repeat(198)}\r\n`, 431],
    ['behind the chunks', `${chunked}2\r\n{}\r\n0\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`, 431]
  ],
  'B25: an expectation that is not 100-continue is 417': [
    'coffee', '100-continue, coffee', '100-continue\r\nExpect: 100-continue', '200-ok', ''
  ]
    .map((expectation) => [expectation, `${good}Expect: ${expectation}\r\n${end}`, 417] as const)
}

for (const [law, rows] of Object.entries(REFUSED)) {
  t.test(law, async (t) => {
    const minted = app.upstream.requests.length
    for (const [name, bytes, status = 400] of rows) {
      const answers = await exchangeInTime([bytes, `${good}${end}`])
      t.same(answers.map((answer) => answer.status), [status], `${name}: one answer, and what follows is not served`)
      t.equal(answers[0]?.headers.get('connection'), 'close', name)
      for (const answer of answers) assertEnvelope(answer, name)
    }
    t.equal(app.upstream.requests.length, minted)
  })
}

/** Tries again after a 503: on a late machine the service sheds load before it has seen the body. */
function exchangeInTime (bytes: readonly string[]): Promise<RawAnswer[]> {
  return until('an answer in time', async () => {
    const answers = await exchange(app, bytes)
    return answers[0]?.status === 503 ? null : answers
  })
}

/** Requests with their expected status; `canary` must appear nowhere. */
const UNMOVED: Record<string, Rows> = {
  'B6: whatever Host says, it names no route, no user and no URL': [
    'canary.test', 'user:canary@mint.test', 'a@canary #x y', '#@', 'canary'.repeat(50), '127.0.0.1', '[::1]:9090',
    '169.254.169.254', 'a, canary', 'mint.test/canary/../..', ''
  ]
    .flatMap((host) => [
      [`POST to ${host}`, `${good.replace('mint.test', host)}${end}`, 200],
      [`POST to ${host} without a credential`, `${POST.replace('mint.test', host)}${end}`, 401],
      [`GET / of ${host}`, `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`, 404]
    ] as const),
  'B7: TRACE and WebSocket are answered as what they are asked of, HTTP/1.0 as HTTP, and nothing is upgraded': [
    ['HTTP/1.0 with a Host header, as older gateways send', `${old}${end}`, 200],
    ['TRACE', `${good.replace('POST', 'TRACE')}\r\n`, 405],
    ...([[PATH, 405], ['/v1/realtime', 404], ['/v1/realtime?model=canary', 404]] as const).map(([path, status]) =>
      [`WebSocket at ${path}`, `GET ${path} HTTP/1.1\r\nHost: a\r\n${AUTHORIZATION}${WEBSOCKET}\r\n`, status] as const),
    ['WebSocket by POST', `${good}Connection: Upgrade\r\nUpgrade: websocket\r\n${end}`, 200],
    [
      'HTTP/2, as curl and Java offer it',
      `${good}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n${end}`,
      200
    ],
    ['TLS', `${good}Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n${end}`, 200]
  ],
  'B21: no header, query or field makes another method of it': [
    [
      'headers', `${good}X-HTTP-Method-Override: GET\r\nX-HTTP-Method: DELETE\r\nX-Method-Override: DELETE\r\n${end}`,
      200
    ],
    ['a query', `${good.replace(PATH, `${PATH}?_method=DELETE`)}${end}`, 200],
    ['a field', `${good}Content-Length: 20\r\n\r\n{"_method":"DELETE"}`, 403],
    [
      'GET that says it is POST',
      `GET ${PATH}?_method=POST HTTP/1.1\r\nHost: a\r\n${AUTHORIZATION}X-HTTP-Method-Override: POST\r\n\r\n`, 405
    ]
  ],
  'B27: conditions and ranges are for other resources': [
    [
      'all of them',
      `${good}Range: bytes=0-1\r\nIf-Range: "x"\r\nIf-None-Match: *\r\nIf-Match: "x"\r\n${DATES}${end}`,
      200
    ]
  ],
  'B28: a query is not read': [
    'session[model]=canary', 'session=%7B%22model%22%3A%22canary%22%7D', '__proto__[x]=canary',
    'constructor[prototype][x]=canary', 'model=canary&model=canary', 'expires_after[seconds]=7200',
    'access_token=canary', '%zz', '?', '&&=='
  ]
    .map((query) => [query, `${good.replace(PATH, `${PATH}?${query}`)}${end}`, 200] as const),
  'B30: what is strange but clear is answered like anything else': [
    ['a chunked body', `${good}Transfer-Encoding: Chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nX: canary\r\n\r\n`, 200],
    ['a URL that cannot be decoded', 'GET /v1/%zz HTTP/1.1\r\nHost: mint.test\r\n\r\n', 400],
    ['a URL that is not UTF-8', 'GET /v1/%c0%ae HTTP/1.1\r\nHost: mint.test\r\n\r\n', 400],
    ['a URL with a pattern in it', 'GET /v1/:a(( HTTP/1.1\r\nHost: mint.test\r\n\r\n', 404],
    ['a URL that seems to name a host', 'GET //mint.test/livez HTTP/1.1\r\nHost: mint.test\r\n\r\n', 404],
    [
      'a credential behind the chunks',
      `${POST}${TYPE}Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n${AUTHORIZATION}\r\n`, 401
    ]
  ]
}

for (const [law, rows] of Object.entries(UNMOVED)) {
  t.test(law, async (t) => {
    const plain = await app.mint('client_secrets', {})
    const before = app.upstream.requests.length
    for (const [name, bytes, status] of rows) {
      const [answer] = await exchange(app, bytes, 1) as [RawAnswer]
      t.equal(answer.status, status, name)
      t.equal(answer.headers.get('upgrade'), null)
      if (status === 200) {
        t.equal(answer.headers.get('cache-control'), 'no-store')
        t.equal(answer.headers.get('x-realtime-url'), plain.headers.get('x-realtime-url'))
        assertNoCanary(app, { ...answer, body: {} })
      } else assertEnvelope(answer, name)
    }
    const { headers: { host }, body } = app.upstream.requests[before - 1] as typeof app.upstream.requests[number]
    const minted = app.upstream.requests.slice(before)
    t.equal(minted.length, rows.filter(([, , status]) => status === 200).length)
    for (const { headers, body: sent } of minted) t.same([headers.host, sent], [host, body])
  })
}

t.test('B8: each of 100 pipelined requests is authenticated by itself', async (t) => {
  const minted = app.upstream.requests.length
  const answers = await exchange(
    app, Array.from({ length: 100 }, (_, i) => i % 4 === 0 ? `${good}${end}` : `${POST}${TYPE}${end}`).join(''), 100
  )
  t.same(answers.map(({ status }) => status), Array.from({ length: 100 }, (_, i) => i % 4 === 0 ? 200 : 401))
  t.equal(app.upstream.requests.length, minted + 25)
})

t.test('B8: a request that hides in or behind a refused one is not served', async (t) => {
  const minted = app.upstream.requests.length
  const hidden = `${good}${end}`
  const chunk = `${hidden.length.toString(16)}\r\n${hidden}`
  for (const [name, bytes, statuses] of [
    ['a length that is too small for it', `${POST}${TYPE}Content-Length: 9\r\n\r\n{}${hidden}`, [401, 400]],
    ['a body that it is', `${POST}${TYPE}Content-Length: ${hidden.length}\r\n\r\n${hidden}X\r\n\r\n`, [401, 400]],
    [
      'a body of a GET', `GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: ${hidden.length}\r\n\r\n${hidden}X\r\n\r\n`,
      [200, 400]
    ],
    ['a body that is too large', `${good}Content-Length: 40000\r\n\r\n${hidden}`, [413]],
    [
      'a chunk',
      `${POST}${TYPE}Transfer-Encoding: chunked\r\n\r\n${chunk}\r\n0\r\n\r\nX\r\n\r\n`,
      [401, 400]
    ]
  ] as const) {
    const answers = await exchange(app, bytes)
    const found = answers.map(({ status }) => status)
    // If all bytes arrive at once, the parser may end before the first answer does: then only the last answer is sent.
    t.ok([statuses, statuses.slice(-1)].some((expected) => expected.join() === found.join()), `${name}: ${found}`)
  }
  t.equal(app.upstream.requests.length, minted)
})

t.test('B11: a wrong length mints nothing: too small is 400, too large ends with the connection', async (t) => {
  const minted = app.upstream.requests.length
  for (const length of [1, 2]) {
    const answers = await exchange(app, `${good}Content-Length: ${length}\r\n\r\n{}}`)
    t.same(answers.map(({ status }) => status), [400])
  }
  const before = app.audit.kept.length
  const socket = await openSocket(app)
  socket.write(`${good}Content-Length: 9\r\n\r\n{}`)
  socket.end()
  await app.audit.wrote(before + 1)
  t.match(app.auditLines().at(-1), { event: 'mint.refused', code: 'invalid_request' })
  t.equal(app.upstream.requests.length, minted)
})

t.test('B25: 100 Continue is sent after authentication, and never in HTTP/1.0', async (t) => {
  const asked = 'Expect: 100-continue\r\nContent-Length: 2\r\n\r\n'
  t.same((await exchange(app, `${POST}${TYPE}${asked}`)).map(({ status }) => status), [401])
  t.same((await exchange(app, `${old}${asked}{}`)).map(({ status }) => status), [200])
  const socket = await openSocket(app)
  socket.write(good + asked)
  let text = ''
  for await (const chunk of socket) {
    text += chunk
    if (text === 'HTTP/1.1 100 Continue\r\n\r\n') socket.write('{}')
    if (text.includes('ek_canary')) break
  }
  t.match(text, /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/)
})

t.test('B30: however a request is damaged, the answer is an error of the catalogue or none', async () => {
  const whole = `${good}X-Request-Id: one\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`
  const damage = fc.record({
    at: fc.nat(whole.length),
    removed: fc.nat(8),
    added: fc.oneof(fc.constantFrom(
      '\r', '\n', '\r\n', '\0', ':', ' ', '\t', ';', ',', '%', '\xff', 'HTTP/1.1', '\r\n\r\n', 'Content-Length: 1\r\n'
    ), fc.string({ maxLength: 4 }))
  })
  await fc.assert(fc.asyncProperty(fc.array(damage, { minLength: 1, maxLength: 3 }), async (damages) => {
    const bytes = damages.reduce(
      (text, { at, removed, added }) => text.slice(0, at) + added + text.slice(at + removed), whole
    )
    for (const answer of await exchangeAndLeave(app, bytes)) {
      if (answer.status !== 200) assertEnvelope(answer, JSON.stringify(bytes))
    }
  }), { numRuns: 100 })
  t.equal((await app.mint('client_secrets')).status, 200)
})

function assertEnvelope (answer: RawAnswer, name: string): void {
  const { headers, text } = answer
  assert.match(headers.get('content-type') ?? '', /^application\/json/, name)
  assert.equal(headers.get('cache-control'), 'no-store', name)
  assert.equal(headers.get('x-content-type-options'), 'nosniff', name)
  assert.match(headers.get('vary') ?? '', /Origin/, name)
  for (const header of ['server', 'x-powered-by']) assert.equal(headers.get(header), null, name)
  const { error } = JSON.parse(text)
  assert.deepEqual(Object.keys(error), ['message', 'type', 'code', 'param'], name)
  assert.doesNotMatch(text, /FST_|HPE_|node:|stack/, name)
  assertNoCanary(app, { ...answer, body: { error } })
}

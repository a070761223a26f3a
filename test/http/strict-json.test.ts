// Bodies are JSON in UTF-8 and nothing else; what is malformed gets its code and mints nothing.
// Runs alone: it measures processor time.

import { gzipSync } from 'node:zlib'
import t from 'tap'
import { type Answer, type App, startApp } from '../support/app.ts'
import { exchange } from '../support/raw-http.ts'
import { GA } from '../support/upstream.ts'

const json = { 'content-type': 'application/json' }
const ROUTES = ['sessions', 'transcription_sessions', 'client_secrets', 'translations/client_secrets']

/** A request up to the header that frames the body. */
async function headFor (app: App): Promise<string> {
  const head = 'POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: mint.test\r\nContent-Type: application/json\r\n'
  return `${head}Authorization: Bearer ${await app.token()}\r\n`
}

type Rows = readonly (readonly [name: string, body: string | Uint8Array, code: string])[]
const MAX_CPU_MS = 50

/**
 * Measures CPU time, the client's part included: elapsed time would measure other processes too. Garbage collector and
 * compiler may run at any time, but hardly three times in a row, so the least of three counts.
 */
async function timed (app: App, body: string | Uint8Array): Promise<Answer & { cpuMs: number }> {
  let cpuMs = Infinity
  for (let tries = 1; ; tries++) {
    const begun = process.cpuUsage()
    const answer = await app.mint('client_secrets', body, json)
    const { user, system } = process.cpuUsage(begun)
    cpuMs = Math.min(cpuMs, (user + system) / 1000)
    if (cpuMs < MAX_CPU_MS || tries === 3) return { ...answer, cpuMs }
  }
}

/** Bodies that are refused with 400, within little CPU time. */
const REFUSED: Record<string, Rows> = {
  'B12: depth is refused, and breaks nothing': [
    ['33 levels', `{"session":${'{"a":'.repeat(32)}1${'}'.repeat(33)}`, 'invalid_request'],
    ['5000 levels of arrays', '['.repeat(5000) + ']'.repeat(5000), 'invalid_request'],
    ['16,000 levels of arrays', '['.repeat(16_000) + ']'.repeat(16_000), 'invalid_request'],
    ['5000 levels of objects', `${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}`, 'invalid_request'],
    ['6000 levels of objects, cut', '{"a":'.repeat(6000), 'invalid_json'],
    ['32,000 levels, cut', '['.repeat(32_000), 'invalid_json'],
    ['an array of 16,000', `[${'1,'.repeat(16_000)}1]`, 'invalid_request']
  ],
  'B13: a name that reaches a prototype is refused wherever it stands': [
    ['__proto__', '{"__proto__":{}}', 'invalid_request'],
    ['__proto__, escaped', '{"\\u005f_proto__":{}}', 'invalid_request'],
    [
      '__proto__, escaped throughout', '{"\\u005F\\u005f\\u0070\\u0072\\u006f\\u0074\\u006f\\u005f\\u005f":{}}',
      'invalid_request'
    ],
    ['__proto__ with a scalar', '{"session":{"__proto__":1}}', 'invalid_request'],
    ['__proto__ in the depth', '{"session":{"tools":[{"__proto__":null}]}}', 'invalid_request'],
    ['__proto__ beside the session', '{"expires_after":{"__proto__":{"seconds":60}}}', 'invalid_request'],
    ['__proto__ twice', '{"__proto__":{},"__proto__":{}}', 'invalid_request'],
    ['constructor.prototype', '{"constructor":{"prototype":{"x":1}}}', 'invalid_request']
  ],
  'B14: constructor and prototype as names are 400': [
    ['constructor with a string', '{"session":{"constructor":"x"}}', 'invalid_request'],
    ['constructor on top', '{"constructor":"x"}', 'invalid_request'],
    ['prototype', '{"session":{"audio":{"prototype":1}}}', 'invalid_request']
  ],
  'B16: a body that is not a JSON object in UTF-8 is 400': [
    ['an array', '[]', 'invalid_request'],
    ['an array of objects', '[{}]', 'invalid_request'],
    ['a string', '"session"', 'invalid_request'],
    ['a number', '7', 'invalid_request'],
    ['a number that is none', '1e400', 'invalid_request'],
    ['null', 'null', 'invalid_request'],
    ['true', 'true', 'invalid_request'],
    ['half an object', '{"session":', 'invalid_json'],
    ['two objects', '{}{}', 'invalid_json'],
    ['a trailing comma', '{"a":1,}', 'invalid_json'],
    ['a comment', '{} // canary', 'invalid_json'],
    ['single quotes', "{'a':1}", 'invalid_json'],
    ['NaN', '{"a":NaN}', 'invalid_json'],
    ['white space', '  ', 'invalid_json'],
    ['a NUL behind it', '{}\0', 'invalid_json'],
    ['a byte order mark', '\ufeff{}', 'invalid_json'],
    ['UTF-16', Buffer.from('{}', 'utf16le'), 'invalid_json'],
    ['UTF-16 with its mark', Buffer.from('\ufeff{}', 'utf16le'), 'invalid_json'],
    ['UTF-16, the other way round', Buffer.from('\ufeff{}', 'utf16le').swap16(), 'invalid_json'],
    ['UTF-32', Buffer.from('{\0\0\0}\0\0\0'), 'invalid_json'],
    ['bytes that are not UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), 'invalid_json'],
    ['UTF-8 that is cut', Buffer.from('{"a":"é"}').subarray(0, 7), 'invalid_json'],
    ['an overlong NUL', Buffer.from([0x7b, 0x22, 0xc0, 0x80, 0x22, 0x3a, 0x31, 0x7d]), 'invalid_json'],
    ['a surrogate as three bytes', Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]), 'invalid_json'],
    ['a lone surrogate in a value', '{"session":{"a":"\\ud800"}}', 'invalid_json'],
    ['a lone surrogate in a name', '{"\\udfff":1}', 'invalid_json'],
    ['a NUL in a value', '{"session":{"a":["\\u0000"]}}', 'invalid_json'],
    ['a NUL in a name', '{"a\\u0000b":1}', 'invalid_json'],
    ['a NUL, not escaped', '{"a":"\0"}', 'invalid_json'],
    ['session that is an array', '{"session":[]}', 'invalid_request'],
    ['session that is a string', '{"session":"realtime"}', 'invalid_request'],
    ['an unknown session.type', '{"session":{"type":"video"}}', 'invalid_request']
  ]
}

for (const [law, rows] of Object.entries(REFUSED)) {
  t.test(law, async (t) => {
    const app = await startApp(t)
    await app.mint('client_secrets', '[]', json)
    for (const [name, body, code] of rows) {
      const { status, body: { error }, cpuMs } = await timed(app, body)
      t.match({ status, error }, { status: 400, error: { code, type: 'invalid_request_error' } }, name)
      t.ok(cpuMs < MAX_CPU_MS, `${name}: ${cpuMs} ms`)
    }
  })
}

t.test('B16: no body at all, or one of no bytes, is {}', async (t) => {
  const app = await startApp(t)
  for (const route of ['client_secrets', 'sessions']) {
    for (const [body, headers] of [[undefined, {}], [undefined, json], ['', json]] as const) {
      t.equal((await app.mint(route, body, headers)).status, 200)
    }
  }
  const [chunked] = await exchange(
    app,
    `${await headFor(app)}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    1
  )
  t.equal(chunked?.status, 200)
  for (const { body } of app.upstream.requests.filter(({ path }) => path === GA)) {
    t.same(body, app.upstream.requests[0]?.body)
  }
})

t.test('B16: a body that is not an object is 400 on every route', async (t) => {
  const app = await startApp(t)
  for (const route of ROUTES) {
    for (const body of ['[]', '"a"', '1', 'null']) {
      t.match(
        await app.mint(route, body, json),
        { status: 400, body: { error: { code: 'invalid_request', param: null } } },
      `${route} ${body}`
      )
    }
  }
})

t.test('B14: other names of Object.prototype are unknown fields like any other', async (t) => {
  const app = await startApp(t)
  for (const name of ['toString', 'hasOwnProperty', 'valueOf', '__defineGetter__']) {
    t.match(
      (await app.mint('client_secrets', { session: { [name]: 'x' } })).body.error,
      { code: 'policy_violation', param: `session.${name}` }
    )
    t.match((await app.mint('sessions', { [name]: 'x' })).body.error, { code: 'policy_violation', param: name })
    t.match((await app.mint('client_secrets', { [name]: 'x' })).body.error, { code: 'policy_violation', param: name })
  }
})

t.test('B11, B12: a body over 32 KiB is 413, however it is framed and whatever it holds', async (t) => {
  const app = await startApp(t)
  const body = JSON.stringify({ session: { instructions: 'x'.repeat(33_000) } })
  await app.mint('client_secrets', '[]', json)
  const keys = JSON.stringify(Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [`k${i}`, i])))
  for (const sent of [
    body, keys, '{"a":1,'.padEnd(100_000), `[${'1,'.repeat(1_000_000)}1]`, '['.repeat(450_000), '{"a":'.repeat(450_000),
    '['.repeat(225_000) + ']'.repeat(225_000)
  ]) {
    const answer = await timed(app, sent)
    t.match(answer, { status: 413, body: { error: { code: 'body_too_large' } } })
    t.ok(answer.cpuMs < MAX_CPU_MS, `${answer.cpuMs} ms`)
  }
  const head = await headFor(app)
  const [chunked] = await exchange(
    app, `${head}Transfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`, 1
  )
  t.equal(chunked?.status, 413)
  const [announced] = await exchange(app, `${head}Content-Length: 99999999\r\n\r\n`, 1)
  t.equal(announced?.status, 413, 'before any of it is sent')
  t.equal(app.upstream.requests.length, 0)
})

t.test('B11: a body of 32 KiB is read', async (t) => {
  const app = await startApp(t)
  const body = JSON.stringify({ session: {} }).padEnd(32 * 1024)
  t.equal((await app.mint('client_secrets', body, json)).status, 200)
})

t.test('B18: anything but application/json in UTF-8 is 415', async (t) => {
  const app = await startApp(t)
  const types = [
    'text/plain', 'text/plain;charset=utf-8', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x',
    'text/plain, application/json', 'application/json, text/plain', 'application/json, application/json',
    'application/json text/plain', 'text/plain; application/json', 'application/jsonp', 'application/json-patch+json',
    'application/vnd.api+json', 'application/json; charset=utf-16', 'application/json; charset=latin1',
    'application/json; charset=utf-8; charset=utf-16', 'application/json; boundary=x', 'text/json',
    'application/octet-stream', 'blob', '*/*', 'json', ''
  ]
  for (const type of types) {
    t.match(
      await app.mint('client_secrets', '{}', { 'content-type': type }),
      { status: 415, body: { error: { code: 'unsupported_media_type' } } },
      type
    )
  }
  t.equal(
    (await app.mint('client_secrets', Buffer.from('{}'), { 'content-type': undefined })).status, 415, 'no type at all'
  )
})

t.test('B20: a body that is encoded is 415, and nothing is decompressed', async (t) => {
  const app = await startApp(t)
  for (const encoding of [
    'gzip', 'br', 'deflate', 'zstd', 'GZIP', 'gzip, gzip', 'identity, gzip', 'x-unknown',
    Array(1000).fill('gzip').join(', ')
  ]) {
    t.equal(
      (await app.mint('client_secrets', gzipSync('{}'), { ...json, 'content-encoding': encoding })).status,
      415,
      encoding.slice(0, 20)
    )
    t.equal(
      (await app.mint('client_secrets', '{}', { ...json, 'content-encoding': encoding })).status,
      415,
      'a body that only says so'
    )
  }
  t.equal((await app.mint(
    'client_secrets', gzipSync('x'.repeat(10_000_000)), { ...json, 'content-encoding': 'gzip' }
  )).status, 415, 'a bomb')
  t.equal((await app.mint('client_secrets', gzipSync('{}'), json)).status, 400, 'one that does not say so')
})

t.test('B18: application/json is read however it is spelled', async (t) => {
  const app = await startApp(t)
  for (const type of [
    'application/json', 'application/json; charset=utf-8', 'application/json;charset="UTF-8"', 'Application/JSON',
    'application/json; charset=utf8', 'application/json;'
  ]) {
    t.equal((await app.mint('client_secrets', '{}', { 'content-type': type })).status, 200, type)
  }
  t.equal((await app.mint('client_secrets', '{}', { ...json, 'content-encoding': 'identity' })).status, 200)
})

t.test('a caller that is not admitted is refused before its body is read', async (t) => {
  const app = await startApp(t)
  for (const [body, type] of [
    ['{', 'application/json'], ['x'.repeat(100_000), 'application/json'], ['a=b', 'text/plain']
  ] as const) {
    t.equal((await app.mint('client_secrets', body, { authorization: undefined, 'content-type': type })).status, 401)
    t.equal((await app.mint(
      'client_secrets', body, { authorization: `Bearer ${await app.token({ plan: 'free' })}`, 'content-type': type }
    )).status, 403)
  }
})

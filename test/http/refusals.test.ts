// Headers that every answer has, and the answers of paths that do not exist.

import t from 'tap'
import { envelope } from '../../src/errors.ts'
import { startApp } from '../support/app.ts'
import { assertAnswerHeaders, assertNoCanary } from '../support/invariants.ts'
import { exchange, type RawAnswer } from '../support/raw-http.ts'
import { failure, GA } from '../support/upstream.ts'

t.test('B30, F14: an unknown address is 404, and is not echoed; there is no file and no source map', async (t) => {
  const app = await startApp(t)
  const paths = [
    '/', '/canary', '/v1', '/v1/', '/v1/realtime', '/v1/realtime/sessions/', '/v1/realtime/sessions/canary',
    '/V1/realtime/sessions', '/v1//realtime/sessions', '/v1/models', '/.env', '/package.json', '/src/server.ts',
    '/src/server.ts.map', '/server.js.map', '/ephemint.yaml', '/.git/config', '/node_modules/fastify/package.json',
    '/run/secrets/openai_api_key', '/..%2f', '/..%2f.env', '/..%2fpackage.json', '/..%5cpackage.json',
    '/%2e%2e/%2e%2e/etc/passwd', '/%2e%2e%2fpackage.json', '/v1/..%2f..%2fpackage.json', '/metrics', '/docs',
    '/openapi.json', '/livez/', '/v1/realtime/calls/a/b', '/?canary', '/v1/realtime/client_secrets%00',
    `/${'a'.repeat(5000)}`
  ]
  for (const path of paths) {
    for (const method of ['GET', 'POST', 'DELETE', 'PROPFIND']) {
      const answer = await app.request(path, { method })
      t.match(
        answer,
        {
          status: 404,
          text: JSON.stringify(envelope('not_found'))
        },
        `${method} ${path.slice(0, 40)}`
      )
      assertAnswerHeaders(answer)
      assertNoCanary(app, answer)
    }
  }
  // A client that does not resolve the dots by itself.
  for (const path of [
    '/../package.json', '/v1/../../.env', '/./.env', '//.env', '/..\\..\\.env', '/.%2e/package.json'
  ]) {
    const [answer] = await exchange(app, `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`, 1)
    t.equal(answer?.status, 404, path)
  }
})

t.test('B30: for a 404 or a 405 no body is read', async (t) => {
  const app = await startApp(t)
  for (const [body, type] of [
    ['{', 'application/json'], ['a=b', 'text/plain'], ['x'.repeat(100_000), 'application/json'], ['{}', undefined]
  ] as const) {
    const init = {
      body: Buffer.from(body), headers: type === undefined ? [] : [['content-type', type] as [string, string]]
    }
    for (const [path, method, status] of [
      ['/nowhere', 'POST', 404], ['/livez', 'POST', 405], ['/v1/realtime/sessions', 'PUT', 405],
      ['/v1/realtime/sessions', 'QUERY', 405], ['/nowhere', 'QUERY', 404]
    ] as const) {
      t.equal((await app.request(path, { ...init, method })).status, status, `${method} ${path} ${type}`)
    }
  }
})

t.test('B26: a method that an address does not answer is 405 with an Allow header, and mints nothing', async (t) => {
  const app = await startApp(t)
  for (const [path, allow, methods] of [
    ['/v1/realtime/sessions', 'POST', ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND']],
    ['/v1/realtime/transcription_sessions', 'POST', ['GET', 'HEAD']],
    ['/v1/realtime/client_secrets', 'POST', ['GET', 'HEAD']],
    ['/v1/realtime/translations/client_secrets', 'POST', ['GET', 'HEAD']],
    ['/v1/realtime/policy', 'GET', ['POST', 'PUT', 'HEAD']],
    ['/livez', 'GET, HEAD, OPTIONS', ['POST', 'DELETE']],
    ['/readyz?a=b', 'GET, HEAD, OPTIONS', ['POST']]
  ] as const) {
    for (const method of methods) {
      const answer = await app.request(path, { method, headers: { authorization: `Bearer ${await app.token()}` } })
      t.equal(answer.status, 405, `${method} ${path}`)
      t.equal(answer.headers.get('allow'), allow)
      if (method !== 'HEAD') t.match(answer.body.error, { code: 'method_not_allowed', param: null })
      assertAnswerHeaders(answer)
    }
  }
  t.equal(app.upstream.requests.length, 0)
  t.equal(app.audit.kept.length, 0, 'no decision was taken')
})

t.test('B23: a request id is kept only from a trusted proxy, and only with harmless characters', async (t) => {
  const untrusting = await startApp(t)
  t.not((await untrusting.mint('client_secrets', {}, { 'x-request-id': 'abc' })).headers.get('x-request-id'), 'abc')

  const app = await startApp(t, { env: { TRUST_PROXY: '127.0.0.0/8' } })
  for (const id of ['a', 'A-z_0.9', 'x'.repeat(128)]) {
    t.equal((await app.mint('client_secrets', {}, { 'x-request-id': id })).headers.get('x-request-id'), id)
  }
  for (const id of ['', 'x'.repeat(129), 'a b', 'a,b', '<script>', 'é', '"', 'a\tb', '../x']) {
    const { headers } = await app.mint('client_secrets', {}, { 'x-request-id': id })
    t.match(headers.get('x-request-id'), /^[0-9a-f-]{36}$/, JSON.stringify(id))
  }
  t.equal(app.upstream.requests[2]?.headers['x-client-request-id'], 'x'.repeat(128))
  const twice = await app.request('/livez', { headers: [['x-request-id', 'a'], ['x-request-id', 'b']] })
  t.match(twice.headers.get('x-request-id'), /^[0-9a-f-]{36}$/)
  for (const name of ['X-Request-Id', 'traceparent']) {
    for (const [value, status] of [
      ['x'.repeat(1024), 200], ['\xc3\xa9\u2028', 200], ['canary\r\n Set-Cookie: a=b', 400],
      ['canary\rSet-Cookie: a=b', 400], ['canary\nSet-Cookie: a=b', 400], ['canary\0', 400], ['\x1b[31mcanary', 400]
    ] as const) {
      const [answer] = await exchange(
        app, `GET /livez HTTP/1.1\r\nHost: a\r\n${name}: ${value}\r\n\r\n`, 1
      ) as [RawAnswer]
      t.equal(answer.status, status, `${name}: ${encodeURI(value).slice(0, 40)}`)
      if (status === 200) t.match(answer.headers.get('x-request-id'), /^[0-9a-f-]{36}$/)
      t.equal(answer.headers.get('set-cookie'), null)
      assertNoCanary(app, { ...answer, body: {} }, [value])
    }
  }
})

t.test('B30: an error of our own is 500, and says nothing', async (t) => {
  const app = await startApp(
    t, { limits: { take: () => { throw new TypeError('canary in a message') }, peek: () => [], close: () => {} } }
  )
  const { status, body } = await app.mint('client_secrets')
  t.equal(status, 500)
  t.same(body, { error: { message: 'The service failed.', type: 'api_error', code: 'internal_error', param: null } })
  t.match(
    app.logLines().at(-1), { msg: 'refused', code: 'internal_error', err: { type: 'TypeError', at: /^test\/|^src\// } }
  )
})

t.test('the log has the code of a refusal, and nothing of the caller', async (t) => {
  const app = await startApp(t)
  const started = app.log.kept.length
  await app.mint('client_secrets', { session: { colour: 'blue' } })
  t.match(
    app.logLines().at(-1),
    { level: 'info', severity: 'INFO', msg: 'refused', code: 'policy_violation', request_id: String }
  )
  app.upstream.answer(GA, failure(401))
  await app.mint('client_secrets')
  t.match(
    app.logLines().at(-1),
    { level: 'error', severity: 'ERROR', msg: 'refused', code: 'upstream_rejected', reason: 'upstream_401' }
  )
  for (const line of app.logLines().slice(started)) {
    t.notMatch(JSON.stringify(line), /127\.0\.0\.1|"ada"|user-agent|remoteAddress|hostname/)
  }
})

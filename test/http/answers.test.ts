// What every answer carries, and what is answered where there is nothing.

import t from 'tap'
import { startApp } from '../fakes/app.ts'
import { assertAnswerHeaders, assertNoCanary } from '../fakes/invariants.ts'
import { failure, GA } from '../fakes/upstream.ts'

t.test('an unknown address is 404, and is not echoed', async (t) => {
  const app = await startApp(t)
  const paths = [
    '/', '/canary', '/v1', '/v1/', '/v1/realtime', '/v1/realtime/sessions/', '/v1/realtime/sessions/canary', '/V1/realtime/sessions', '/v1//realtime/sessions', '/v1/models',
    '/.env', '/package.json', '/src/server.ts', '/..%2f.env', '/%2e%2e/%2e%2e/etc/passwd', '/metrics', '/docs', '/openapi.json', '/livez/', '/v1/realtime/calls', '/?canary', '/v1/realtime/client_secrets%00', `/${'a'.repeat(5000)}`
  ]
  for (const path of paths) {
    for (const method of ['GET', 'POST', 'DELETE', 'PROPFIND']) {
      const answer = await app.request(path, { method })
      t.match(answer, { status: 404, text: '{"error":{"message":"There is nothing at this address.","type":"invalid_request_error","code":"not_found","param":null}}' }, `${method} ${path.slice(0, 40)}`)
      assertAnswerHeaders(answer)
      assertNoCanary(app, answer)
    }
  }
})

t.test('a method that an address does not answer is 405, and names those that it does', async (t) => {
  const app = await startApp(t)
  for (const [path, allow, methods] of [
    ['/v1/realtime/sessions', 'POST', ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND']],
    ['/v1/realtime/transcription_sessions', 'POST', ['GET', 'HEAD']],
    ['/v1/realtime/client_secrets', 'POST', ['GET', 'HEAD']],
    ['/v1/realtime/translations/client_secrets', 'POST', ['GET', 'HEAD']],
    ['/v1/realtime/policy', 'GET', ['POST', 'PUT', 'HEAD']],
    ['/livez', 'GET', ['POST', 'HEAD', 'DELETE']],
    ['/readyz?a=b', 'GET', ['POST']]
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

t.test('a request id that comes in is kept from a trusted proxy alone, and only where nothing can hide in it', async (t) => {
  const untrusting = await startApp(t)
  t.not((await untrusting.mint('client_secrets', {}, { 'x-request-id': 'abc' })).headers.get('x-request-id'), 'abc')

  const app = await startApp(t, { env: { TRUST_PROXY: '127.0.0.0/8' } })
  for (const id of ['a', 'A-z_0.9', 'x'.repeat(128)]) t.equal((await app.mint('client_secrets', {}, { 'x-request-id': id })).headers.get('x-request-id'), id)
  for (const id of ['', 'x'.repeat(129), 'a b', 'a,b', '<script>', 'é', '"', 'a\tb', '../x']) {
    const { headers } = await app.mint('client_secrets', {}, { 'x-request-id': id })
    t.match(headers.get('x-request-id'), /^[0-9a-f-]{36}$/, JSON.stringify(id))
  }
  t.equal(app.upstream.requests[2]?.headers['x-client-request-id'], 'x'.repeat(128))
  const twice = await app.request('/livez', { headers: [['x-request-id', 'a'], ['x-request-id', 'b']] })
  t.match(twice.headers.get('x-request-id'), /^[0-9a-f-]{36}$/)
})

t.test('an error of our own is 500, and says nothing', async (t) => {
  const app = await startApp(t, { limits: { take: () => { throw new TypeError('canary in a message') }, peek: () => [], close: () => {} } })
  const { status, body } = await app.mint('client_secrets')
  t.equal(status, 500)
  t.same(body, { error: { message: 'The service failed.', type: 'api_error', code: 'internal_error', param: null } })
  t.match(app.logLines().at(-1), { msg: 'refused', code: 'internal_error', err: { type: 'TypeError', at: /^test\/|^src\// } })
})

t.test('the log says of a refusal what happened, and of a caller nothing', async (t) => {
  const app = await startApp(t)
  await app.mint('client_secrets', { session: { colour: 'blue' } })
  t.match(app.logLines().at(-1), { level: 30, msg: 'refused', code: 'policy_violation', request_id: String })
  app.upstream.answer(GA, failure(401))
  await app.mint('client_secrets')
  t.match(app.logLines().at(-1), { level: 50, msg: 'refused', code: 'upstream_rejected', reason: 'upstream_401' })
  for (const line of app.logLines().filter(({ msg }) => !String(msg).startsWith('Server listening'))) t.notMatch(JSON.stringify(line), /127\.0\.0\.1|"ada"|user-agent|remoteAddress|hostname/)
})

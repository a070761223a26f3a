// The address for a client that connects to us instead of upstream.

import t from 'tap'
import { ORIGIN, startApp } from '../support/app.ts'
import { exchange } from '../support/raw-http.ts'

t.test('field F20: no other address says where to connect, and no foreign page learns it', async (t) => {
  const app = await startApp(t)
  for (const path of [
    '/v1/realtimes', '/v1/realtime/x', '/v1', '/realtime', '/v1/realtime%2F', '/V1/realtime', '//v1/realtime',
    '/x?/v1/realtime', '/v1/realtime//'
  ]) {
    const { status, headers } = await app.request(path)
    t.equal(status, 404, path)
    t.equal(headers.get('x-realtime-url'), null, path)
  }
  for (const path of ['/v1/realtime/client_secrets', '/v1/realtime/sessions']) {
    t.equal((await app.request(path)).headers.get('x-realtime-url'), null, path)
  }
  const foreign = await app.request('/v1/realtime?model=a', { headers: { origin: 'https://evil.test' } })
  t.equal(foreign.status, 403)
  t.equal(foreign.headers.get('x-realtime-url'), null)
})

t.test('field F20: /v1/realtime is 404 and says where to connect', async (t) => {
  const app = await startApp(t)
  for (const [path, url] of [
    ['/v1/realtime', 'wss://realtime.test/v1/realtime'],
    ['/v1/realtime/', 'wss://realtime.test/v1/realtime'],
    ['/v1/realtime?model=gpt-realtime-2.1', 'wss://realtime.test/v1/realtime'],
    ['/v1/realtime?', 'wss://realtime.test/v1/realtime'],
    ['/v1/realtime/translations?model=a', 'wss://realtime.test/v1/realtime/translations']
  ] as const) {
    const { status, headers, body } = await app.request(path, { headers: { origin: ORIGIN } })
    t.equal(status, 404)
    t.equal(headers.get('x-realtime-url'), url, path)
    t.match(headers.get('access-control-expose-headers'), /^X-Realtime-Url/)
    t.same(body, {
      error: {
        message: 'There is nothing at this address.', type: 'invalid_request_error', code: 'not_found', param: null
      }
    })
  }
  const local = await startApp(t, { env: { REALTIME_PUBLIC_URL: 'http://127.0.0.1:7/v1/' } })
  t.equal((await local.request('/v1/realtime')).headers.get('x-realtime-url'), 'ws://127.0.0.1:7/v1/realtime')
})

t.test('field F20: a WebSocket gets the same answer, and its token stays out of the log', async (t) => {
  const app = await startApp(t)
  const [answer] = await exchange(app, [
    'GET /v1/realtime?model=gpt-realtime-2.1 HTTP/1.1', 'Host: mint.test', 'Connection: Upgrade', 'Upgrade: websocket',
    'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==',
    'Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.canary', '', ''
  ].join('\r\n'), 1)
  t.equal(answer?.status, 404)
  t.equal(answer?.headers.get('x-realtime-url'), 'wss://realtime.test/v1/realtime')
  t.notMatch(app.log.kept.join(''), 'canary')
})

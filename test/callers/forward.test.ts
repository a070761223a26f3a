// Forward auth: only configured headers are passed, and only a 200 with a subject passes (A42, A43, fault 25).

import type { ServerResponse } from 'node:http'
import t, { type Test } from 'tap'
import type { ForwardEntry } from '../../src/callers/schema.ts'
import { startSilence } from '../support/black-hole.ts'
import { answers, floods, hangsUp, type HostileIssuer, startHostileIssuer } from '../support/hostile-issuer.ts'
import {
  assertPassed, assertRefused, assertUnavailable, type SentHeaders, serve, shortenTimeouts,
  SITE
} from './harness.ts'

const SESSION = 'session-of-user-1-abcdef'
const cookie = (value = SESSION): SentHeaders => [['cookie', `theme=dark; sid=${value}; lang=en`], ['origin', SITE]]

async function start (t: Test, entry: Partial<ForwardEntry> = {}) {
  const app = await startHostileIssuer(t, answers({ id: 'user-1', plan: 'pro', iss: 'evil', sub: 'root' }))
  const forward: ForwardEntry = {
    issuer: 'app', url: `${app.url}/api/me?full=1`, cookie: 'sid', pass: ['Cookie'], subject: '/id', ...entry
  }
  return { app, ...await serve(t, [{ forward }, { guest: {} }]) }
}

t.test('A43: a refusal by the app is a refusal', async (t) => {
  const { app, ask } = await start(t)
  const refusals: [string, Parameters<HostileIssuer['behave']>[0]][] = [
    ...[300, 301, 302, 303, 304, 307, 308, 401, 403].map(
      (status) => ['app_refused', answers({ id: 'user-1' }, status, { location: `${app.url}/login` })] as const
    ),
    ...[
      null, {}, { id: '' }, { id: 7.5 }, { id: null }, { id: ['user-1'] }, { id: ' user-1' }, { id: 'a\nb' },
      { user: { id: 'user-1' } }
    ].map((body) => ['app_named_no_subject', answers(body)] as const),
    ['app_named_no_subject', answers('', 204)] as const
  ].map(([reason, behaviour]) => [reason, behaviour])
  for (const [reason, behaviour] of refusals) {
    app.behave(behaviour)
    assertRefused(t, await ask(cookie()), reason)
  }
  t.equal(app.requests.length, refusals.length, 'asked each time, and no redirect followed')
  app.behave(answers({ id: 'user-1' }))
  assertPassed(t, await ask(cookie()), { subject: 'user-1' }, 'a refusal is not cached')
})

t.test('A43, fault 25: a response without a verdict is 503, neither a pass nor a refusal', async (t) => {
  const { app, ask } = await start(t)
  const failures: [string, Parameters<HostileIssuer['behave']>[0]][] = [
    ...[201, 202, 206, 400, 404, 429, 500, 502, 503].map(
      (status) => ['checker_not_200', answers({ id: 'user-1' }, status)] as const
    ),
    ...['<html>Welcome, user-1</html>', '', '[]', '"user-1"', 'nul', '{"id":"user-1"', '\ufeff{"id":"user-1"}'].map(
      (body) => ['checker_not_a_json_object', answers(body)] as const
    ),
    [
      'checker_not_a_json_object', answers({ id: 'user-1', deep: JSON.parse('['.repeat(40) + ']'.repeat(40)) })
    ] as const,
    [
      'checker_too_large', floods
    ] as const, ['checker_too_large', answers({ id: 'user-1', blob: 'x'.repeat(65_536) })] as const,
    ['checker_unreachable', hangsUp] as const
  ].map(([reason, behaviour]) => [reason, behaviour])
  for (const [reason, behaviour] of failures) {
    app.behave(behaviour)
    assertUnavailable(t, await ask(cookie()), reason)
  }
})

t.test('fault 25: an app that never ends its response, or hangs before TLS, is a 503 in time', async (t) => {
  shortenTimeouts(t)
  const { app, ask } = await start(t)
  for (const behaviour of [() => {}, (response: ServerResponse) => { response.write('{"id":') }]) {
    app.behave(behaviour)
    assertUnavailable(t, await ask(cookie()), 'checker_timeout')
  }
  const { ask: askSilence } = await start(t, { url: `https://127.0.0.1:${(await startSilence(t)).port}/` })
  const startedAt = performance.now()
  assertUnavailable(t, await askSilence(cookie()), 'checker_timeout')
  t.ok(performance.now() - startedAt < 2500)
})

t.test('A43: only the configured headers are passed', async (t) => {
  const { app, ask } = await start(t, { pass: ['Cookie', 'accept-language', 'X-Forwarded-For'] })
  const sent: SentHeaders = [
    ...cookie(), ['accept-language', 'de'], [
      'authorization', 'Bearer other'
    ], ['x-user', 'root'], ['x-forwarded-host', 'evil'], ['content-type', 'application/json'],
    ['x-forwarded-for', '1.2.3.4'], [
      'x-forwarded-for', '5.6.7.8'
    ], ['referer', 'https://evil.example'], ['cookie', 'more=1'], ['user-agent', 'browser']
  ]
  assertPassed(t, await ask(sent, { body: '{"a":1}' }), {
    issuer: 'app', subject: 'user-1', claims: { id: 'user-1', plan: 'pro', iss: 'app', sub: 'user-1' }
  })
  t.equal(app.requests.length, 1)
  const { host, connection, ...headers } = app.requests[0]!.headers
  t.same({ ...app.requests[0], headers }, {
    method: 'GET',
    path: '/api/me?full=1',
    body: '',
    headers: {
      accept: 'application/json',
      'user-agent': 'ephemint',
      cookie: `sid=${SESSION}`,
      'accept-language': 'de',
      'x-forwarded-for': '1.2.3.4, 5.6.7.8'
    }
  })
})

t.test('A43: an ambiguous or malformed cookie is refused without a request', async (t) => {
  const { app, ask } = await start(t)
  const bad: [string, SentHeaders][] = [
    ['cookie_ambiguous', [['cookie', 'sid=a; sid=b']]], [
      'cookie_ambiguous', [['cookie', 'sid=a'], ['cookie', 'sid=a']]
    ],
    ['cookie_malformed', [['cookie', 'sid=']]], ['cookie_malformed', [['cookie', 'sid=a b']]], [
      'cookie_malformed', [['cookie', 'sid=\xe4']]
    ]
  ]
  for (const [reason, sent] of bad) assertRefused(t, await ask([...sent, ['origin', SITE]]), reason)
  for (const other of ['SID=a', 'xsid=a', 'sid', 'sid =a', '']) {
    assertPassed(t, await ask([['cookie', other]]), { issuer: 'guest' }, other)
  }
  t.equal(app.requests.length, 0)
})

t.test('A43: a header can carry the credential instead of a cookie', async (t) => {
  const { app, ask } = await start(t, { cookie: undefined, header: 'Authorization', pass: ['authorization'] } as never)
  assertRefused(t, await ask([['authorization', 'a'], ['authorization', 'b']]), 'header_ambiguous')
  assertRefused(t, await ask([['authorization', '']]), 'header_empty')
  assertPassed(t, await ask([['authorization', 'Token of-the-app-itself']]), { issuer: 'app' })
  assertPassed(t, await ask(cookie()), { issuer: 'guest' })
  t.same(
    app.requests.map(({ headers: { authorization, cookie } }) => ({ authorization, cookie })),
    [{ authorization: 'Token of-the-app-itself', cookie: undefined }]
  )
})

t.test('A42: a pass is cached for 30 seconds, by everything that was passed', async (t) => {
  const { app, ask, clock } = await start(t, { pass: ['cookie', 'x-tenant'] })
  assertPassed(t, await ask(cookie()), { subject: 'user-1' })
  app.behave(answers({}, 401))
  await clock.advance(29_999)
  assertPassed(t, await ask(cookie()), { subject: 'user-1' })
  assertRefused(t, await ask(cookie(SESSION.slice(0, -1))), 'app_refused')
  assertRefused(t, await ask(cookie(`${SESSION}x`)), 'app_refused')
  assertRefused(t, await ask([...cookie(), ['x-tenant', 'b']]), 'app_refused')
  await clock.advance(1)
  assertRefused(t, await ask(cookie()), 'app_refused', 'revoked meanwhile')
})

t.test('fault 25: concurrent checks of one credential share one request', async (t) => {
  const { app, ask } = await start(t)
  let release = () => {}
  app.behave((response, request) => { release = () => answers({ id: 'user-1' })(response, request) })
  const waiting = Array.from({ length: 20 }, () => ask(cookie()))
  while (app.requests.length === 0) await new Promise(setImmediate)
  // All of them arrive before the first response: a request is authenticated as soon as its headers are read.
  assertPassed(t, await ask(), { issuer: 'guest' })
  release()
  t.same(new Set((await Promise.all(waiting)).map(({ status }) => status)), new Set([200]))
  t.equal(app.requests.length, 1)
})

t.test('fault 24, fault 25, fault 41: checks pause while there is no response, by a monotonic clock', async (t) => {
  const { app, ask, clock, log } = await start(t)
  app.behave(hangsUp)
  for (let i = 0; i < 4; i++) assertUnavailable(t, await ask(cookie()), 'checker_unreachable')
  app.behave(answers({}, 401))
  assertRefused(t, await ask(cookie()), 'app_refused', 'a response ends the run of failures')
  app.behave(answers('oops', 500))
  for (let i = 0; i < 10; i++) assertUnavailable(t, await ask(cookie()), 'checker_not_200', 'an error is a response')
  app.behave(hangsUp)
  for (let i = 0; i < 5; i++) assertUnavailable(t, await ask(cookie()), 'checker_unreachable')
  const { length } = app.requests
  app.behave(answers({ id: 'user-1' }))
  for (let i = 0; i < 5; i++) {
    const answer = await ask(cookie())
    assertUnavailable(t, answer, 'checker_paused')
    t.equal(answer.headers['retry-after'], '5')
  }
  t.equal(app.requests.length, length)
  const { now } = Date
  t.intercept(Date, 'now', { value: () => now() - 600_000 })
  await clock.advance(5000)
  assertPassed(t, await ask(cookie()), { subject: 'user-1' })
  t.same(log.lines, [
    { level: 'error', message: 'credentials cannot be checked: no response', issuer: 'app' },
    { level: 'info', message: 'credentials can be checked again', issuer: 'app' }
  ])
})

// Threats of the group "Tokens" that take several requests, or a place other than the header.

import t from 'tap'
import { startApp } from '../support/app.ts'
import { answers, startHostileIssuer } from '../support/hostile-issuer.ts'
import { exchange } from '../support/raw-http.ts'
import { forge, forgeHmac } from './forge.ts'
import { assertPassed, assertRefused, bearer, NOW, type SentHeaders, serve, SITE } from './harness.ts'
import { attacker, base, BOTH, ISSUER, rsa, signed, start, tampered } from './issuers.ts'

t.test('A6: a URL in the token is never fetched', async (t) => {
  const { ask, keys } = await start(t)
  const trap = await startHostileIssuer(t, answers({ keys: [attacker.jwk] }))
  const before = keys.requests.length
  for (const url of [trap.url, 'http://169.254.169.254/', 'file:///etc/passwd']) {
    for (const name of ['jku', 'x5u']) {
      assertRefused(t, await ask(bearer(forge(attacker, base(), { [name]: url, kid: rsa.kid }))), 'signature_invalid')
    }
  }
  t.equal(trap.requests.length + keys.requests.length, before)
})

t.test('A9: unknown keys cause one fetch, not one each', async (t) => {
  const { callers, keys, clock } = await start(t)
  const before = keys.requests.length
  const flood = async (times: number, reasons = ['key_unknown']) => {
    for (let i = 0; i < times; i++) {
      const tokens = Array.from(
        { length: 500 }, (_, k) => forgeHmac('x', base(), { alg: 'RS256', kid: `key-${i}-${k}` })
      )
      const outcomes = await Promise.allSettled(tokens.map(async (token) =>
        callers.authenticate({ raw: { rawHeaders: ['authorization', `Bearer ${token}`] }, headers: {} } as never)))
      t.same(
        [...new Set(outcomes.map((outcome) => outcome.status === 'rejected' && outcome.reason.reason))].sort(), reasons
      )
    }
  }
  // Few requests wait for the fetch; the others are refused at once.
  await flood(1, ['key_unknown', 'keys_busy'])
  await flood(19)
  t.equal(keys.requests.length, before + 1)
  await clock.advance(29_000)
  await flood(1)
  t.equal(keys.requests.length, before + 1)
  await clock.advance(1000)
  await flood(1, ['key_unknown', 'keys_busy'])
  t.equal(keys.requests.length, before + 2)
})

const HUGE = {
  '1 MB': 'a'.repeat(1_000_000),
  'a million dots': '.'.repeat(1_000_000),
  '100,000 levels': forge(rsa, '['.repeat(100_000) + ']'.repeat(100_000)),
  '60,000 claims': signed(Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [`c${i}`, i])))
}

t.test('A25, A26: a token that does not fit into the headers gets 431', async (t) => {
  const app = await startApp(t)
  for (const [name, token] of Object.entries(HUGE)) {
    const post = `POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${token}\r\n\r\n`
    t.same((await exchange(app, post, 1)).map(({ status }) => status), [431], name)
  }
  t.equal(app.upstream.requests.length, 0)
})

t.test('A25, A26: where it fits it is too large, whatever it says', async (t) => {
  const { callers } = await start(t)
  for (const [name, token] of Object.entries(HUGE)) {
    const request = { raw: { rawHeaders: ['authorization', `Bearer ${token}`] }, headers: {} }
    const expected = { code: 'invalid_credentials', reason: 'token_too_large' }
    await t.rejects(async () => callers.authenticate(request as never), expected, name)
  }
})

t.test('A35: a token elsewhere in the request does not count', async (t) => {
  const { ask, entries } = await start(t)
  const strict = await serve(t, entries.slice(0, 1))
  const elsewhere: [SentHeaders, object][] = [
    [[['proxy-authorization', `Bearer ${signed()}`]], {}],
    [[['cookie', `access_token=${signed()}`], ['origin', SITE]], {}],
    [[['x-authorization', `Bearer ${signed()}`]], {}],
    [[], { path: `/?access_token=${signed()}`, method: 'GET' }],
    [[['content-type', 'application/json']], { body: JSON.stringify({ access_token: signed() }) }]
  ]
  for (const [sent, options] of elsewhere) {
    assertRefused(t, await strict.ask(sent, options), 'no_credentials')
    assertPassed(t, await ask(sent, options), { issuer: 'guest' })
  }
})

t.test('A35: a cookie takes only tokens of the issuer whose entry names it', async (t) => {
  const { ask } = await start(t)
  const cookie = (token: string): SentHeaders => [['cookie', `token=${token}`], ['origin', SITE]]
  const token = signed()
  assertRefused(t, await ask(cookie(token)), 'issuer_unknown')
  assertPassed(t, await ask(bearer(token)), { issuer: ISSUER })
  assertRefused(t, await ask(cookie(token)), 'issuer_unknown', 'not even while it is cached')
  assertRefused(t, await ask(cookie('opaque')), 'token_malformed')

  const good = signed({ iss: BOTH })
  assertPassed(t, await ask(cookie(good)), { issuer: BOTH })
  for (const value of [good, `token=${good}`]) {
    assertRefused(
      t,
      await ask([['authorization', value]]),
      'authorization_malformed',
      'a token cached from a cookie is not accepted elsewhere'
    )
  }
})

t.test('A36: a refused credential does not make a guest', async (t) => {
  const { ask } = await start(t)
  assertRefused(t, await ask(bearer('expired')), 'token_malformed')
  assertPassed(t, await ask(), { issuer: 'guest', subject: '127.0.0.1' })
})

t.test('A45: no header skips authentication', async (t) => {
  const { entries } = await start(t)
  const { ask } = await serve(t, entries.slice(0, 1))
  for (const header of [
    'user-agent', 'x-forwarded-uri', 'x-original-url', 'x-rewrite-url', 'x-forwarded-for', 'x-real-ip',
    'x-forwarded-user', 'x-http-method-override'
  ]) {
    for (const value of ['/livez', 'kube-probe/1.30', '127.0.0.1', 'GET']) {
      assertRefused(t, await ask([[header, value]]), 'no_credentials')
    }
  }
})

t.test('A38, A42: a verified token is cached', async (t) => {
  const { callers, clock, ask } = await start(t)
  const authenticate = (token: string) =>
    callers.authenticate({ raw: { rawHeaders: ['authorization', `Bearer ${token}`] }, headers: {} } as never)
  const token = signed({ exp: NOW + 90 })

  await t.test('for a minute, and then returned synchronously', async (t) => {
    const first = authenticate(token)
    t.ok(first instanceof Promise)
    const caller = await first
    t.equal(authenticate(token), caller)
    await clock.advance(59_999)
    t.equal(authenticate(token), caller)
    await clock.advance(1)
    t.ok(authenticate(token) instanceof Promise)
  })
  await t.test('by the whole token', async (t) => {
    assertRefused(t, await ask(bearer(token.slice(0, -1) + (token.endsWith('A') ? 'Q' : 'A'))), 'signature_invalid')
    assertRefused(t, await ask(bearer(tampered(token))), 'signature_invalid')
  })
  await t.test('but never beyond its expiry', async (t) => {
    await authenticate(token)
    await clock.advance(29_999)
    t.notOk(authenticate(token) instanceof Promise)
    await clock.advance(1)
    t.ok(authenticate(token) instanceof Promise, 'within the tolerance it is verified each time')
    await clock.advance(31_000)
    await t.rejects(async () => authenticate(token), { code: 'invalid_credentials', reason: 'token_expired' })
  })
  await t.test('but not once the clock was set back', async (t) => {
    const late = signed({ exp: NOW + 86_400 })
    await authenticate(late)
    t.notOk(authenticate(late) instanceof Promise)
    clock.setWall(clock.wallMs() - 1)
    t.ok(authenticate(late) instanceof Promise)
  })
})

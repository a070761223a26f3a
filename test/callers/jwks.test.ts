// Key sets while their issuer fails (faults 16 to 23), and attacks on a key set.
// Runs alone: a key set that hangs is given up after a part of a second.

import type { ServerResponse } from 'node:http'
import t, { type Test } from 'tap'
import { compileCallers } from '../../src/callers/authenticate.ts'
import { createKeySets, type KeySource } from '../../src/callers/jwks.ts'
import { startSilence } from '../support/black-hole.ts'
import { answers, floods, hangsUp, type HostileIssuer, startHostileIssuer } from '../support/hostile-issuer.ts'
import { createSigner, forge, forgeHmac } from './forge.ts'
import {
  assertPassed, assertRefused, assertUnavailable, bearer, createClock, createLog, NOW, secretSource, serve,
  shortenTimeouts
} from './harness.ts'

const MINUTE = 60_000
const ISSUER = 'https://auth.example.com/'
const [first, second, shared] = [
  createSigner('ES256', 'first'), createSigner('ES256', 'second'), createSigner('ES256', 'first')
]
const third = createSigner('ES256', 'third')
const rsaJwk = { ...createSigner('RS256').jwk, alg: undefined }
/** Keys off the curve, for encryption, too short, or with an invalid exponent: with exponent 1 anyone could sign. */
const UNUSABLE = [
  { ...first.jwk, x: 'AAAA' }, { ...second.jwk, use: 'enc' }, { kty: 'RSA', kid: 'weak', n: 'AQAB', e: 'AQAB' },
  ...['AQ', 'Ag', 'BA'].map((e) => ({ ...rsaJwk, kid: `e-${e}`, e }))
] as { kid: string }[]
const setOf = (...signers: { jwk: object }[]) => answers({ keys: signers.map(({ jwk }) => jwk) })

function open (t: Test, issuer: HostileIssuer, source: Partial<KeySource> = {}) {
  const [clock, log] = [createClock(), createLog()]
  const keySets = createKeySets({ clock, log })
  const keys = keySets({ issuer: ISSUER, jwks: `${issuer.url}/keys`, insecureHttp: false, ...source })
  t.teardown(keys.close)
  const find = (kid?: string) => keys.find(kid === undefined ? { alg: 'ES256' } : { alg: 'ES256', kid })
  return { keySets, keys, find, clock, log, reason: () => log.lines.at(-1)?.reason }
}

const jwtEntry = (issuer: HostileIssuer) =>
  ({ jwt: { issuer: ISSUER, audience: 'voice-app', jwks: `${issuer.url}/keys` } })
const tokenOf = (signer: typeof first) =>
  forge(signer, { iss: ISSUER, sub: 'u', aud: 'voice-app', exp: NOW + 7 * 86_400 })

t.test('fault 21, A11: an invalid key set is rejected completely, and the last good one stays', async (t) => {
  const issuer = await startHostileIssuer(t, setOf(first))
  const { find, clock, reason } = open(t, issuer)
  await find('first')
  const bad: [string, Parameters<HostileIssuer['behave']>[0]][] = [
    ['not_a_json_object', answers('<html>Sign in</html>', 200, { 'content-type': 'text/html' })],
    ['not_a_json_object', answers('')], [
      'not_a_json_object', answers('[]')
    ], ['not_a_json_object', answers('{"keys":[')], ['not_a_json_object', answers('null')],
    ['not_a_key_set', answers({})], [
      'not_a_key_set', answers({ keys: {} })
    ], ['not_a_key_set', answers({ keys: [null] })], ['not_a_key_set', answers({ keys: [{ kid: 'first' }] })],
    ['no_keys', answers({ keys: [] })], ['no_usable_keys', answers({ keys: [{ ...second.jwk, use: 'enc' }] })], [
      'too_many_keys', answers({ keys: Array(101).fill(second.jwk) })
    ],
    ['too_large', answers({ keys: Array(500).fill({ ...second.jwk, x5c: ['x'.repeat(1000)] }) })], [
      'too_large', floods
    ],
    [
      'secret_key_published',
      answers({ keys: [second.jwk, { ...first.privateKey.export({ format: 'jwk' }), kid: 'private' }] })
    ],
    ['secret_key_published', answers({ keys: [second.jwk, { kty: 'oct', k: 'c2VjcmV0', kid: 'oct' }] })], [
      'secret_key_published', answers({ keys: [second.jwk, { kty: 'oct' }] })
    ],
    ['secret_key_published', answers({ keys: [second.jwk, { kty: 'AKP', priv: 'AAAA' }] })],
    ['not_200', answers({ keys: [second.jwk] }, 302, { location: `${issuer.url}/elsewhere` })], [
      'not_200', answers({ keys: [second.jwk] }, 404)
    ],
    ['not_200', answers({ keys: [second.jwk] }, 206)], ['not_200', answers('', 304)], ['not_200', answers('oops', 500)],
    ['unreachable', hangsUp]
  ]
  for (const [expected, behaviour] of bad) {
    issuer.behave(behaviour)
    await clock.advance(MINUTE)
    await t.rejects(find('second'), { code: 'identity_unavailable', reason: 'keys_unavailable' }, expected)
    t.equal(reason(), expected)
    t.equal((await find('first')).length, 1)
  }
  t.notOk(issuer.requests.some(({ path }) => path === '/elsewhere'))
  issuer.behave(setOf(second))
  await clock.advance(MINUTE)
  t.equal((await find('second')).length, 1)
  t.same(await find('first'), [])
})

t.test('fault 16, fault 22: an issuer that never ends its response, or hangs before TLS, times out', async (t) => {
  shortenTimeouts(t)
  const issuer = await startHostileIssuer(t, () => {})
  const { find, clock, reason } = open(t, issuer)
  for (const behaviour of [() => {}, (response: ServerResponse) => { response.write('{"keys":') }]) {
    issuer.behave(behaviour)
    await t.rejects(find('first'), { code: 'identity_unavailable', reason: 'keys_unavailable' })
    t.equal(reason(), 'timeout')
    await clock.advance(MINUTE)
  }
  const silent = open(t, issuer, { jwks: `https://127.0.0.1:${(await startSilence(t)).port}/keys` })
  const startedAt = performance.now()
  await t.rejects(silent.find('first'), { code: 'identity_unavailable', reason: 'keys_unavailable' })
  t.equal(silent.reason(), 'timeout')
  t.ok(performance.now() - startedAt < 2500)
})

t.test('fault 21: the discovery document must name this issuer and a safe jwks_uri', async (t) => {
  const trap = await startHostileIssuer(t, setOf(first))
  const issuer = await startHostileIssuer(t)
  const discovery = (document: object) => issuer.behave((response, request) => {
    const isKeys = request.url === '/keys'
    answers(isKeys ? { keys: [first.jwk] } : document)(response, request)
  })
  const { find, clock, reason } = open(t, issuer, { issuer: `${issuer.url}/tenant/`, jwks: undefined })
  const good = { issuer: `${issuer.url}/tenant/`, jwks_uri: `${issuer.url}/keys` }
  const bad: [string, object][] = [
    ['discovery_names_another_issuer', { ...good, issuer: `${issuer.url}/tenant` }], [
      'discovery_names_another_issuer', { ...good, issuer: undefined }
    ],
    ['discovery_names_another_issuer', { ...good, issuer: [good.issuer] }], [
      'discovery_names_no_safe_jwks_uri', { ...good, jwks_uri: undefined }
    ],
    ['discovery_names_no_safe_jwks_uri', { ...good, jwks_uri: 'http://keys.example.com/' }], [
      'discovery_names_no_safe_jwks_uri', { ...good, jwks_uri: 'file:///etc/passwd' }
    ],
    ['discovery_names_no_safe_jwks_uri', { ...good, jwks_uri: trap.url.replace('127.0.0.1', 'user:pw@127.0.0.1') }], [
      'discovery_names_no_safe_jwks_uri', { ...good, jwks_uri: '/keys' }
    ]
  ]
  for (const [expected, document] of bad) {
    discovery(document)
    await t.rejects(find('first'), { code: 'identity_unavailable', reason: 'keys_unavailable' })
    t.equal(reason(), expected)
    await clock.advance(MINUTE)
  }
  discovery(good)
  t.equal((await find('first')).length, 1)
  t.equal(trap.requests.length, 0)
  t.same(issuer.requests.slice(-2).map(({ path }) => path), ['/tenant/.well-known/openid-configuration', '/keys'])
})

t.test('fault 16: an issuer that is down at the start is retried every 1 to 30 s, not by each request', async (t) => {
  const issuer = await startHostileIssuer(t, answers('down', 503))
  const { ask, callers, clock, log } = await serve(t, [jwtEntry(issuer), { guest: {} }])
  const token = tokenOf(first)
  t.same(callers.waitingFor(), [ISSUER])
  assertPassed(t, await ask(), { issuer: 'guest' }, 'other ways keep working')
  t.equal(issuer.requests.length, 1)
  for (const [i, longest] of [1, 2, 4, 8, 16, 30, 30, 30].entries()) {
    const dueMs = clock.nextInMs()
    t.ok(dueMs >= longest * 500 && dueMs <= longest * 1000, `waits ${dueMs} ms`)
    const answer = await ask(bearer(token))
    assertUnavailable(t, answer, 'keys_unavailable')
    t.equal(answer.headers['retry-after'], String(Math.ceil(dueMs / 1000)))
    await clock.advance(dueMs)
    t.equal(issuer.requests.length, i + 2)
  }
  issuer.behave(setOf(first))
  await clock.advance(30_000)
  t.same(callers.waitingFor(), [])
  assertPassed(t, await ask(bearer(token)), { subject: 'u' })
  t.same(
    log.lines.map(({ level, message }) => `${level} ${message}`).slice(-2),
    ['warn keys could not be fetched', 'info keys fetched again']
  )
  t.same(log.lines.at(-2), {
    level: 'warn', message: 'keys could not be fetched', issuer: ISSUER, reason: 'not_200', failures: 9, hasKeys: false
  })
})

t.test('fault 17, fault 18: keys outlive their issuer by an hour, with a warning; then tokens get 503', async (t) => {
  const issuer = await startHostileIssuer(t, setOf(first))
  const { ask, callers, clock, log } = await serve(t, [jwtEntry(issuer)])
  issuer.behave(hangsUp)
  for (let minute = 5; minute <= 60; minute += 5) {
    await clock.advance(5 * MINUTE)
    assertPassed(t, await ask(bearer(tokenOf(first))), { subject: 'u' }, `after ${minute} minutes`)
  }
  assertUnavailable(t, await ask(bearer(tokenOf(second))), 'keys_unavailable', 'a key that it may have published since')
  t.same(callers.keyAges(), [{ issuer: ISSUER, ageMs: 60 * MINUTE }])
  t.match(log.lines.at(-1), { level: 'warn', message: 'keys could not be fetched', hasKeys: true })
  await clock.advance(MINUTE + 1)
  assertUnavailable(t, await ask(bearer(tokenOf(first))), 'keys_unavailable')
  issuer.behave(setOf(first))
  await clock.advance(30_000)
  assertPassed(t, await ask(bearer(tokenOf(first))), { subject: 'u' })
})

t.test('fault 41: a step of the wall clock does not age keys', async (t) => {
  const issuer = await startHostileIssuer(t, setOf(first))
  const { ask, clock } = await serve(t, [jwtEntry(issuer)])
  clock.setWall(clock.wallMs() + 2 * 60 * MINUTE)
  issuer.behave(hangsUp)
  assertPassed(t, await ask(bearer(tokenOf(first))), { subject: 'u' })
})

t.test('fault 19: a new key is accepted after one fetch, the old one while it is published', async (t) => {
  const issuer = await startHostileIssuer(t, setOf(first))
  const { ask } = await serve(t, [jwtEntry(issuer)])
  issuer.behave(setOf(first, second))
  assertPassed(t, await ask(bearer(tokenOf(second))), { subject: 'u' })
  assertPassed(t, await ask(bearer(tokenOf(first))), { subject: 'u' })
  t.equal(issuer.requests.length, 2)
})

t.test('fault 20, A38: a removed key is refused within ten minutes, even for a cached token', async (t) => {
  const issuer = await startHostileIssuer(t, setOf(first, second))
  const { ask, clock } = await serve(t, [jwtEntry(issuer)])
  issuer.behave(setOf(second))
  await clock.advance(clock.nextInMs() - 1)
  const token = tokenOf(first)
  assertPassed(t, await ask(bearer(token)), { subject: 'u' })
  await clock.advance(1)
  assertPassed(t, await ask(bearer(token)), { subject: 'u' }, 'cached')
  assertRefused(
    t, await ask(bearer(forge(first, { iss: ISSUER, sub: 'v', aud: 'voice-app', exp: NOW + 86_400 }))), 'key_unknown'
  )
  await clock.advance(MINUTE)
  assertRefused(t, await ask(bearer(token)), 'key_unknown')
  t.ok(clock.wallMs() - NOW * 1000 <= 10 * MINUTE)
})

t.test('fault 22, fault 23: fetches do not overlap, and a slow one delays no token whose key is known', async (t) => {
  const issuer = await startHostileIssuer(t, setOf(first))
  const { ask, clock } = await serve(t, [jwtEntry(issuer)])
  let release = () => {}
  issuer.behave((response, request) => { release = () => setOf(first, second)(response, request) })
  const waiting = Array.from({ length: 20 }, () => ask(bearer(tokenOf(second))))
  assertPassed(t, await ask(bearer(tokenOf(first))), { subject: 'u' })
  const refreshing = clock.advance(5 * MINUTE)
  while (issuer.requests.length < 2) await new Promise(setImmediate)
  issuer.behave(setOf(shared))
  release()
  for (const answer of await Promise.all(waiting)) t.equal(answer.status, 200)
  await refreshing
  t.equal(issuer.requests.length, 2)
})

t.test('A9: a token without kid is tried against a few keys that fit', async (t) => {
  const issuer = await startHostileIssuer(t, setOf(first, second))
  const { ask, clock } = await serve(t, [jwtEntry(issuer)])
  const anonymous = (signer: typeof first, sub: string) =>
    forge(signer, { iss: ISSUER, sub, aud: 'voice-app', exp: NOW + 86_400 }, { kid: undefined })
  assertPassed(t, await ask(bearer(anonymous(second, 'second'))), { subject: 'second' })
  assertRefused(t, await ask(bearer(anonymous(shared, 'shared'))), 'signature_invalid')
  issuer.behave(setOf(...Array.from({ length: 6 }, (_, i) => createSigner('ES256', `k${i}`)), second))
  await clock.advance(5 * MINUTE)
  assertRefused(t, await ask(bearer(anonymous(second, 'late'))), 'signature_invalid')
})

t.test('edge L9, edge L10: an unusable key is ignored, whatever else is in the set', async (t) => {
  const issuer = await startHostileIssuer(t, answers({ keys: [...UNUSABLE, third.jwk] }))
  const { keys } = open(t, issuer)
  for (const { kid } of UNUSABLE) {
    for (const alg of ['ES256', 'RS256', 'PS256']) t.same(await keys.find({ alg, kid }), [], `${kid} ${alg}`)
  }
  t.same(await keys.find({ alg: 'RS256' }), [])
  t.equal((await keys.find({ alg: 'ES256', kid: 'third' })).length, 1)
})

t.test('edge L9: a set without a usable key is rejected, and the last good one stays', async (t) => {
  const issuer = await startHostileIssuer(t, answers({ keys: UNUSABLE }))
  const { ask, callers, clock, log } = await serve(t, [jwtEntry(issuer)])
  t.same(callers.waitingFor(), [ISSUER])
  t.match(log.lines.at(-1), { message: 'keys could not be fetched', reason: 'no_usable_keys' })
  assertUnavailable(t, await ask(bearer(tokenOf(third))), 'keys_unavailable')
  issuer.behave(setOf(third))
  await clock.advance(MINUTE)
  assertPassed(t, await ask(bearer(tokenOf(third))), { subject: 'u' })
  issuer.behave(answers({ keys: UNUSABLE }))
  await clock.advance(5 * MINUTE)
  t.match(log.lines.at(-1), { reason: 'no_usable_keys', hasKeys: true })
  assertPassed(t, await ask(bearer(tokenOf(third))), { subject: 'u' })
})

t.test('edge L9: an unknown key is 503 while the issuer is down, without extra fetches, and then 401', async (t) => {
  const issuer = await startHostileIssuer(t, setOf(first))
  const { ask, clock } = await serve(t, [jwtEntry(issuer)])
  issuer.behave(hangsUp)
  for (let i = 0; i < 50; i++) assertUnavailable(t, await ask(bearer(tokenOf(second))), 'keys_unavailable')
  t.equal(issuer.requests.length, 2)
  assertPassed(t, await ask(bearer(tokenOf(first))), { subject: 'u' })
  await clock.advance(clock.nextInMs())
  t.equal(issuer.requests.length, 3)
  assertUnavailable(t, await ask(bearer(tokenOf(second))), 'keys_unavailable')
  issuer.behave(setOf(first))
  await clock.advance(clock.nextInMs())
  for (let i = 0; i < 50; i++) assertRefused(t, await ask(bearer(tokenOf(second))), 'key_unknown')
  t.equal(issuer.requests.length, 4, 'within the cooldown of the first search')
})

t.test('edge M3c: few requests wait for a key set that hangs, and none whose key is known', async (t) => {
  shortenTimeouts(t)
  const issuer = await startHostileIssuer(t, setOf(first))
  const { find, clock } = open(t, issuer)
  await find('first')
  issuer.behave(() => {})
  const waiting = Array.from({ length: 64 }, (_, i) =>
    t.rejects(find(`unknown-${i}`), { code: 'identity_unavailable', reason: 'keys_unavailable' }))
  await t.rejects(find('one-more'), { code: 'identity_unavailable', reason: 'keys_busy', retryAfterSeconds: 1 })
  t.equal((await find('first')).length, 1)
  await Promise.all(waiting)
  t.equal(issuer.requests.length, 2)
  issuer.behave(setOf(first, second))
  await clock.advance(MINUTE)
  t.equal((await find('second')).length, 1, 'the places are free again')
})

t.test('fault 43: a reloaded policy keeps the keys of the last one', async (t) => {
  const issuer = await startHostileIssuer(t, setOf(first))
  const [clock, log] = [createClock(), createLog()]
  const keySets = createKeySets({ clock, log })
  const old = await serve(t, [jwtEntry(issuer)], { clock, keySets })
  issuer.behave(hangsUp)
  const reloaded = await serve(t, [jwtEntry(issuer)], { clock, keySets })
  old.callers.close()
  t.same(reloaded.callers.waitingFor(), [])
  assertPassed(t, await reloaded.ask(bearer(tokenOf(first))), { subject: 'u' })
  t.equal(issuer.requests.length, 1)
  await clock.advance(5 * MINUTE)
  t.equal(issuer.requests.length, 2, 'and they are still refreshed')
  reloaded.callers.close()
  t.equal(clock.nextInMs(), Infinity, 'until no policy uses them')
})

t.test('fault 21: the message of an unexpected error is not logged, since it may quote the response', async (t) => {
  const issuer = await startHostileIssuer(t, answers('down', 503))
  const log = createLog()
  const info = () => { throw new Error('canary') }
  const clock = createClock()
  const keys = createKeySets({ clock, log: { ...log, info } })(
    { issuer: ISSUER, jwks: `${issuer.url}/keys`, insecureHttp: false }
  )
  t.teardown(keys.close)
  await keys.open()
  t.match(log.lines, [{ reason: 'not_200' }])
  issuer.behave(setOf(first))
  await clock.advance(clock.nextInMs())
  t.match(log.lines, [{ reason: 'not_200' }, { message: 'keys could not be fetched', reason: 'internal_error' }])
  t.notMatch(JSON.stringify(log.lines), 'canary')
})

t.test('A16: without an injected clock, the system clock counts', async (t) => {
  const issuer = await startHostileIssuer(t, setOf(first))
  const log = createLog()
  const SECRETS = { KEY: 'k'.repeat(32) }
  const entries = [jwtEntry(issuer), { jwt: { issuer: 'hmac', audience: 'voice-app', secret_env: 'KEY' } }]
  const { callers } = compileCallers(
    entries, { secrets: secretSource(SECRETS), log, keySets: createKeySets({ log }), allowedOrigins: new Set() }
  )
  await callers.start()
  t.same(callers.waitingFor(), [])
  const token = forgeHmac(SECRETS.KEY, { iss: 'hmac', sub: 'u', aud: 'voice-app', exp: Date.now() / 1000 + 60 })
  t.match(
    await callers.authenticate({ raw: { rawHeaders: ['Authorization', `Bearer ${token}`] }, headers: {} } as never),
    { subject: 'u' }
  )
  callers.close()
})

// Opaque tokens: what an introspection response must contain (A41, A42, fault 24).

import t, { type Test } from 'tap'
import type { CallerEntry, IntrospectionEntry } from '../../src/callers/schema.ts'
import { startSilence } from '../support/black-hole.ts'
import { answers, floods, hangsUp, type HostileIssuer, startHostileIssuer } from '../support/hostile-issuer.ts'
import { forgeHmac } from './forge.ts'
import { assertPassed, assertRefused, assertUnavailable, bearer, NOW, serve, shortenTimeouts } from './harness.ts'

const ISSUER = 'https://auth.example.com/'
const SECRETS = { CLIENT: 'sécret / +:%', HMAC: 'h'.repeat(32) }
const TOKEN = 'an-opaque.token~of/user+1=='
const good = { active: true, sub: 'user-1', exp: NOW + 600, plan: 'pro' }

async function start (t: Test, entry: Partial<IntrospectionEntry> = {}, others: CallerEntry[] = []) {
  const server = await startHostileIssuer(t, answers(good))
  const introspection: IntrospectionEntry = {
    issuer: ISSUER, url: `${server.url}/introspect`, client_id: 'mint:1', client_secret_env: 'CLIENT', ...entry
  }
  return { server, ...await serve(t, [{ introspection }, { guest: {} }, ...others], { secrets: SECRETS }) }
}

t.test('A41: a token that is not active for us is refused, and the refusal is not cached', async (t) => {
  const { server, ask } = await start(t)
  const bad: Record<string, object[]> = {
    token_not_active: [
      {}, { sub: 'user-1' },
      ...['true', 1, 'active', null, [true], { true: true }, false].map((active) => ({ ...good, active }))
    ],
    token_expired: [NOW, NOW - 1, 0, -1, String(NOW + 600), null, 1e300].map((exp) => ({ ...good, exp })),
    token_not_yet_valid: [NOW + 1, 'soon', null].map((nbf) => ({ ...good, nbf })),
    issuer_mismatch: [ISSUER.slice(0, -1), 'https://evil.example', null, [ISSUER]].map((iss) => ({ ...good, iss })),
    audience_mismatch: ['other-api', ['other-api'], [], '', null, 'mint:10', ['mint:1', 7]].map(
      (aud) => ({ ...good, aud })
    ),
    token_type_not_accepted: ['DPoP', 'mac', '', 'N_A', null, ['Bearer']].map(
      (type) => ({ ...good, token_type: type })
    ),
    token_bound_to_key: [{ ...good, cnf: { 'x5t#S256': 'AAAA' } }],
    subject_malformed: [undefined, '', ' user-1', 7.5, null, { id: 'user-1' }, 's'.repeat(256)].map(
      (sub) => ({ ...good, sub })
    )
  }
  for (const [reason, verdicts] of Object.entries(bad)) {
    for (const verdict of verdicts) {
      server.behave(answers(verdict))
      assertRefused(t, await ask(bearer(TOKEN)), reason, `${reason}: ${JSON.stringify(verdict)}`)
    }
  }
  server.behave(answers(good))
  assertPassed(t, await ask(bearer(TOKEN)), {
    issuer: ISSUER, subject: 'user-1', expiresAt: NOW + 600, claims: { plan: 'pro', iss: ISSUER, sub: 'user-1' }
  })
})

t.test('fault 24: an authorization server that is down, or refuses our client secret, is a 503', async (t) => {
  const { server, ask } = await start(t)
  const failures: [string, Parameters<HostileIssuer['behave']>[0]][] = [
    ...['<html></html>', '', '[]', '[{"active":true,"sub":"user-1"}]', 'true', '{"active":true'].map(
      (body) => ['checker_not_a_json_object', answers(body)] as const
    ),
    ...[201, 204, 302, 400, 401, 403, 500, 503].map(
      (status) => ['checker_not_200', answers(status === 204 ? '' : good, status, { location: '/' })] as const
    ),
    ['checker_too_large', floods] as const, ['checker_unreachable', hangsUp] as const
  ].map(([reason, behaviour]) => [reason, behaviour])
  for (const [reason, behaviour] of failures) {
    server.behave(behaviour)
    assertUnavailable(t, await ask(bearer(TOKEN)), reason)
  }
  server.behave(answers(good))
  assertPassed(t, await ask(bearer(TOKEN)), { subject: 'user-1' })
})

t.test('fault 24: one that is slow, or hangs before TLS, times out, and checks then pause', async (t) => {
  shortenTimeouts(t)
  for (const url of [undefined, `https://127.0.0.1:${(await startSilence(t)).port}/introspect`]) {
    const { server, ask } = await start(t, url === undefined ? {} : { url })
    server.behave(() => {})
    const startedAt = performance.now()
    await Promise.all(Array.from({ length: 5 }, (_, i) => ask(bearer(`token-${i}`))))
    assertUnavailable(t, await ask(bearer(TOKEN)), 'checker_paused')
    t.ok(performance.now() - startedAt < 2500, `${performance.now() - startedAt} ms`)
  }
})

t.test('A41: the request is that of RFC 7662', async (t) => {
  const { server, ask } = await start(t)
  assertPassed(t, await ask([...bearer(TOKEN), ['x-forwarded-for', '1.2.3.4']]), { subject: 'user-1' })
  const [asked] = server.requests
  t.match(asked, { method: 'POST', path: '/introspect', body: new URLSearchParams({ token: TOKEN }).toString() })
  t.match(
    asked?.headers, { accept: 'application/json', 'content-type': 'application/x-www-form-urlencoded;charset=UTF-8' }
  )
  t.equal(asked?.headers['x-forwarded-for'], undefined)
  // Both parts are form-encoded before they are joined (RFC 6749, section 2.3.1).
  t.equal(
    Buffer.from(String(asked?.headers.authorization).slice(6), 'base64').toString(),
    'mint%3A1:s%C3%A9cret+%2F+%2B%3A%25'
  )
})

t.test('A41: optional members of the response may be absent', async (t) => {
  const { server, ask } = await start(t)
  for (const [i, verdict] of [
    { exp: undefined }, { iss: ISSUER }, { aud: 'mint:1' }, { aud: ['x', 'mint:1'] }, { token_type: 'bearer' },
    { token_type: 'Bearer' }, { nbf: NOW }
  ].entries()) {
    server.behave(answers({ ...good, ...verdict }))
    assertPassed(t, await ask(bearer(`token-${i}`)), { subject: 'user-1' }, JSON.stringify(verdict))
  }
})

t.test('A41: a configured audience must be in the response', async (t) => {
  const { server, ask } = await start(t, { audience: ['voice-app', 'voice-app-2'] })
  for (const aud of [undefined, 'mint:1', 'voice']) {
    server.behave(answers({ ...good, aud }))
    assertRefused(t, await ask(bearer(TOKEN)), 'audience_mismatch')
  }
  server.behave(answers({ ...good, aud: ['x', 'voice-app-2'] }))
  assertPassed(t, await ask(bearer(TOKEN)), { subject: 'user-1' })
})

t.test('A42, fault 24: a pass is cached for 30 seconds, by the whole token, and not beyond its expiry', async (t) => {
  const { server, ask, clock } = await start(t)
  server.behave(answers({ ...good, exp: NOW + 40 }))
  assertPassed(t, await ask(bearer(TOKEN)), { subject: 'user-1' })
  server.behave(answers({ active: false }))
  for (const other of [TOKEN.slice(0, -1), `${TOKEN}=`, `x${TOKEN}`]) {
    assertRefused(t, await ask(bearer(other)), 'token_not_active')
  }
  await clock.advance(29_999)
  assertPassed(t, await ask(bearer(TOKEN)), { subject: 'user-1' })
  await clock.advance(1)
  assertRefused(t, await ask(bearer(TOKEN)), 'token_not_active', 'revoked meanwhile')
  server.behave(answers({ ...good, exp: NOW + 40 }))
  assertPassed(t, await ask(bearer(TOKEN)), { subject: 'user-1' })
  await clock.advance(10_000)
  assertRefused(t, await ask(bearer(TOKEN)), 'token_expired')
})

t.test('A41: introspection beside JWTs takes opaque tokens and JWTs of its own issuer', async (t) => {
  const jwt = { issuer: 'https://jwt.example.com', audience: 'voice-app', secret_env: 'HMAC', cookie: 'token' }
  const { server, ask } = await start(t, {}, [{ jwt }])
  const token = (iss: string) => forgeHmac(SECRETS.HMAC, { iss, sub: 'user-2', aud: 'voice-app', exp: NOW + 600 })

  assertRefused(t, await ask(bearer(token('https://unknown.example.com'))), 'issuer_unknown', 'a JWT is not opaque')
  assertRefused(
    t, await ask(bearer(forgeHmac('wrong', { iss: jwt.issuer }))), 'signature_invalid', 'and a failure is final'
  )
  assertRefused(
    t,
    await ask([['cookie', `token=${TOKEN}`], ['origin', 'https://app.example.com']]),
    'token_malformed',
    'nor is a cookie a bearer token'
  )
  assertPassed(t, await ask(bearer(token(jwt.issuer))), { subject: 'user-2' })
  t.equal(server.requests.length, 0)
  assertPassed(
    t, await ask(bearer(token(ISSUER))), { issuer: ISSUER, subject: 'user-1' }, 'a JWT of the introspected issuer'
  )
  assertPassed(t, await ask(bearer(`${encrypted}.AAAA`)), { issuer: ISSUER }, 'an encrypted token')
  t.equal(server.requests.length, 2)
})

t.test('A41: without jwt entries, any token is opaque', async (t) => {
  const { server, ask } = await start(t)
  assertPassed(t, await ask(bearer(forgeHmac('any', { iss: 'https://elsewhere.example.com' }))), { issuer: ISSUER })
  t.equal(server.requests.length, 1)
  assertRefused(t, await ask([['authorization', 'Basic eDp5']]), 'authorization_malformed')
})

const encrypted = [JSON.stringify({ alg: 'dir', enc: 'A256GCM' }), '', 'iv', 'text'].map((part) =>
  Buffer.from(part).toString('base64url')).join('.')

// Against a real OpenID provider: its tokens pass, revoked ones and those of retired keys do not.

import t, { type Test } from 'tap'
import type { CallerEntry } from '../../src/callers/schema.ts'
import { JWT_API, OPAQUE_API, RESOURCE_SERVER, startOidcProvider } from '../support/oidc-provider.ts'
import { assertPassed, assertRefused, assertUnavailable, bearer, createClock, serve } from './harness.ts'

/** A clock that starts at the system's time, which the provider uses, and then stands still. */
function createPresentClock () {
  const clock = createClock()
  clock.setWall(Date.now())
  return clock
}

async function start (
  t: Test, entriesFor: (issuer: string, introspection: string) => CallerEntry[], secret = RESOURCE_SERVER.secret
) {
  const provider = await startOidcProvider(t)
  return {
    provider,
    ...await serve(
      t, entriesFor(provider.issuer, provider.introspection), { secrets: { KEY: secret }, clock: createPresentClock() }
    )
  }
}

t.test('fault 19, fault 20: JWT access tokens, with keys from discovery and a rotation in use', async (t) => {
  const { provider, ask, clock } = await start(t, (issuer) => [{ jwt: { issuer, audience: JWT_API, type: 'at+jwt' } }])
  const { accessToken: token, idToken } = await provider.logIn('jane', JWT_API)
  const { accessToken: opaque } = await provider.logIn('jane', OPAQUE_API)

  assertRefused(t, await ask(bearer(opaque)), 'token_malformed')
  assertRefused(t, await ask(bearer(idToken)), 'type_not_accepted', 'an ID token is for the app')
  assertPassed(
    t, await ask(bearer(token)), { issuer: provider.issuer, subject: 'jane', claims: { plan: 'pro', client_id: 'spa' } }
  )
  assertPassed(t, await ask(bearer(await provider.clientCredentials(JWT_API))), { subject: 'spa' })

  provider.rotate(true)
  assertPassed(t, await ask(bearer((await provider.logIn('joe', JWT_API)).accessToken)), { subject: 'joe' })
  assertPassed(t, await ask(bearer(await provider.clientCredentials(JWT_API))), { subject: 'spa' })
  assertPassed(t, await ask(bearer(token)), { subject: 'jane' })

  provider.rotate(false)
  await clock.advance(5 * 60_000)
  assertRefused(t, await ask(bearer(token)), 'key_unknown')
  t.same(
    new Set(provider.requests.filter((path) => /jwks|well-known/.test(path))),
    new Set(['/.well-known/openid-configuration', '/jwks'])
  )
})

t.test('A20: tokens for another audience are refused', async (t) => {
  const { provider, ask } = await start(t, (issuer) => [{ jwt: { issuer, audience: 'urn:other-api' } }])
  const { accessToken, idToken } = await provider.logIn('jane', JWT_API)
  for (const token of [accessToken, idToken]) assertRefused(t, await ask(bearer(token)), 'audience_mismatch')
})

t.test('A41, A42: opaque tokens, introspected and revoked', async (t) => {
  const { provider, ask, clock } = await start(t, (issuer, url) => [
    {
      introspection: {
        issuer, url, client_id: RESOURCE_SERVER.id, client_secret_env: 'KEY', audience: [OPAQUE_API, JWT_API]
      }
    }
  ])
  const { accessToken: token } = await provider.logIn('jane', OPAQUE_API)
  assertRefused(t, await ask(bearer(`${token}_`)), 'token_not_active')
  assertRefused(
    t, await ask(bearer(await provider.clientCredentials(OPAQUE_API))), 'subject_malformed', 'a client is not a user'
  )
  assertPassed(t, await ask(bearer(token)), {
    issuer: provider.issuer, subject: 'jane', claims: { plan: 'pro', client_id: 'spa', sub: 'jane' }
  })
  const asked = provider.requests.length
  assertPassed(t, await ask(bearer(token)), { subject: 'jane' })
  t.equal(provider.requests.length, asked, 'cached')

  await provider.revoke(token)
  await clock.advance(30_000)
  assertRefused(t, await ask(bearer(token)), 'token_not_active')
  assertUnavailable(
    t,
    await ask(bearer((await provider.logIn('jane', JWT_API)).accessToken)),
    'checker_not_200',
    'this provider does not introspect its JWTs'
  )
})

t.test('fault 24: a client secret that the provider refuses is a 503', async (t) => {
  const { provider, ask } = await start(t, (issuer, url) =>
    [{ introspection: { issuer, url, client_id: RESOURCE_SERVER.id, client_secret_env: 'KEY' } }], 'wrong')
  assertUnavailable(t, await ask(bearer((await provider.logIn('jane', OPAQUE_API)).accessToken)), 'checker_not_200')
})

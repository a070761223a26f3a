// A real OpenID provider: what it issues passes, what it revokes or no longer vouches for does not.

import t, { type Test } from 'tap'
import type { CallerEntry } from '../../src/callers/schema.ts'
import { JWT_API, OPAQUE_API, RESOURCE_SERVER, startOidcProvider } from '../support/oidc-provider.ts'
import { assertPassed, assertRefused, assertUnavailable, bearer, createClock, serve } from './harness.ts'

/** The provider goes by the system's time, so we do: only as far as the test lets it run. */
function present () {
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
      t, entriesFor(provider.issuer, provider.introspection), { secrets: { KEY: secret }, clock: present() }
    )
  }
}

t.test('JWT access tokens, with keys found by discovery and rotated while they are used', async (t) => {
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
    new Set(provider.asked.filter((path) => /jwks|well-known/.test(path))),
    new Set(['/.well-known/openid-configuration', '/jwks'])
  )
})

t.test('tokens for somebody else', async (t) => {
  const { provider, ask } = await start(t, (issuer) => [{ jwt: { issuer, audience: 'urn:other-api' } }])
  const { accessToken, idToken } = await provider.logIn('jane', JWT_API)
  for (const token of [accessToken, idToken]) assertRefused(t, await ask(bearer(token)), 'audience_mismatch')
})

t.test('opaque tokens, introspected and revoked', async (t) => {
  const { provider, ask, clock } = await start(t, (issuer, url) => [
    {
      introspection: {
        issuer, url, client_id: RESOURCE_SERVER.id, client_secret_env: 'KEY', audience: [OPAQUE_API, JWT_API]
      }
    }
  ])
  const { accessToken: token } = await provider.logIn('jane', OPAQUE_API)
  assertRefused(t, await ask(bearer(`${token.slice(0, -1)}_`)), 'token_not_active')
  assertRefused(
    t, await ask(bearer(await provider.clientCredentials(OPAQUE_API))), 'subject_malformed', 'a client is no user'
  )
  assertPassed(t, await ask(bearer(token)), {
    issuer: provider.issuer, subject: 'jane', claims: { plan: 'pro', client_id: 'spa', sub: 'jane' }
  })
  const asked = provider.asked.length
  assertPassed(t, await ask(bearer(token)), { subject: 'jane' })
  t.equal(provider.asked.length, asked, 'remembered')

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

t.test('fault 24: a secret that the provider does not know is our failure', async (t) => {
  const { provider, ask } = await start(t, (issuer, url) =>
    [{ introspection: { issuer, url, client_id: RESOURCE_SERVER.id, client_secret_env: 'KEY' } }], 'wrong')
  assertUnavailable(t, await ask(bearer((await provider.logIn('jane', OPAQUE_API)).accessToken)), 'checker_not_200')
})

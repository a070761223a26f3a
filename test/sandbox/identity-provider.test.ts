import t from 'tap'
import { createRemoteJWKSet, jwtVerify } from 'jose'
import { startIdentityProvider } from '../../src/sandbox/identity-provider.ts'

t.test('nobody gets a token in the name of nobody', async (t) => {
  const { issuer, close } = await startIdentityProvider()
  t.teardown(close)
  for (const query of ['', '?user=mallory', '?user=fred&user=paula']) {
    const response = await fetch(`${issuer}/token${query}`)
    t.equal(response.status, 404)
    t.match(await response.text(), /Nobody/)
  }
})

t.test('a token of one identity provider is nothing to the next', async (t) => {
  const [first, second] = [await startIdentityProvider(), await startIdentityProvider()]
  t.teardown(() => Promise.all([first.close(), second.close()]))
  const token = await (await fetch(`${first.issuer}/token?user=fred`)).text()
  await t.rejects(jwtVerify(token, createRemoteJWKSet(new URL(`${second.issuer}/jwks`))))
})

t.test('a token verifies against what discovery names, and says who and on which plan', async (t) => {
  const { issuer, close } = await startIdentityProvider()
  t.teardown(close)
  const discovery: any = await (await fetch(`${issuer}/.well-known/openid-configuration`)).json()
  t.equal(discovery.issuer, issuer)

  const response = await fetch(`${issuer}/token?user=paula`)
  t.match(response.headers.get('content-type'), 'text/plain')
  const keys = createRemoteJWKSet(new URL(discovery.jwks_uri))
  const { payload } = await jwtVerify(await response.text(), keys, { issuer, audience: 'ephemint-sandbox', requiredClaims: ['exp', 'iat'] })
  t.match(payload, { sub: 'paula', plan: 'pro', org: { name: String } })
  t.equal(payload.exp! - payload.iat!, 3600)
})

t.test('a user is found by plan too, and any page may ask who there is', async (t) => {
  const { issuer, close } = await startIdentityProvider()
  t.teardown(close)
  t.equal(await subjectOf(`${issuer}/token?user=free`), 'fred')
  const users = await fetch(`${issuer}/users`, { headers: { origin: 'http://page.test' } })
  t.equal(users.headers.get('access-control-allow-origin'), '*')
  t.match(await users.json(), [{ sub: 'fred', plan: 'free' }, { sub: 'paula', plan: 'pro' }])
})

async function subjectOf (url: string): Promise<unknown> {
  const [, payload = ''] = (await (await fetch(url)).text()).split('.')
  return JSON.parse(Buffer.from(payload, 'base64url').toString()).sub
}

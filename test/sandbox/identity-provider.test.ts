import { createRemoteJWKSet, jwtVerify } from 'jose'
import t from 'tap'
import { startIdentityProvider } from '../../src/sandbox/identity-provider.ts'

t.test('an unknown user gets no token', async (t) => {
  const { issuer, close } = await startIdentityProvider()
  t.teardown(close)
  for (const query of ['', '?user=mallory', '?user=fred&user=paula']) {
    const response = await fetch(`${issuer}/token${query}`)
    t.equal(response.status, 404)
    t.match(await response.text(), /No such user/)
  }
})

t.test('a token of another identity provider does not verify', async (t) => {
  const [first, second] = [await startIdentityProvider(), await startIdentityProvider()]
  t.teardown(() => Promise.all([first.close(), second.close()]))
  const token = await (await fetch(`${first.issuer}/token?user=fred`)).text()
  await t.rejects(jwtVerify(token, createRemoteJWKSet(new URL(`${second.issuer}/jwks`))))
})

t.test('a token verifies with the keys that discovery names, and has the user and the plan as claims', async (t) => {
  const { issuer, close } = await startIdentityProvider()
  t.teardown(close)
  const discovery: any = await (await fetch(`${issuer}/.well-known/openid-configuration`)).json()
  t.equal(discovery.issuer, issuer)

  const response = await fetch(`${issuer}/token?user=paula`)
  t.match(response.headers.get('content-type'), 'text/plain')
  const keys = createRemoteJWKSet(new URL(discovery.jwks_uri))
  const { payload } = await jwtVerify(
    await response.text(), keys, { issuer, audience: 'ephemint-sandbox', requiredClaims: ['exp', 'iat'] }
  )
  t.match(payload, { sub: 'paula', plan: 'pro', org: { name: String } })
  t.equal(payload.exp! - payload.iat!, 3600)
})

t.test('a user can be named by plan, and any origin may list the users', async (t) => {
  const { issuer, close } = await startIdentityProvider()
  t.teardown(close)
  t.equal(await subjectOf(`${issuer}/token?user=free`), 'fred')
  const users = await fetch(`${issuer}/users`, { headers: { origin: 'http://page.test' } })
  t.equal(users.headers.get('access-control-allow-origin'), 'http://page.test')
  t.match(await users.json(), [{ sub: 'fred', plan: 'free' }, { sub: 'paula', plan: 'pro' }])
})

t.test('an opaque token is introspected with the client secret only', async (t) => {
  const { issuer, introspectionSecret, close } = await startIdentityProvider()
  t.teardown(close)
  const token = await (await fetch(`${issuer}/token?user=paula&form=opaque`)).text()
  t.match(token, /^[0-9a-f]{48}$/)
  const introspect = async (secret: string, token: string) => {
    const response = await fetch(`${issuer}/introspect`, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa(`ephemint%2Dsandbox:${secret}`)}` },
      body: new URLSearchParams({ token })
    })
    return { status: response.status, body: await response.json() }
  }
  t.equal((await introspect('wrong', token)).status, 401)
  t.equal((await fetch(`${issuer}/introspect`, { method: 'POST', body: new URLSearchParams({ token }) })).status, 401)
  t.same((await introspect(introspectionSecret, 'no-token')).body, { active: false })
  t.match((await introspect(introspectionSecret, token)).body, { active: true, sub: 'paula', plan: 'pro' })
})

t.test('a session is an HttpOnly cookie, and without it the profile is 401', async (t) => {
  const { issuer, close } = await startIdentityProvider()
  t.teardown(close)
  const me = async (cookie: string) => {
    const response = await fetch(`${issuer}/api/me`, { headers: { cookie } })
    return { status: response.status, body: await response.json() }
  }
  for (const cookie of ['', 'sid=', 'sid=0123', 'other=1']) t.equal((await me(cookie)).status, 401, cookie)
  t.equal((await fetch(`${issuer}/login?user=mallory`, { method: 'POST' })).status, 404)
  t.equal((await fetch(`${issuer}/login?user=paula`)).status, 404, 'a GET does not sign in')

  const login = await fetch(`${issuer}/login?user=paula`, { method: 'POST', headers: { origin: 'http://page.test' } })
  const [, sid = '', rest] = /^(sid=\w+)(.*)$/.exec(login.headers.get('set-cookie') ?? '') ?? []
  t.equal(rest, '; Path=/; HttpOnly; SameSite=Lax')
  t.equal(login.headers.get('access-control-allow-credentials'), 'true')
  t.same(
    await me(`theme=dark; ${sid}`),
    { status: 200, body: { id: 'paula', plan: 'pro', org: { name: 'Paula & Partners' } } }
  )
  t.match((await fetch(`${issuer}/logout`, { method: 'POST' })).headers.get('set-cookie'), 'Max-Age=0')
})

async function subjectOf (url: string): Promise<unknown> {
  const [, payload = ''] = (await (await fetch(url)).text()).split('.')
  return JSON.parse(Buffer.from(payload, 'base64url').toString()).sub
}

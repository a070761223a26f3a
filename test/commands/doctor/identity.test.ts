// Whether those who vouch for callers answer, by some that do and some that should not be trusted.

import { generateKeyPairSync } from 'node:crypto'
import { exportJWK } from 'jose'
import t, { type Test } from 'tap'
import type { CallerEntry } from '../../../src/callers/schema.ts'
import { compareClocks } from '../../../src/commands/doctor/clock.ts'
import type { Finding } from '../../../src/commands/doctor/finding.ts'
import { examineCaller } from '../../../src/commands/doctor/identity.ts'
import { createSigner } from '../../callers/forge.ts'
import { answers, floods, type HostileIssuer, startHostileIssuer } from '../../support/hostile-issuer.ts'
import { RESOURCE_SERVER, startOidcProvider } from '../../support/oidc-provider.ts'

t.setTimeout(60_000)

const SECRET = 'canary-secret-'.padEnd(40, 'x')
const secrets = { env: () => SECRET, file: () => SECRET }

async function examine (t: Test, entry: CallerEntry, given = secrets): Promise<Finding> {
  const clocks = compareClocks()
  const finding = await examineCaller(entry, 0, { secrets: given, clocks }) as Finding
  t.notMatch(JSON.stringify([finding, clocks.findings()]), 'canary')
  return finding
}

const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const jwk = { ...await exportJWK(keys.publicKey), alg: 'ES256', kid: 'one' }

/** An issuer whose discovery document leads to its own keys, unless `changes` say otherwise. */
async function startIssuer (t: Test, changes: object = {}, jwks: unknown = { keys: [jwk] }): Promise<HostileIssuer> {
  const issuer = await startHostileIssuer(t)
  issuer.behave((response, request) => {
    const document = { issuer: issuer.url, jwks_uri: `${issuer.url}/keys`, ...changes }
    answers(request.url === '/keys' ? jwks : document)(response, request)
  })
  return issuer
}

t.test('an issuer with keys that can be used is well', async (t) => {
  const issuer = await startIssuer(t)
  t.same(
    await examine(t, { jwt: { issuer: issuer.url, audience: 'a' } }),
    { state: 'ok', subject: 'callers.0.jwt', says: `${issuer.url} has keys for ES256` }
  )
  t.match(
    await examine(t, { jwt: { issuer: 'https://auth.test/', jwks: `${issuer.url}/keys`, audience: 'a' } }),
    { state: 'ok' }
  )
  t.match(await examine(t, {
    jwt: {
      issuer: issuer.url, audience: 'a', secret_env: 'X', jwks: `${issuer.url}/keys`, algorithms: ['HS256', 'ES256']
    }
  }), { says: /keys for ES256$/ })
})

t.test('a real OpenID provider is well, and what it says of an opaque token', async (t) => {
  const { issuer, introspection } = await startOidcProvider(t)
  t.match(await examine(t, { jwt: { issuer, audience: 'a' } }), { state: 'ok' })
  const entry = { issuer, url: introspection, client_id: RESOURCE_SERVER.id, client_secret_env: 'X' }
  t.match(
    await examine(t, { introspection: entry }, { env: () => RESOURCE_SERVER.secret, file: secrets.file }),
    { state: 'ok', says: /takes our client_id and secret/ }
  )
  t.match(
    await examine(t, { introspection: entry }),
    { state: 'wrong', says: /no verdict on a token: not_200$/, advice: /client_id and the secret/ }
  )
})

t.test('an issuer whose keys cannot be used says why, and what to do', async (t) => {
  const rows: [changes: object, jwks: unknown, says: RegExp, advice: RegExp][] = [
    [{ issuer: 'https://other.test' }, {}, /discovery_names_another_issuer/, /slash at its end/],
    [{ jwks_uri: 'http://evil.test/keys' }, {}, /no_safe_jwks_uri/, /insecure_http/],
    [{}, { keys: [] }, /no_keys/, /publish/],
    [{}, { keys: [{ kty: 'oct', k: 'x' }] }, /secret_key_published/, /at once/],
    [{}, { keys: 7 }, /not_a_key_set/, /mend the address/],
    [{}, { keys: [{ ...jwk, use: 'enc' }] }, /no_usable_keys/, /2048/],
    [{}, { keys: [createSigner('ES384').jwk] }, /none of them is for RS256, PS256, ES256, EdDSA/, /algorithms:/]
  ]
  for (const [changes, jwks, says, advice] of rows) {
    const issuer = await startIssuer(t, changes, jwks)
    t.match(
      await examine(t, { jwt: { issuer: issuer.url, audience: 'a' } }),
      { state: 'wrong', subject: 'callers.0.jwt', says, advice }
    )
  }
  const lost = await startHostileIssuer(t, answers({}, 404))
  t.match(
    await examine(t, { jwt: { issuer: lost.url, audience: 'a' } }),
    { says: /answers 404, but no keys came of it: not_200/, advice: /jwks:/ }
  )
})

t.test('whoever does not answer, or not in a way that can be read, is told', async (t) => {
  const gone = await startHostileIssuer(t)
  await gone.close()
  const flood = await startHostileIssuer(t, floods)
  for (const [url, says] of [[gone.url, /nothing listens/], [flood.url, /no answer that can be read/]] as const) {
    t.match(await examine(t, { jwt: { issuer: url, audience: 'a' } }), { state: 'wrong', says })
    t.match(await examine(
      t, { forward: { issuer: 'app', url: `${url}/me?key=canary`, cookie: 'sid', pass: ['cookie'], subject: '/id' } }
    ), { state: 'wrong', says })
    t.match(
      await examine(t, { introspection: { issuer: 'as', url, client_id: 'c', client_secret_env: 'X' } }),
      { state: 'wrong', says }
    )
  }
})

t.test('nobody is asked who has nothing to say', async (t) => {
  t.match(
    await examine(t, { jwt: { issuer: 'https://auth.test/', audience: 'a', secret_env: 'X' } }),
    { state: 'ok', says: /nobody to ask/ }
  )
  for (const entry of [
    { guest: {} },
    { gateway: { issuer: 'g', header: 'x-user', from: ['10.0.0.0/8'], secret_header: 'x-secret', secret_env: 'X' } }
  ]) {
    t.equal(await examineCaller(entry, 0, { secrets, clocks: compareClocks() }), null)
  }
})

t.test('an app\'s endpoint must name nobody where nobody is signed in', async (t) => {
  const rows: [status: number, body: unknown, state: string, says: RegExp, advice?: RegExp][] = [
    [401, {}, 'ok', /answers 401/],
    [403, {}, 'ok', /answers 403/],
    [302, {}, 'ok', /answers 302/],
    [200, { user: null }, 'ok', /names nobody/],
    [200, '<h1>Sign in</h1>', 'ok', /names nobody/],
    [200, { id: 'u1' }, 'wrong', /names a user/, /would be that user/],
    [404, {}, 'wrong', /answers 404/, /mend url/],
    [500, {}, 'wrong', /answers 500/, /401/]
  ]
  for (const [status, body, state, says, advice] of rows) {
    const app = await startHostileIssuer(t, answers(body, status))
    const finding = await examine(
      t, { forward: { issuer: 'app', url: `${app.url}/me`, cookie: 'sid', pass: ['cookie'], subject: '/id' } }
    )
    t.match(
      finding, { state, subject: 'callers.0.forward', says, ...advice === undefined ? {} : { advice } }, `${status}`
    )
    t.equal(app.asked.length, 1)
    t.equal(app.asked[0]?.headers.cookie, undefined)
  }
})

t.test('an authorization server that vouches for anything is dangerous', async (t) => {
  const server = await startHostileIssuer(t, answers({ active: true, sub: 'u1' }))
  const finding = await examine(
    t, { introspection: { issuer: 'as', url: `${server.url}/introspect`, client_id: 'c', client_secret_env: 'X' } }
  )
  t.match(finding, { state: 'wrong', says: /vouches for a token that does not exist/, advice: /anyone would pass/ })
})

// The doctor's check of identity providers, against some that work and some that must not be trusted.

import { generateKeyPairSync } from 'node:crypto'
import { exportJWK } from 'jose'
import t, { type Test } from 'tap'
import type { CallerEntry } from '../../../src/callers/schema.ts'
import { compareClocks } from '../../../src/commands/doctor/clock.ts'
import type { Finding } from '../../../src/commands/doctor/finding.ts'
import { checkCaller } from '../../../src/commands/doctor/identity.ts'
import { NO_PROXIES } from '../../../src/config/proxies.ts'
import { createSigner } from '../../callers/forge.ts'
import { answers, floods, type HostileIssuer, startHostileIssuer } from '../../support/hostile-issuer.ts'
import { RESOURCE_SERVER, startOidcProvider } from '../../support/oidc-provider.ts'

const SECRET = 'canary-secret-'.padEnd(40, 'x')
const secrets = { env: () => SECRET, file: () => SECRET }

async function check (t: Test, entry: CallerEntry, given = secrets): Promise<Finding> {
  const clocks = compareClocks()
  const finding = await checkCaller(entry, 0, { secrets: given, clocks, proxies: NO_PROXIES }) as Finding
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

t.test('an issuer with usable keys is ok', async (t) => {
  const issuer = await startIssuer(t)
  t.same(
    await check(t, { jwt: { issuer: issuer.url, audience: 'a' } }),
    { state: 'ok', subject: 'callers.0.jwt', message: `${issuer.url} has keys for ES256` }
  )
  t.match(
    await check(t, { jwt: { issuer: 'https://auth.test/', jwks: `${issuer.url}/keys`, audience: 'a' } }),
    { state: 'ok' }
  )
  t.match(await check(t, {
    jwt: {
      issuer: issuer.url, audience: 'a', secret_env: 'X', jwks: `${issuer.url}/keys`, algorithms: ['HS256', 'ES256']
    }
  }), { message: /keys for ES256$/ })
})

t.test('a real OpenID provider is ok, and so is its introspection of an opaque token', async (t) => {
  const { issuer, introspection } = await startOidcProvider(t)
  t.match(await check(t, { jwt: { issuer, audience: 'a' } }), { state: 'ok' })
  const entry = { issuer, url: introspection, client_id: RESOURCE_SERVER.id, client_secret_env: 'X' }
  t.match(
    await check(t, { introspection: entry }, { env: () => RESOURCE_SERVER.secret, file: secrets.file }),
    { state: 'ok', message: /accepts our client_id and secret/ }
  )
  t.match(
    await check(t, { introspection: entry }),
    { state: 'wrong', message: /does not answer about a token: not_200$/, advice: /client_id and the secret/ }
  )
})

t.test('field F13: an endpoint that names a user in a header, without a credential, is wrong', async (t) => {
  const app = await startHostileIssuer(t)
  const forward = { issuer: 'app', url: app.url, cookie: 'sid', pass: ['cookie'], subject_header: 'X-User' }
  for (const [status, headers, state] of [
    [202, { 'x-user': 'jane' }, 'wrong'], [202, {}, 'ok'], [204, {}, 'ok'], [401, { 'x-user': 'jane' }, 'ok'],
    [500, {}, 'wrong']
  ] as const) {
    app.behave(answers('', status, headers))
    t.match(await check(t, { forward }), { state }, `${status} ${JSON.stringify(headers)}`)
  }
})

t.test('an issuer without usable keys is reported with the cause and advice', async (t) => {
  const rows: [changes: object, jwks: unknown, message: RegExp, advice: RegExp][] = [
    [{ issuer: 'https://other.test' }, {}, /discovery_names_another_issuer/, /slash at the end/],
    [{ jwks_uri: 'http://evil.test/keys' }, {}, /no_safe_jwks_uri/, /insecure_http/],
    [{}, { keys: [] }, /no_keys/, /publish/],
    [{}, { keys: [{ kty: 'oct', k: 'x' }] }, /secret_key_published/, /at once/],
    [{}, { keys: 7 }, /not_a_key_set/, /fix the address/],
    [{}, { keys: [{ ...jwk, use: 'enc' }] }, /no_usable_keys/, /2048/],
    [{}, { keys: [createSigner('ES384').jwk] }, /but none for RS256, PS256, ES256, EdDSA/, /algorithms:/]
  ]
  for (const [changes, jwks, message, advice] of rows) {
    const issuer = await startIssuer(t, changes, jwks)
    t.match(
      await check(t, { jwt: { issuer: issuer.url, audience: 'a' } }),
      { state: 'wrong', subject: 'callers.0.jwt', message, advice }
    )
  }
  const lost = await startHostileIssuer(t, answers({}, 404))
  t.match(
    await check(t, { jwt: { issuer: lost.url, audience: 'a' } }),
    { message: /answers 404, but yields no keys: not_200/, advice: /jwks:/ }
  )
})

t.test('a provider that does not answer, or not with valid HTTP, is reported', async (t) => {
  const gone = await startHostileIssuer(t)
  await gone.close()
  const flood = await startHostileIssuer(t, floods)
  for (const [url, message] of [[gone.url, /nothing listens/], [flood.url, /not valid HTTP/]] as const) {
    t.match(await check(t, { jwt: { issuer: url, audience: 'a' } }), { state: 'wrong', message })
    t.match(await check(
      t, { forward: { issuer: 'app', url: `${url}/me?key=canary`, cookie: 'sid', pass: ['cookie'], subject: '/id' } }
    ), { state: 'wrong', message })
    t.match(
      await check(t, { introspection: { issuer: 'as', url, client_id: 'c', client_secret_env: 'X' } }),
      { state: 'wrong', message }
    )
  }
})

t.test('entries without an endpoint are not checked', async (t) => {
  t.match(
    await check(t, { jwt: { issuer: 'https://auth.test/', audience: 'a', secret_env: 'X' } }),
    { state: 'ok', message: /nothing to request/ }
  )
  for (const entry of [
    { guest: {} },
    { gateway: { issuer: 'g', header: 'x-user', from: ['10.0.0.0/8'], secret_header: 'x-secret', secret_env: 'X' } }
  ]) {
    t.equal(await checkCaller(entry, 0, { secrets, clocks: compareClocks(), proxies: NO_PROXIES }), null)
  }
})

t.test('an app\'s endpoint must not name a user without a credential', async (t) => {
  const rows: [status: number, body: unknown, state: string, message: RegExp, advice?: RegExp][] = [
    [401, {}, 'ok', /answers 401/],
    [403, {}, 'ok', /answers 403/],
    [302, {}, 'ok', /answers 302/],
    [200, { user: null }, 'ok', /names no user/],
    [200, '<h1>Sign in</h1>', 'ok', /names no user/],
    [200, { id: 'u1' }, 'wrong', /names a user/, /would be that user/],
    [404, {}, 'wrong', /answers 404/, /fix url/],
    [500, {}, 'wrong', /answers 500/, /401/]
  ]
  for (const [status, body, state, message, advice] of rows) {
    const app = await startHostileIssuer(t, answers(body, status))
    const finding = await check(
      t, { forward: { issuer: 'app', url: `${app.url}/me`, cookie: 'sid', pass: ['cookie'], subject: '/id' } }
    )
    t.match(
      finding, { state, subject: 'callers.0.forward', message, ...advice === undefined ? {} : { advice } }, `${status}`
    )
    t.equal(app.requests.length, 1)
    t.equal(app.requests[0]?.headers.cookie, undefined)
  }
})

t.test('an authorization server that accepts any token is reported as dangerous', async (t) => {
  const server = await startHostileIssuer(t, answers({ active: true, sub: 'u1' }))
  const finding = await check(
    t, { introspection: { issuer: 'as', url: `${server.url}/introspect`, client_id: 'c', client_secret_env: 'X' } }
  )
  t.match(finding, { state: 'wrong', message: /accepts a token that does not exist/, advice: /anyone would pass/ })
})

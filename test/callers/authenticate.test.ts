// Problems of the callers' entries, all at once, by path, with the name of a secret and never its value (A24).

import { createPublicKey } from 'node:crypto'
import t from 'tap'
import { compileCallers } from '../../src/callers/authenticate.ts'
import { createKeySets } from '../../src/callers/jwks.ts'
import type { CallerEntry } from '../../src/callers/schema.ts'
import { readOrigins } from '../../src/config/origins.ts'
import { createSigner } from './forge.ts'
import { createLog, secretSource, SITE } from './harness.ts'

const pem = createSigner('RS256').publicKey.export({ format: 'pem', type: 'spki' }) as string
const SECRETS = {
  GOOD: 'g'.repeat(32),
  SHORT: 'canary-of-31-bytes-0123456789ab',
  WEAK: 'secret',
  PEM: pem,
  INDENTED: `\ufeff  ${pem}`,
  JWK: JSON.stringify(createPublicKey(pem).export({ format: 'jwk' })),
  SSH: `ssh-rsa ${'A'.repeat(64)}`
}

function compile (entries: CallerEntry[], origins = [SITE]) {
  const log = createLog()
  return compileCallers(
    entries, { secrets: secretSource(SECRETS), log, keySets: createKeySets({ log }), allowedOrigins: new Set(origins) }
  )
}
const jwt = (entry: object): CallerEntry =>
  ({ jwt: { issuer: 'https://auth.example.com/', audience: 'voice-app', ...entry } })
const forward = (entry: object): CallerEntry => ({
  forward: {
    issuer: 'app', url: 'https://app.example.com/api/me', cookie: 'sid', pass: ['cookie'], subject: '/id', ...entry
  }
})
const introspection = (entry: object): CallerEntry => ({
  introspection: {
    issuer: 'as', url: 'https://as.example.com/introspect', client_id: 'mint', client_secret_env: 'GOOD', ...entry
  }
})
const gateway = (entry: object): CallerEntry => ({
  gateway: {
    issuer: 'gw', header: 'x-user', from: ['10.0.0.0/8'], secret_header: 'x-secret', secret_env: 'GOOD', ...entry
  }
})

const PROBLEMS: [string, CallerEntry[], [path: string, problem: RegExp][]][] = [
  ['no audience', [jwt({ audience: undefined })], [['callers.0.jwt.audience', /require/]]],
  ['no https', [jwt({ issuer: 'http://auth.example.com/' })], [['callers.0.jwt.issuer', /https/]]],
  ['no URL to discover', [jwt({ issuer: 'my-app' })], [['callers.0.jwt.issuer', /URL/]]],
  ['keys over http', [jwt({ issuer: 'my-app', jwks: 'http://10.0.0.1/keys' })], [['callers.0.jwt.jwks', /https/]]],
  [
    'keys over something else', [jwt({ jwks: 'file:///etc/passwd', insecure_http: true })],
    [['callers.0.jwt.jwks', /https/]]
  ],
  ['keys with a password', [jwt({ jwks: 'https://user:canary@keys.example.com/' })], [['callers.0.jwt.jwks', /user/]]],
  [
    'a short secret', [jwt({ secret_env: ['GOOD', 'SHORT'] })],
    [['callers.0.jwt.secret_env.1', /^names SHORT, .*32 bytes/]]
  ],
  ['a weak secret', [jwt({ secret_file: 'WEAK' })], [['callers.0.jwt.secret_file', /^names WEAK, .*32 bytes/]]],
  [
    'a secret too short for its hash', [jwt({ secret_env: 'GOOD', algorithms: ['HS256', 'HS512'] })],
    [['callers.0.jwt.secret_env', /64 bytes/]]
  ],
  ...['PEM', 'INDENTED', 'JWK', 'SSH'].map((name): typeof PROBLEMS[number] =>
    [`a public key (${name}) as a secret`, [jwt({ secret_env: name })], [['callers.0.jwt.secret_env', /holds a key/]]]),
  ['a secret that is missing', [jwt({ secret_env: 'MISSING' })], [['callers.0.jwt.secret_env', /MISSING/]]],
  ['HMAC without a secret', [jwt({ algorithms: ['RS256', 'HS256'] })], [['callers.0.jwt.algorithms', /secret_env/]]],
  [
    'HMAC alone without a secret', [jwt({ algorithms: ['HS256'] })],
    [['callers.0.jwt.algorithms', /secret_env/], ['callers.0.jwt.algorithms', /keys unused/]]
  ],
  [
    'a secret that nothing uses',
    [jwt({ secret_env: 'GOOD', jwks: 'https://auth.example.com/keys', algorithms: ['RS256'] })],
    [['callers.0.jwt.algorithms', /secret unused/]]
  ],
  [
    'public keys beside a secret, but no keys', [jwt({ secret_env: 'GOOD', algorithms: ['RS256', 'HS256'] })],
    [['callers.0.jwt.algorithms', /jwks:/]]
  ],
  [
    'keys that nothing uses',
    [jwt({ secret_env: 'GOOD', jwks: 'https://auth.example.com/keys', algorithms: ['HS256'] })],
    [['callers.0.jwt.algorithms', /keys unused/]]
  ],
  [
    'one issuer twice', [jwt({}), jwt({ audience: 'other' }), forward({ issuer: 'https://auth.example.com/' })],
    [['callers.1.jwt.issuer', /another entry/], ['callers.2.forward.issuer', /another entry/]]
  ],
  ['the issuer of guests', [jwt({ issuer: 'guest', secret_env: 'GOOD' }), gateway({ issuer: 'guest' })], [
    ['callers.0.jwt.issuer', /reserved/], ['callers.1.gateway.issuer', /reserved/],
    ['callers.1.gateway.issuer', /another/]
  ]],
  ['two kinds of guests', [{ guest: {} }, { guest: {} }], [['callers.1.guest.issuer', /another entry/]]],
  ['an endpoint over http', [forward({ url: 'http://app:3000/api/me' })], [['callers.0.forward.url', /insecure_http/]]],
  [
    'neither cookie nor header', [forward({ cookie: undefined, pass: ['x-session'] })],
    [['callers.0.forward', /cookie or the header/]]
  ],
  ['cookie and header', [forward({ header: 'x-session' })], [['callers.0.forward', /not both/]]],
  [
    'all cookies', [forward({ cookie: undefined, header: 'Cookie' })],
    [['callers.0.forward.header', /cookie:/], ['callers.0.forward.pass.0', /cookie:/]]
  ],
  [
    'all cookies beside a header', [forward({ cookie: undefined, header: 'x-session', pass: ['x-session', 'cookie'] })],
    [['callers.0.forward.pass.1', /cookie:/]]
  ],
  [
    'a credential that is not passed', [forward({ pass: ['user-agent'] })],
    [['callers.0.forward.pass', /must pass cookie/]]
  ],
  [
    'headers that describe the connection',
    [forward({ pass: ['cookie', 'Host', 'Content-Length', 'x_user', 'a b', 'Accept-Encoding'] })],
    [1, 2, 3, 4, 5].map((i) => [`callers.0.forward.pass.${i}`, /passed/])
  ],
  [
    'introspection over http', [introspection({ url: 'http://as.example.com/' })],
    [['callers.0.introspection.url', /https/]]
  ],
  [
    'no client secret', [introspection({ client_secret_env: undefined })],
    [['callers.0.introspection.client_secret_env', /exactly one/]]
  ],
  [
    'two client secrets', [introspection({ client_secret_file: 'GOOD' })],
    [['callers.0.introspection.client_secret_env', /exactly one/]]
  ],
  ['two introspections', [introspection({}), introspection({ issuer: 'as-2' })], [['callers', /two introspection/]]],
  ['a gateway anywhere', [gateway({
    from: ['0.0.0.0/0', '::/0', '10.0.0.0/', '10.0.0.0/33', 'fd00::/129', 'internal', '10.0.0.0/08', '10.0.0.0/8/8', '']
  })], [0, 1, 2, 3, 4, 5, 6, 7, 8].map((i) => [`callers.0.gateway.from.${i}`, /range/])],
  [
    'a gateway without a secret', [gateway({ secret_env: undefined })],
    [['callers.0.gateway.secret_env', /exactly one/]]
  ],
  [
    'invalid header names', [gateway({ header: 'x_user', secret_header: 'x secret' })],
    [['callers.0.gateway.header', /hyphens/], ['callers.0.gateway.secret_header', /hyphens/]]
  ],
  [
    'a header that is its own secret', [gateway({ secret_header: 'X-User' })],
    [['callers.0.gateway.secret_header', /another/]]
  ],
  ['two for one cookie', [forward({}), forward({ issuer: 'app-2' })], [['callers', /cookie sid/]]],
  ['two for one cookie, of two kinds', [forward({}), jwt({ cookie: 'sid' })], [['callers', /cookie sid/]]],
  [
    'two for the Authorization header',
    [forward({ cookie: undefined, header: 'Authorization', pass: ['authorization'] }), jwt({})],
    [['callers', /header authorization/]]
  ]
]

t.test('A24: problems prevent the start, by path and without a value', async (t) => {
  for (const [name, entries, expected] of PROBLEMS) {
    const { problems } = compile(entries)
    t.same(problems.map(({ path }) => path), expected.map(([path]) => path), name)
    for (const [i, [, pattern]] of expected.entries()) t.match(problems[i]?.problem, pattern, name)
    const text = JSON.stringify(problems)
    for (const secret of [...Object.values(SECRETS), 'canary']) {
      t.notOk(secret.length > 6 && text.includes(secret), 'no value is quoted')
    }
  }
})

t.test('A24: valid entries have no problems', async (t) => {
  const fine: CallerEntry[][] = [
    [
      jwt({}), jwt({ issuer: 'http://localhost:3000' }), jwt({ issuer: 'http://[::1]:3000' }),
      jwt({ issuer: 'http://idp:8080', insecure_http: true })
    ],
    [
      jwt({ secret_env: ['GOOD'], jwks: 'http://127.0.0.1/keys' }),
      jwt({ issuer: 'b', secret_file: 'GOOD', audience: undefined, require: { azp: 'x' } })
    ],
    [
      jwt({ cookie: 'token' }), jwt({ issuer: 'b', secret_env: 'GOOD', cookie: 'token' }), forward({}),
      introspection({}), gateway({ from: ['10.0.0.1', '10.0.0.0/8', '::1', 'fd00::/8', '1.2.3.4/32', '::1/128'] })
    ],
    [
      forward({ url: 'http://app:3000/api/me', insecure_http: true }),
      introspection({ url: 'http://localhost/', client_secret_env: undefined, client_secret_file: 'GOOD' })
    ]
  ]
  for (const entries of fine) t.same(compile(entries).problems, [])
})

t.test('guests, and cookies without an allowed origin, cause warnings', async (t) => {
  const paths = (entries: CallerEntry[], origins?: string[]) =>
    compile(entries, origins).warnings.map(({ path }) => path)
  t.same(paths([{ guest: {} }]), ['callers.0.guest'])
  t.same(paths([forward({})]), [])
  t.same(paths([forward({})], []), ['callers'])
  t.same(paths([jwt({ cookie: 'token' })], []), ['callers'])
  t.same(paths([jwt({})], []), [])
})

t.test('fault 16: keys that were never fetched are infinitely old', async (t) => {
  t.same(
    compile([jwt({ issuer: 'a', jwks: 'http://127.0.0.1:9/keys' })]).callers.keyAges(),
    [{ issuer: 'a', ageMs: Infinity }]
  )
})

t.test('field F19: a * in CORS_ORIGINS goes with no cookie, and is warned about with guests', async (t) => {
  const allowedOrigins = readOrigins('https://app-*.example.com, https://app.test', () => t.fail())
  const review = (...entries: CallerEntry[]) => {
    const log = createLog()
    const { problems, warnings } = compileCallers(
      entries, { secrets: secretSource(SECRETS), log, keySets: createKeySets({ log }), allowedOrigins }
    )
    return { problems, warnings: warnings.filter(({ problem }) => problem.includes('CORS_ORIGINS')) }
  }
  const refused = [{ path: 'callers', problem: /^accept cookies, so CORS_ORIGINS must not have a \*/ }]
  t.match(review(jwt({ secret_env: 'GOOD', cookie: 'session' })), { problems: refused })
  t.match(review(jwt({ secret_env: 'GOOD' }), forward({})), { problems: refused })
  t.same(review(jwt({ secret_env: 'GOOD' }), introspection({}), gateway({})), { problems: [], warnings: [] })
  t.match(review({ guest: {} }), { problems: [], warnings: [{ path: 'callers', problem: /^let guests in/ }] })
})

// Cases reported from the field with identity providers: first those that must stay refused, then those that pass.

import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import fc from 'fast-check'
import type { FastifyRequest } from 'fastify'
import t, { type Test } from 'tap'
import { compileCallers } from '../../src/callers/authenticate.ts'
import { readWholeOrPieces } from '../../src/callers/credential.ts'
import { createKeySets } from '../../src/callers/jwks.ts'
import type { CallerEntry, ForwardEntry, JwtEntry } from '../../src/callers/schema.ts'
import { readSecret, secretSource as secretsOf } from '../../src/config/secrets.ts'
import type { PolicyEntry } from '../../src/policy/schema.ts'
import { compileWhen } from '../../src/policy/select.ts'
import { answers, startHostileIssuer } from '../support/hostile-issuer.ts'
import { times } from '../support/times.ts'
import { createSigner, forge, forgeHmac } from './forge.ts'
import {
  assertPassed, assertRefused, assertUnavailable, bearer, type CheckedAnswer, createLog, NOW, secretSource,
  type SentHeaders, serve,
  SITE
} from './harness.ts'

const ISSUER = 'https://auth.example.com/'
const KEY = 'k'.repeat(64)
const SECRETS = { KEY }

const claimsOf = (claims: object = {}) =>
  ({ iss: ISSUER, sub: 'user-1', aud: 'voice-app', iat: NOW - 10, exp: NOW + 600, ...claims })
const token = (claims: object = {}) => forgeHmac(KEY, claimsOf(claims))
const jwtEntry = (entry: Partial<JwtEntry> = {}): CallerEntry =>
  ({ jwt: { issuer: ISSUER, audience: 'voice-app', secret_env: 'KEY', ...entry } })
const serveJwt = (t: Test, entry: Partial<JwtEntry> = {}) =>
  serve(t, [jwtEntry(entry), { guest: {} }], { secrets: SECRETS })

async function serveForward (t: Test, entry: Partial<ForwardEntry> = {}) {
  const app = await startHostileIssuer(t, answers({ user: { id: 42 } }))
  const forward = { issuer: 'app', url: app.url, cookie: 'sid', pass: ['cookie'], subject: '/user/id', ...entry }
  return { app, ...await serve(t, [{ forward: forward as ForwardEntry }, { guest: {} }]) }
}
const cookies = (...pairs: string[]): SentHeaders => [['cookie', pairs.join('; ')], ['origin', SITE]]
const session = cookies('sid=abcdef')

/** Problems and warnings of entries, each as `path problem`. */
function review (entries: CallerEntry[], secrets: Record<string, string> = SECRETS) {
  const log = createLog()
  const { problems, warnings } = compileCallers(
    entries, { secrets: secretSource(secrets), log, keySets: createKeySets({ log }), allowedOrigins: new Set([SITE]) }
  )
  const lines = (faults: typeof problems) => faults.map(({ path, problem }) => `${path} ${problem}`)
  return { problems: lines(problems), warnings: lines(warnings) }
}

/** Each entry must have exactly these problems, in any order. */
function assertProblems (t: Test, rows: readonly (readonly [entry: CallerEntry, ...expected: RegExp[]])[]): void {
  for (const [entry, ...expected] of rows) {
    const { problems } = review([entry])
    t.equal(problems.length, expected.length, `${JSON.stringify(entry)} ${problems.join(', ')}`)
    for (const one of expected) t.ok(problems.some((problem) => one.test(problem)), `${one} in ${problems.join(', ')}`)
  }
}

const matches = (when: PolicyEntry['when'], { caller }: CheckedAnswer) =>
  caller !== undefined && compileWhen(when)(caller)

const NO_SUBJECTS = [4.2, -0.5, 2 ** 53, -(2 ** 53), true, false, null, '', ' 42', [42], { id: 42 }]

t.test('field F1: an integer that an endpoint names is a subject, and nothing else that is no text', async (t) => {
  const { app, ask } = await serveForward(t)
  for (const id of NO_SUBJECTS) {
    app.behave(answers({ user: { id } }))
    assertRefused(t, await ask(session), 'app_named_no_subject', JSON.stringify(id))
  }
  app.behave(answers('{"user":{"id":-0}}'))
  assertRefused(t, await ask(session), 'app_named_no_subject', '-0')
  app.behave(answers('{"user":{"id":1e400}}'))
  assertRefused(t, await ask(session), 'app_named_no_subject', '1e400')
  const integers = [[42, '42'], [0, '0'], [-7, '-7'], [2 ** 53 - 1, '9007199254740991']] as const
  for (const [i, [id, subject]] of integers.entries()) {
    app.behave(answers({ user: { id } }))
    assertPassed(t, await ask(cookies(`sid=integer-${i}`)), { subject, claims: { sub: subject, iss: 'app' } })
  }
})

t.test('field F1: an integer that introspection names is a subject, and nothing else that is no text', async (t) => {
  const server = await startHostileIssuer(t)
  const { ask } = await serve(t, [
    { introspection: { issuer: 'as', url: server.url, client_id: 'mint', client_secret_env: 'KEY' } }
  ], { secrets: SECRETS })
  for (const sub of NO_SUBJECTS) {
    server.behave(answers({ active: true, sub }))
    assertRefused(t, await ask(bearer('opaque')), 'subject_malformed', JSON.stringify(sub))
  }
  server.behave(answers({ active: true, sub: 42 }))
  assertPassed(t, await ask(bearer('opaque')), { subject: '42', claims: { sub: '42' } })
})

t.test('field F1: the sub of a JWT is text, by whatever name it is asked for', async (t) => {
  for (const subject of [undefined, 'sub', '/sub']) {
    const { ask } = await serveJwt(t, subject === undefined ? {} : { subject })
    assertRefused(t, await ask(bearer(token({ sub: 42 }))), 'subject_malformed')
    assertPassed(t, await ask(bearer(token())), { subject: 'user-1' })
  }
})

t.test('A43, field F2: an endpoint that answers null, or no content, names no user', async (t) => {
  const { app, ask } = await serveForward(t)
  for (const broken of ['', 'nul', 'null null', '\ufeffnull', '[]', '"null"']) {
    app.behave(answers(broken))
    assertUnavailable(t, await ask(session), 'checker_not_a_json_object', broken)
  }
  for (const answer of ['null', ' null\n', '{}', '{"user":null}']) {
    app.behave(answers(answer))
    assertRefused(t, await ask(session), 'app_named_no_subject', answer)
  }
  app.behave(answers('', 204))
  assertRefused(t, await ask(session), 'app_named_no_subject', '204')
})

t.test('field F3: jwt.subject names the claim of the user', async (t) => {
  assertProblems(t, [
    [jwtEntry({ subject: '/user_metadata/id' }), /jwt\.subject is in metadata that users can write/],
    [jwtEntry({ subject: 'unsafe_metadata' }), /jwt\.subject /],
    ...['iss', '/iss', 'aud', 'exp', '/exp', 'nbf', 'iat', 'jti'].map((subject) =>
      [jwtEntry({ subject }), /jwt\.subject names no user/] as const),
    ...['/user_metadata/id', '/data/unsafe_metadata/id'].map((subject) => [
      { forward: { issuer: 'app', url: 'https://app.test/', cookie: 'sid', pass: ['cookie'], subject } } as CallerEntry,
      /forward\.subject is in metadata that users can write/
    ] as const),
    ...[['sub', 42], ['/sub', ['u-1', 42]], ['sub', true], ['iss', 7]].map(([name, value]) =>
      [jwtEntry({ require: { [String(name)]: value } } as never), /jwt\.require\..* can never match/] as const)
  ])
  t.same(review([jwtEntry({ subject: '/iss/id', require: { '/sub/id': 42, user: 42, sub: ['42', null] } } as never)])
    .problems, [])
  const rows: [subject: string, good: [claims: object, subject: string][]][] = [
    ['/oid', [[{ oid: 'u-1' }, 'u-1'], [{ oid: 7, sub: undefined }, '7']]],
    ['user_id', [[{ user_id: 'u-1', sub: { no: 'text' } }, 'u-1']]],
    ['/identities/0/id', [[{ identities: [{ id: 5 }] }, '5']]]
  ]
  for (const [subject, good] of rows) {
    const { ask } = await serveJwt(t, { subject })
    for (const value of [...NO_SUBJECTS, undefined, 'u'.repeat(256), 'a\nb']) {
      const claims = subject === '/identities/0/id' ? { identities: [{ id: value }] } : { oid: value, user_id: value }
      assertRefused(t, await ask(bearer(token(claims))), 'subject_malformed', `${subject} ${JSON.stringify(value)}`)
    }
    for (const [claims, expected] of good) {
      const answer = await ask(bearer(token(claims)))
      assertPassed(t, answer, { issuer: ISSUER, subject: expected, claims: { sub: expected } }, JSON.stringify(claims))
      t.ok(matches({ sub: expected }, answer), 'sub in when is the subject of the caller')
      t.notOk(matches({ sub: 'user-1' }, answer))
    }
  }
  const { ask } = await serveJwt(t, { subject: 'oid', require: { sub: ['u-1'] } })
  assertRefused(t, await ask(bearer(token({ oid: 'u-2', sub: 'u-1' }))), 'required_claim_mismatch')
  assertPassed(t, await ask(bearer(token({ oid: 'u-1', sub: 'x' }))), { subject: 'u-1' })
})

t.test('field F3: the sentence that B2C sends for everyone is no subject', async (t) => {
  const constant = 'Not supported currently. Use oid claim.'
  const { ask } = await serveJwt(t)
  assertRefused(t, await ask(bearer(token({ sub: constant }))), 'subject_is_the_same_for_all')
  const { ask: askByOid } = await serveJwt(t, { subject: 'oid' })
  assertPassed(t, await askByOid(bearer(token({ sub: constant, oid: 'u-1' }))), { subject: 'u-1' })
})

t.test('field F4: null in a list of require admits a claim that is absent', async (t) => {
  assertProblems(t, [
    [jwtEntry({ audience: undefined, require: { azp: [null] } } as never), /jwt\.audience is missing/]
  ])
  const { ask } = await serveJwt(t, { audience: undefined, require: { azp: [SITE, null], act: [null] } } as never)
  for (const azp of ['https://evil.example', '', false, 0, [], ['null'], [null], {}, { null: true }, 'null']) {
    assertRefused(t, await ask(bearer(token({ azp }))), 'required_claim_mismatch', JSON.stringify(azp))
  }
  assertRefused(t, await ask(bearer(token({ azp: SITE, act: { sub: 'admin' } }))), 'required_claim_mismatch')
  for (const azp of [SITE, undefined, null, [SITE]]) {
    assertPassed(t, await ask(bearer(token({ azp }))), { subject: 'user-1' }, JSON.stringify(azp))
  }
  const { ask: askStrict } = await serveJwt(t, { require: { azp: [SITE] } })
  for (const azp of [undefined, null]) {
    assertRefused(t, await askStrict(bearer(token({ azp }))), 'required_claim_mismatch')
  }
})

t.test('A36, field F5: the same token at two places is one credential, only where one entry reads both', async (t) => {
  const other = 'https://other.example.com'
  const app = await startHostileIssuer(t, answers({ active: true, sub: 'introspected' }))
  const { ask } = await serve(t, [
    jwtEntry({ cookie: '__session', header: 'X-Token' }),
    jwtEntry({ issuer: other, cookie: 'other' }),
    { introspection: { issuer: 'as', url: app.url, client_id: 'mint', client_secret_env: 'KEY' } },
    { forward: { issuer: 'app', url: app.url, cookie: 'sid', pass: ['cookie'], subject: '/sub' } }
  ], { secrets: SECRETS })
  const cookie = (name: string, value: string): SentHeaders[number] => ['cookie', `${name}=${value}`]
  const origin: SentHeaders[number] = ['origin', SITE]
  const [good, foreign] = [token(), token({ iss: other })]
  const refusals: [name: string, sent: SentHeaders][] = [
    ['another token of the user', [...bearer(good), cookie('__session', token({ iat: NOW - 11 }))]],
    ['a token that begins alike', [...bearer(good), cookie('__session', `${good}A`)]],
    ['a cookie of another entry', [...bearer(good), cookie('other', good)]],
    ['a cookie of the entry of another issuer', [...bearer(foreign), cookie('__session', foreign)]],
    ['three, of which one differs', [...bearer(good), ['x-token', good], cookie('__session', foreign)]],
    ['an opaque token', [...bearer('opaque'), cookie('__session', 'opaque')]],
    ['a cookie that another endpoint reads', [...bearer(good), cookie('sid', good)]],
    ['cookies of two entries', [['cookie', `__session=${good}; other=${good}`], origin]]
  ]
  for (const [name, sent] of refusals) assertRefused(t, await ask(sent), 'two_credentials', name)
  assertRefused(t, await ask([...bearer(good), ...bearer(good)]), 'header_ambiguous', 'two headers stay ambiguous')
  assertRefused(t, await ask([['cookie', `__session=${good}; __session=${good}`], origin]), 'cookie_ambiguous')
  const expired = token({ exp: NOW - 60, iat: undefined })
  assertRefused(t, await ask([...bearer(expired), cookie('__session', expired)]), 'token_expired', 'checked once')
  t.equal((await ask([['x-token', good], cookie('__session', good)])).status, 403, 'a cookie still needs its page')
  t.equal(app.requests.length, 0)

  for (let i = 0; i < 2; i++) {
    assertPassed(t, await ask([...bearer(good), cookie('__session', good)]), { subject: 'user-1' }, 'as Authorization')
    assertPassed(t, await ask([['x-token', good], cookie('__session', good), origin]), { subject: 'user-1' })
    assertPassed(t, await ask([...bearer(good), ['x-token', good], cookie('__session', good)]), { subject: 'user-1' })
  }
  assertRefused(t, await ask([...bearer(good), cookie('other', good)]), 'two_credentials', 'nor once it is cached')
})

t.test('field F7: a proxy passes the token alone, in a header of its own', async (t) => {
  assertProblems(t, [
    [jwtEntry({ header: 'x_token' }), /jwt\.header must be a header name/],
    [jwtEntry({ header: 'Authorization' }), /jwt\.header must be another one/, /two entries for the header/],
    [jwtEntry({ header: 'cookie' }), /jwt\.header must be another one/]
  ])
  const twice: CallerEntry = { gateway: { issuer: 'g', header: 'x-token', from: ['127.0.0.1'], secret: 'none' } }
  t.match(review([jwtEntry({ header: 'X-Token' }), twice]).problems, ['callers has two entries for the header x-token'])

  const { ask } = await serve(t, [
    jwtEntry({ header: 'X-Goog-IAP-JWT-Assertion' }), jwtEntry({ issuer: 'https://other.example.com' }), { guest: {} }
  ], { secrets: SECRETS })
  const alone = (value: string): SentHeaders => [['x-goog-iap-jwt-assertion', value]]
  assertRefused(t, await ask(alone(`Bearer ${token()}`)), 'token_malformed', 'the token alone')
  assertRefused(t, await ask(alone(`${token()}, ${token()}`)), 'token_malformed')
  assertRefused(t, await ask(alone('')), 'header_empty')
  assertRefused(t, await ask([...alone(token()), ...alone(token())]), 'header_ambiguous')
  assertRefused(t, await ask([['x_goog-iap-jwt-assertion', token()]]), 'header_ambiguous')
  assertRefused(t, await ask(alone(token({ iss: 'https://other.example.com' }))), 'issuer_unknown')
  assertRefused(t, await ask(alone(forgeHmac('x'.repeat(64), claimsOf()))), 'signature_invalid')
  assertPassed(t, await ask(alone(token())), { subject: 'user-1' })
  assertPassed(t, await ask(bearer(token())), { subject: 'user-1' })
})

t.test('field F8: scopes are words, compared whole', async (t) => {
  for (const name of ['scope', 'scp', '/scope']) {
    for (const value of ['openid profile', ' mint', 'mint\t', '', ['mint', 'a b']]) {
      assertProblems(t, [[jwtEntry({ require: { [name]: value } }), /jwt\.require\..*can never match/]])
    }
  }
  t.same(review([jwtEntry({ require: { scopes: 'a b', '/x/scope': 'a b', scope: ['mint', null] } })]).problems, [])

  const { ask } = await serveJwt(t)
  const no = [
    'openid mint:voices', 'xmint:voice', 'mint:voice,openid', 'MINT:VOICE', 'mint:voice\topenid', '', 'openid',
    ['openid mint:voice'], 7, null, undefined
  ]
  const yes = ['openid profile mint:voice', 'mint:voice', 'mint:voice openid', ' a  mint:voice ', ['a', 'mint:voice']]
  for (const name of ['scope', 'scp']) {
    const { ask: askRequiring } = await serveJwt(t, { require: { [name]: 'mint:voice' } })
    for (const value of no) {
      const sent = bearer(token({ [name]: value }))
      t.notOk(matches({ [name]: 'mint:voice' }, await ask(sent)), JSON.stringify(value))
      assertRefused(t, await askRequiring(sent), 'required_claim_mismatch', JSON.stringify(value))
    }
    for (const value of yes) {
      const sent = bearer(token({ [name]: value }))
      t.ok(matches({ [`/${name}`]: ['x', 'mint:voice'] }, await ask(sent)), JSON.stringify(value))
      assertPassed(t, await askRequiring(sent), { subject: 'user-1' }, JSON.stringify(value))
    }
  }
  const answer = await ask(bearer(token({ permissions: 'a mint:voice', nested: { scope: 'a mint:voice' } })))
  t.notOk(matches({ permissions: 'mint:voice' }, answer), 'no other claim is divided')
  t.notOk(matches({ '/nested/scope': 'mint:voice' }, answer))
})

t.test('field F9: a claim that is an object matches a name of its own', async (t) => {
  const { ask } = await serveJwt(t)
  const answer = await ask(bearer(token({
    roles: { admin: { org: 'x' }, 1: 'one', true: 'yes', off: false, gone: null, empty: '', zero: 0 },
    list: [{ admin: true }],
    deep: { roles: { admin: {} } }
  })))
  const no: PolicyEntry['when'][] = [
    { roles: 'constructor' }, { roles: '__proto__' }, { roles: 'hasOwnProperty' }, { roles: 'org' }, { roles: 'x' },
    { roles: 'off' }, { roles: 'gone' }, { roles: 1 }, { roles: true }, { roles: ['off', 1, true] }, { roles: null },
    { list: 'admin' }, { deep: 'admin' }, { '/roles/admin': 'x' }
  ]
  for (const when of no) t.notOk(matches(when, answer), JSON.stringify(when))
  const yes: PolicyEntry['when'][] = [
    { roles: 'admin' }, { roles: '1' }, { roles: 'true' }, { roles: ['x', 'admin'] }, { roles: 'empty' },
    { roles: 'zero' }, { '/deep/roles': 'admin' }, { '/list/0': 'admin' }
  ]
  for (const when of yes) t.ok(matches(when, answer), JSON.stringify(when))
  const { ask: askRequiring } = await serveJwt(t, { require: { roles: 'admin' } })
  assertRefused(t, await askRequiring(bearer(token({ roles: { admin: false } }))), 'required_claim_mismatch')
  assertPassed(t, await askRequiring(bearer(token({ roles: { admin: {} } }))), { subject: 'user-1' })
})

t.test('field F10: several issuers in one entry, and no placeholders', async (t) => {
  const tenant = (id: string) => `https://login.example.com/${id}/v2.0`
  assertProblems(t, [
    ...['{tenantid}', '*', 'a b', 'a\t', ' a', '<tenant>'].map((id) =>
      [jwtEntry({ issuer: tenant(id) }), /callers\.0\.jwt\.issuer matches no token/] as const),
    ...['com/common/v2.0', 'com/organizations/v2.0', 'us/common', 'com/consumers/v2.0'].map((place) =>
      [jwtEntry({ issuer: `https://login.microsoftonline.${place}` }), /jwt\.issuer matches no token/] as const),
    [jwtEntry({ issuer: 'https://login.partner.microsoftonline.cn/common/v2.0' }), /jwt\.issuer matches no token/],
    [jwtEntry({ issuer: [tenant('a'), tenant('{b}')] }), /callers\.0\.jwt\.issuer\.1 matches no token/],
    [
      { introspection: { issuer: '{x}', url: 'https://as.example.com/', client_id: 'm', client_secret_env: 'KEY' } },
      /introspection\.issuer matches no token/
    ],
    [jwtEntry({ issuer: [tenant('a'), 'guest'] }), /callers\.0\.jwt\.issuer\.1 is reserved/],
    [{ jwt: { issuer: [tenant('a'), tenant('b')], audience: 'a' } }, /callers\.0\.jwt\.issuer is a list: add jwks/]
  ])
  const overlapping = [['a', 'b'], ['c', 'a']].map((ids) => jwtEntry({ issuer: ids.map(tenant) }))
  t.match(review(overlapping).problems, ['callers.1.jwt.issuer.1 is the issuer of another entry too'])

  const [common, alien] = [createSigner('RS256', 'common'), createSigner('RS256', 'common')]
  const keys = await startHostileIssuer(t, answers({ keys: [common.jwk] }))
  const issuer = [tenant('a'), tenant('b')]
  const { ask, callers } = await serve(t, [{ jwt: { issuer, audience: 'voice-app', jwks: keys.url } }])
  t.same(callers.keyAges().map((set) => set.issuer), [tenant('a')], 'one set of keys')
  for (const iss of [tenant('c'), issuer, tenant('A'), issuer.join(), tenant('a').slice(0, -1)]) {
    assertRefused(t, await ask(bearer(forge(common, claimsOf({ iss })))), 'issuer_unknown', String(iss))
  }
  assertRefused(t, await ask(bearer(forge(alien, claimsOf({ iss: tenant('b') })))), 'signature_invalid')
  for (const iss of issuer) {
    assertPassed(t, await ask(bearer(forge(common, claimsOf({ iss })))), { issuer: iss, claims: { iss } })
  }
  t.equal(keys.requests.length, 1)
})

t.test('field F11: a secret that is written as base64', async (t) => {
  const key = createHash('sha512').update('a key with + and / in base64').digest()
  const [base64, base64url] = [key.toString('base64'), key.toString('base64url')]
  t.match(base64, /[+/]/)
  const { publicKey } = createSigner('RS256')
  const der = (type: 'spki' | 'pkcs1') => publicKey.export({ format: 'der', type }).toString('base64')
  const bad: [value: string, problem: RegExp][] = [
    ...[
      `${base64.slice(0, 40)}\n${base64.slice(40)}`, `${base64}!`, base64.replace(/=+$/, ''), `${base64}=`,
      base64.replace('+', '-'), ` ${base64}`, 'not base64 at all, but a text of 64 bytes: is it refused? it is!', 'A'
    ].map((value): [string, RegExp] => [value, /names SECRET, which is not base64/]),
    [key.subarray(0, 63).toString('base64'), /must be 64 bytes or longer when decoded/],
    [der('spki'), /holds a key/],
    [der('pkcs1'), /holds a key/],
    [Buffer.from(publicKey.export({ format: 'pem', type: 'spki' })).toString('base64'), /holds a key/]
  ]
  const entry = { secret_env: 'SECRET', secret_encoding: 'base64', algorithms: ['HS512'] } as const
  for (const [value, problem] of bad) {
    const { problems } = review([jwtEntry(entry as never)], { SECRET: value })
    t.equal(problems.length, 1, value)
    t.match(problems[0], problem, value)
    t.notMatch(problems[0], value)
  }
  t.match(review([jwtEntry()], { KEY: der('spki') }).problems, [/holds a key/], 'nor as text')
  const unused = { issuer: ISSUER, audience: 'a', secret_encoding: 'base64' } as const
  assertProblems(t, [[{ jwt: unused }, /secret_encoding has no effect/]])

  for (const value of [base64, base64url, `${base64url}==`]) {
    const { ask } = await serve(t, [jwtEntry(entry as never)], { secrets: { SECRET: value } })
    assertRefused(t, await ask(bearer(forgeHmac(value, claimsOf(), {}, 'HS512'))), 'signature_invalid', 'its own bytes')
    assertPassed(t, await ask(bearer(forgeHmac(key, claimsOf(), {}, 'HS512'))), { subject: 'user-1' })
  }
  const asText = jwtEntry({ ...entry, secret_encoding: 'utf8' } as never)
  const { ask } = await serve(t, [asText], { secrets: { SECRET: base64 } })
  assertPassed(t, await ask(bearer(forgeHmac(base64, claimsOf(), {}, 'HS512'))), { subject: 'user-1' }, 'utf8')
})

t.test('field F12: a cookie in pieces is refused unless it is complete', async (t) => {
  const { app, ask, callers } = await serveForward(t)
  const refusals: [reason: string, ...pairs: string[]][] = [
    ['cookie_ambiguous', 'sid=whole', 'sid.0=a'],
    ['cookie_ambiguous', 'sid_0=a', 'sid=whole'],
    ['cookie_ambiguous', 'sid.0=a', 'sid.1=b', 'sid.0=c'],
    ['cookie_pieces_incomplete', 'sid.0=a', 'sid_1=b'],
    ['cookie_pieces_incomplete', 'sid.0=a', 'sid_0=b'],
    ['cookie_pieces_incomplete', 'sid.0=a', 'sid.2=c'],
    ['cookie_pieces_incomplete', 'sid.1=b'],
    ['cookie_pieces_incomplete', 'sid.0=a', 'sid.01=b'],
    ['cookie_pieces_incomplete', 'sid.00=a'],
    ['cookie_pieces_too_many', ...Array.from({ length: 9 }, (_, i) => `sid.${i}=x`)],
    ['cookie_malformed', 'sid.0=a', 'sid.1='],
    ['cookie_malformed', 'sid.0=a', 'sid.1=b c']
  ]
  for (const [reason, ...pairs] of refusals) assertRefused(t, await ask(cookies(...pairs)), reason, pairs.join('; '))
  for (const name of ['sid.x', 'sid.', 'sid-0', 'sid.0.1', 'xsid.0', 'sid0', 'SID.0', '.0']) {
    assertPassed(t, await ask(cookies(`${name}=a`)), { issuer: 'guest' }, name)
  }
  const large = Array.from({ length: 5 }, (_, i) => `sid.${i}=${'x'.repeat(3270)}`)
  for (const pairs of [large, [`sid.0=${'x'.repeat(16 * 1024)}`]]) {
    const request = { headers: { cookie: pairs.join('; '), origin: SITE }, raw: { rawHeaders: [] }, method: 'POST' }
    t.throws(() => callers.authenticate(request as never), { reason: 'cookie_pieces_too_large' } as never)
  }
  t.equal((await ask([['cookie', 'sid.0=a; sid.1=b']])).status, 403, 'pieces need a page too')
  t.equal(app.requests.length, 0)
})

t.test('field F12: complete pieces pass in any order; one missing, doubled, renamed or too many do not', async (t) => {
  const read = (pairs: readonly string[]) =>
    readWholeOrPieces({ headers: { cookie: pairs.join('; ') } } as FastifyRequest, 'sid')
  const value = fc.stringMatching(/^[!-:<-~]{1,20}$/)
  const pieces = fc.tuple(fc.constantFrom('.', '_'), fc.array(value, { minLength: 1, maxLength: 8 })).chain(
    ([separator, values]) => {
      const names = values.map((one, i) => `sid${separator}${i}=${one}`)
      return fc.shuffledSubarray(names, { minLength: names.length })
    }
  )
  fc.assert(fc.property(pieces, fc.nat(), value, (pairs, at, other) => {
    const one = at % pairs.length
    const [name = ''] = (pairs[one] as string).split('=')
    t.equal(read(['theme=dark', ...pairs, `sid.x=${other}`]), pairs.join('; '))
    const swapped = name.replace(/[._]/, (separator) => separator === '.' ? '_' : '.')
    for (const wrong of [
      [...pairs, `${name}=${other}`],
      [...pairs, `sid=${other}`],
      pairs.with(one, `${name.replace(/\d/, '0$&')}=${other}`),
      pairs.with(one, `${name.replace(/\d+/, String(pairs.length))}=${other}`),
      ...pairs.length > 1 ? [pairs.with(one, `${swapped}=${other}`)] : [],
      ...pairs.some((pair) => pair > name + '=' && !pair.startsWith(name)) ? [pairs.toSpliced(one, 1)] : [],
      [...pairs, ...Array.from({ length: 9 - pairs.length }, (_, i) => `${name.slice(0, 4)}${pairs.length + i}=x`)]
    ]) t.throws(() => read(wrong), { code: 'invalid_credentials' }, wrong.join('; '))
  }), { numRuns: times(200) })
})

t.test('field F12: the pieces of a cookie are passed as they came, and nothing else', async (t) => {
  const { app, ask } = await serveForward(t)
  const passed = () => app.requests.at(-1)?.headers.cookie
  for (const [sent, expected] of [
    [['theme=dark', 'sid.0=a', 'sid.1=b=c', 'sid.x=y', 'other.0=z'], 'sid.0=a; sid.1=b=c'],
    [['sid_1=b', 'lang=en', 'sid_0=a'], 'sid_1=b; sid_0=a'],
    [['sid.0=alone'], 'sid.0=alone'],
    [Array.from({ length: 8 }, (_, i) => `sid.${i}=${'x'.repeat(100)}`), /^sid\.0=x{100}; .*sid\.7=x{100}$/]
  ] as const) {
    assertPassed(t, await ask(cookies(...sent)), { subject: '42' })
    t.match(passed(), expected)
  }
  const { length } = app.requests
  assertPassed(t, await ask(cookies('sid.0=a', 'x=y', 'sid.1=b=c')), { subject: '42' })
  t.equal(app.requests.length, length, 'cached by its pieces')
  app.behave(answers({}, 401))
  for (const other of [['sid.0=ab', 'sid.1==c'], ['sid.1=b=c', 'sid.0=a'], ['sid_0=a', 'sid_1=b=c'], ['sid=ab=c']]) {
    assertRefused(t, await ask(cookies(...other)), 'app_refused', other.join('; '))
  }
})

t.test('A43, field F13: an endpoint that names the user in one header of any 2xx', async (t) => {
  const forward = (entry: object): CallerEntry => ({
    forward: {
      issuer: 'app', url: 'https://app.example.com/', cookie: 'sid', pass: ['cookie', 'X-User'], ...entry
    }
  } as never)
  assertProblems(t, [
    [forward({ subject: '/id', subject_header: 'x-id' }), /forward\.subject must be given by exactly one/],
    [forward({}), /forward\.subject must be given by exactly one/],
    [forward({ subject_header: 'x-user' }), /forward\.pass must not pass x-user/],
    [forward({ subject_header: 'x_id' }), /forward\.subject_header must be a header name/]
  ])

  const { app, ask } = await serveForward(t, { subject: undefined, subject_header: 'X-Auth-Request-User' } as never)
  const naming = (user: string | string[], status: number, body = '') => (response: ServerResponse) => {
    response.writeHead(status, { 'X-Auth-Request-User': user }).end(body)
  }
  for (const status of [401, 403, 302]) {
    app.behave(naming('jane', status))
    assertRefused(t, await ask(session), 'app_refused', String(status))
  }
  for (const status of [400, 404, 500]) {
    app.behave(naming('jane', status))
    assertUnavailable(t, await ask(session), 'checker_not_2xx', String(status))
  }
  app.behave(answers('{"sub":"jane","user":{"id":1}}', 200))
  assertRefused(t, await ask(session), 'app_named_no_subject', 'not in its body')
  for (const [user, reason] of [
    ['', 'app_named_no_subject'], [['jane', 'jane'], 'app_named_two_subjects'], ['jane, root', 'subject_malformed'],
    ['a'.repeat(256), 'subject_malformed'], ['j\xfc', 'subject_malformed']
  ] as const) {
    app.behave(naming(user as string, 202))
    assertRefused(t, await ask(session), reason, JSON.stringify(user))
  }

  const conditions: PolicyEntry['when'][] = [
    { plan: 'pro' }, { plan: null }, { suspended: null }, { '/sub/x': null }, { sub: 'jane', plan: null }
  ]
  const bodies = [[202, ''], [200, 'OK'], [204, ''], [200, '[]'], [206, 'null']] as const
  for (const [i, [status, body]] of bodies.entries()) {
    app.behave(naming('jane', status, body))
    const answer = await ask(cookies(`sid=unknown-${i}`))
    assertPassed(t, answer, { issuer: 'app', subject: 'jane', claims: { iss: 'app', sub: 'jane' } })
    for (const when of conditions) t.notOk(matches(when, answer), `${status} ${JSON.stringify(when)}`)
    for (const when of ['any', { sub: 'jane' }, { '/iss': 'app', sub: ['jane'] }] as const) {
      t.ok(matches(when as never, answer), JSON.stringify(when))
    }
  }
  app.behave(naming('jane', 200, '{"plan":"pro","sub":"root","iss":"evil"}'))
  const answer = await ask(cookies('sid=known'))
  assertPassed(t, answer, { subject: 'jane', claims: { iss: 'app', sub: 'jane', plan: 'pro' } })
  t.ok(matches({ plan: 'pro', suspended: null }, answer))
})

t.test('A44, field F14: a gateway without a secret, only in writing and from single addresses', async (t) => {
  const gateway = (entry: object): CallerEntry =>
    ({ gateway: { issuer: 'iap', header: 'x-user', from: ['10.1.2.3'], ...entry } } as never)
  assertProblems(t, [
    [gateway({}), /gateway\.secret_header is missing/, /gateway\.secret_env must be given/],
    [gateway({ secret_env: 'KEY' }), /gateway\.secret_header is missing/],
    ...['10.0.0.0/8', '10.1.2.3/31', '0.0.0.0/1', '126.0.0.0/7', 'fd00::/8', '::1/127'].map((range) =>
      [gateway({ secret: 'none', from: ['10.1.2.3', range] }), /gateway\.from\.1 must be a single address/] as const),
    [gateway({ secret: 'none', from: ['all'] }), /gateway\.from\.0 must be an address or a CIDR range/],
    [
      gateway({ secret: 'none', secret_header: 'x-secret', secret_env: 'KEY', secret_file: 'KEY' }),
      /secret_header contradicts/, /secret_env contradicts/, /secret_file contradicts/
    ]
  ])
  const from = ['10.1.2.3', '10.1.2.4/32', '127.0.0.0/8', '127.1.0.0/16', '::1', 'fd00::1/128']
  const { problems, warnings } = review([gateway({ secret: 'none', from })])
  t.same(problems, [])
  t.match(warnings, [/^callers\.0\.gateway trusts addresses alone/])

  const far = await serve(t, [gateway({ secret: 'none' })])
  assertRefused(t, await far.ask([['x-user', 'root'], ['x-forwarded-for', '10.1.2.3']]), 'gateway_not_trusted')
  const { ask } = await serve(t, [gateway({ secret: 'none', from: ['127.0.0.0/8'] }), { guest: {} }])
  assertRefused(t, await ask([['x-user', 'a'], ['x-user', 'b']]), 'header_ambiguous')
  assertRefused(t, await ask([['x-user', 'a,b']]), 'subject_malformed')
  assertPassed(t, await ask([['x-user', 'jane']]), { issuer: 'iap', subject: 'jane' })
})

t.test('field F15: Ed25519 is EdDSA, in a token, in a key set and in a policy', async (t) => {
  const ed = createSigner('EdDSA', 'ed')
  const ec384 = createSigner('ES384', 'ec')
  const wrong = createSigner('EdDSA', 'ed')
  for (const alg of [undefined, 'EdDSA', 'Ed25519']) {
    const keys = await startHostileIssuer(t, answers({ keys: [{ ...ed.jwk, alg }, ec384.jwk] }))
    const entry = { issuer: ISSUER, audience: 'voice-app', jwks: keys.url }
    const listed = alg === undefined ? {} : { algorithms: [alg as 'EdDSA'] }
    const { ask } = await serve(t, [{ jwt: { ...entry, ...listed } }])
    for (const name of ['ed25519', 'Ed448', 'ED25519']) {
      assertRefused(t, await ask(bearer(forge(ed, claimsOf(), { alg: name }))), 'algorithm_not_allowed', name)
    }
    assertRefused(t, await ask(bearer(forge(wrong, claimsOf(), { alg: 'Ed25519' }))), 'signature_invalid')
    const unlisted = await ask(bearer(forge(ec384, claimsOf())))
    assertRefused(t, unlisted, 'algorithm_not_allowed: ES384', 'and the log says which')
    for (const name of ['EdDSA', 'Ed25519']) {
      assertPassed(t, await ask(bearer(forge(ed, claimsOf(), { alg: name }))), { subject: 'user-1' }, `${alg} ${name}`)
    }
  }
  const { ask } = await serveJwt(t)
  assertRefused(t, await ask(bearer(forge(ed, claimsOf(), { alg: 'Ed25519' }))), 'algorithm_not_allowed: Ed25519')
})

t.test('field F15: entries of a key set that are no keys are skipped, but no private key', async (t) => {
  const good = createSigner('ES256', 'good')
  const junk = [null, 7, 'key', [], {}, { kid: 'good' }, { kty: 7 }, { kty: 'new', kid: 'x' }, { kty: 'EC', kid: 'y' }]
  const refused: [reason: string, keys: unknown[]][] = [
    ['secret_key_published', [good.jwk, { kid: 'x', d: 'AAAA' }]],
    ['secret_key_published', [good.jwk, { kty: 7, k: 'AAAA' }]],
    ['secret_key_published', [good.jwk, good.privateKey.export({ format: 'jwk' })]],
    ['not_a_key_set', [null, {}]],
    ['no_usable_keys', junk],
    ['too_many_keys', [good.jwk, ...Array(100).fill(null)]]
  ]
  for (const [reason, keys] of refused) {
    const issuer = await startHostileIssuer(t, answers({ keys }))
    const { ask, log } = await serve(t, [{ jwt: { issuer: ISSUER, audience: 'voice-app', jwks: issuer.url } }])
    assertUnavailable(t, await ask(bearer(forge(good, claimsOf()))), 'keys_unavailable', reason)
    t.match(log.lines, [{ reason }])
  }
  const issuer = await startHostileIssuer(t, answers({ keys: [...junk, good.jwk] }))
  const { ask } = await serve(t, [{ jwt: { issuer: ISSUER, audience: 'voice-app', jwks: issuer.url } }])
  for (const kid of ['good', undefined]) {
    assertPassed(t, await ask(bearer(forge(good, claimsOf(), { kid }))), { subject: 'user-1' })
  }
  assertRefused(t, await ask(bearer(forge(good, claimsOf(), { kid: 'y' }))), 'key_unknown')
})

t.test('field F6: a secret by variable has no white space around it, as one from a file', async (t) => {
  const folder = t.testdir({ key: `${KEY}\n` })
  const source = secretsOf({ BLANK: ' \n', KEY: `${KEY}\r\n`, INNER: ' a b ' }, folder)
  t.throws(() => source.env('BLANK'), { message: 'names BLANK, which is not set in the environment' })
  t.throws(() => source.env('NONE'), { message: 'names NONE, which is not set in the environment' })
  t.equal(source.env('INNER'), 'a b')
  t.equal(source.env('KEY'), source.file('key'))
  const problems: string[] = []
  t.equal(readSecret({ A: '\n' }, 'A', problems), null)
  t.equal(readSecret({ A: `${KEY}\n` }, 'A', problems), KEY)
  t.same(problems, [])
})

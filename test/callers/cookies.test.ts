// CSRF: browsers send cookies with any page's requests, so the page's origin must be allowed (C1 to C3, C7, C12, C13).

import t from 'tap'
import { answers, startHostileIssuer } from '../support/hostile-issuer.ts'
import { forgeHmac } from './forge.ts'
import { assertPassed, bearer, NOW, type SentHeaders, serve, SITE } from './harness.ts'

const SECRETS = { KEY: 'k'.repeat(32) }
const token = forgeHmac(SECRETS.KEY, { iss: 'jwt', sub: 'user-1', aud: 'voice-app', exp: NOW + 600 })
const form: SentHeaders = [['content-type', 'application/x-www-form-urlencoded']]
const FOREIGN_ORIGINS = [
  'null', 'https://app.example.com.evil.com', 'https://evilapp.example.com', 'http://app.example.com',
  `${SITE}:443`, `${SITE}/`, 'https://APP.example.com', ''
]
const json: SentHeaders = [['content-type', 'application/json']]

t.test('C1, C2, C3, C7, C12, C13: a cookie credential needs an allowed origin', async (t) => {
  const app = await startHostileIssuer(t, answers({ id: 'user-1' }))
  const { ask, callers } = await serve(t, [
    { jwt: { issuer: 'jwt', audience: 'voice-app', secret_env: 'KEY', cookie: '__Host-token' } },
    { forward: { issuer: 'app', url: app.url, cookie: 'sid', pass: ['cookie'], subject: '/id' } }
  ], { secrets: SECRETS })
  t.equal(callers.usesCookies, true)

  for (const [name, value] of [['__Host-token', token], ['sid', 'abcdef']]) {
    const cookie: SentHeaders = [['cookie', `${name}=${value}`]]
    const foreign: [string, SentHeaders, { method?: string, body?: string }][] = [
      ['C7 no Origin', [], {}],
      ['C7 no Origin, same-origin POST', [['sec-fetch-site', 'same-origin']], {}],
      ['C7 a GET without Origin and Sec-Fetch-Site', [], { method: 'GET' }],
      [
        'C12 a form, sent by a foreign page',
        [...form, ['origin', 'https://evil.example'], ['sec-fetch-site', 'cross-site']], { body: 'a=1' }
      ],
      [
        'C12 sendBeacon',
        [['content-type', 'text/plain'], ['origin', 'https://evil.example'], ['sec-fetch-mode', 'no-cors']],
        { body: '{}' }
      ],
      ['C13 cross-site without an Origin', [['sec-fetch-site', 'cross-site']], { method: 'GET' }],
      ['C13 same-site without an Origin', [['sec-fetch-site', 'same-site']], { method: 'GET' }],
      ['C13 typed into the address bar', [['sec-fetch-site', 'none']], { method: 'GET' }],
      ...FOREIGN_ORIGINS.map((origin): [string, SentHeaders, object] =>
        [`C1, C2, C3 ${origin}`, [['origin', origin], ['sec-fetch-site', 'same-origin']], { method: 'GET' }]),
      ['two Origins', [['origin', SITE], ['origin', 'https://evil.example']], {}]
    ]
    for (const [attack, headers, options] of foreign) {
      const answer = await ask([...cookie, ...headers], options)
      t.match(answer, {
        status: 403, reason: 'cookie_without_allowed_origin', body: '"code":"origin_not_allowed"', caller: undefined
      }, `${name}: ${attack}`)
    }
    t.equal(app.requests.length, 0)
    t.equal(
      (await ask([...cookie, ...form, ['origin', SITE]], { body: 'a=1' })).status,
      415,
      'C12 a form, even of our own page'
    )
    assertPassed(t, await ask([...cookie, ...json, ['origin', SITE]], { body: '{}' }), { subject: 'user-1' })
    assertPassed(t, await ask([...cookie, ['origin', SITE], ['sec-fetch-site', 'cross-site']]), { subject: 'user-1' })
    assertPassed(t, await ask([...cookie, ['sec-fetch-site', 'same-origin']], { method: 'GET' }), { subject: 'user-1' })
    app.requests.length = 0
  }
  assertPassed(t, await ask(bearer(token)), { subject: 'user-1' }, 'C7 a bearer token needs no origin')
})

// Threats of the group "Tokens" that one token can show: each row by its number, with the reason that is logged.

import { createHash, sign } from 'node:crypto'
import { EncryptJWT } from 'jose'
import t from 'tap'
import { encode, forge, forgeHmac } from './forge.ts'
import { assertPassed, assertRefused, bearer, NOW, type SentHeaders, SITE } from './harness.ts'
import {
  attacker, base, BOTH, ec, ec384, ed, HMAC, ISSUER, OTHER, other, PARTY, pss, rsa, SECRETS, signed, start, tampered,
  TYPED
} from './issuers.ts'

const without = (name: string) => forge(rsa, Object.fromEntries(Object.entries(base()).filter(([key]) => key !== name)))

/** Row, expected reason, and the credentials that must be refused for it. */
const REFUSED: Record<string, Record<string, readonly (string | SentHeaders)[]>> = {
  'A1 alg none': {
    algorithm_not_allowed: ['none', 'None', 'NONE', 'nOnE', '', 'NONE ', 'RS1', 'toString', '__proto__'].flatMap(
      (alg) => ['AAAA', encode('garbage')].map((end) => `${encode({ alg })}.${encode(base())}.${end}`)
    ),
    token_malformed: [
      `${encode({ alg: 'none' })}.${encode(base())}.`, `${encode({ alg: 'none' })}.${encode(base())}`,
      `${encode({ alg: 'none' })}.${encode(base())}.AAAA=`
    ]
  },
  'A1 alg of another type': {
    algorithm_not_allowed: [['RS256'], { RS256: 1 }, null, 256, undefined].map((alg) => signed({}, { alg }))
  },
  'A2 the public key as an HMAC secret': {
    algorithm_not_allowed: publicForms().map((secret) => forgeHmac(secret, base(), { kid: rsa.kid })),
    signature_invalid: publicForms().map((secret) => forgeHmac(secret, base({ iss: BOTH }), { kid: rsa.kid }))
  },
  'A3 a public-key algorithm where there is only a secret': {
    algorithm_not_allowed: [attacker, ec].map((key) => forge(key, base({ iss: HMAC })))
  },
  'A3 an HMAC secret of another party': {
    signature_invalid: ['x'.repeat(32), '', 'secret'].map((secret) => forgeHmac(secret || '\0', base({ iss: HMAC })))
  },
  'A4 an algorithm that the configuration does not list': {
    algorithm_not_allowed: [
      ...['RS384', 'RS512', 'PS384', 'PS512'].map((alg) => forge({ ...rsa, alg }, base())), forge(ec384, base()),
      forgeHmac(SECRETS.NEW, base({ iss: HMAC }), {}, 'HS512'), forge(ed, base({ iss: HMAC }), { alg: 'Ed25519' })
    ]
  },
  'A5 a key in the token': {
    signature_invalid: [attacker.jwk, attacker.privateKey.export({ format: 'jwk' }), { kty: 'oct', k: 'AAAA' }].map(
      (jwk) => forge(attacker, base(), { jwk, kid: rsa.kid })
    ),
    key_unknown: [forge(attacker, base(), { jwk: attacker.jwk })]
  },
  'A7 a certificate chain in the token': {
    signature_invalid: [forge(attacker, base(), {
      kid: rsa.kid, x5c: [attacker.publicKey.export({ format: 'der', type: 'spki' }).toString('base64')], x5t: 'AAAA'
    })]
  },
  'A8 hostile kid': {
    key_unknown: [
      '../../dev/null', "' OR 1=1--", '', 'k'.repeat(5000), '__proto__', 'constructor', 'a\r\nb', '\u2028'
    ].map((kid) => forge(rsa, base(), { kid })),
    kid_malformed: [1, ['key-RS256'], { toString: 'key-RS256' }, null, true].map((kid) => forge(rsa, base(), { kid })),
    token_too_large: [forge(rsa, base(), { kid: 'k'.repeat(10_000) })]
  },
  'A12 crit': {
    header_not_understood: [['exp'], [], ['exp', 'exp'], ['toString'], ['b64'], 'exp', null].map(
      (crit) => signed({}, { crit, exp: 1, b64: true })
    )
  },
  'A13 b64': {
    header_not_understood: [{ b64: false }, { b64: false, crit: ['b64'] }, { b64: true }].map(
      (header) => signed({}, header)
    )
  },
  'A16 expired': {
    token_expired: [NOW - 31, NOW - 3600, 0, 1].map((exp) => signed({ exp, iat: undefined })),
    exp_malformed: [-1].map((exp) => signed({ exp, iat: undefined }))
  },
  'A17 out of its time': {
    token_not_yet_valid: [signed({ nbf: NOW + 31 }), signed({ nbf: NOW + 1e6 })],
    token_from_the_future: [signed({ iat: NOW + 31 })],
    expires_before_issued: [signed({ iat: NOW, exp: NOW }), signed({ iat: NOW + 5, exp: NOW - 5 })],
    lifetime_too_long: [{ exp: NOW + 3591 }, { iat: undefined }].map(
      (claims) => forge(rsa, base({ iss: TYPED, ...claims }), { typ: 'at+jwt' })
    )
  },
  'A18 a missing claim': {
    exp_malformed: [without('exp')],
    issuer_unknown: [without('iss')],
    audience_mismatch: [without('aud')],
    subject_malformed: [without('sub')]
  },
  'A18 invalid dates': {
    exp_malformed: [
      signed({ exp: '9999999999' }), signed({ exp: null }), signed({ exp: [NOW + 60] }), signed({ exp: 1e300 }),
      forge(rsa, JSON.stringify(base()).replace(/"exp":\d+/, '"exp":1e400'))
    ],
    date_malformed: [
      signed({ iat: 'now' }), signed({ iat: null }), signed({ nbf: {} }),
      forge(rsa, JSON.stringify(base()).replace(/"iat":\d+/, '"iat":-1e400'))
    ]
  },
  'A18 an unknown issuer': {
    issuer_unknown: [
      ISSUER.slice(0, -1), `${ISSUER} `, ISSUER.toUpperCase(), 'guest', 'gateway', '__proto__', [ISSUER],
      { [ISSUER]: 1 }, null, 7
    ].map((iss) => signed({ iss }))
  },
  'A20 audience': {
    audience_mismatch: [
      [], ['other'], [['voice-app']], 7, 'voice', 'voice-app-2', 'Voice-App', 'voice-app/', ' voice-app',
      'voice-app,other', { 'voice-app': 1 }, null, true, ['voice-app', 7], ['voice-app', ['x']]
    ].map((aud) => signed({ aud }))
  },
  'A20 a claim that stands in for the audience': {
    required_claim_mismatch: [
      {}, { azp: 'evil' }, { azp: 'spa' }, { azp: 'spa', email_verified: 'true' }, { azp: null, email_verified: true },
      { azp: { 0: 'spa' }, email_verified: true }
    ]
      .map((claims) => forge(rsa, base({ iss: PARTY, aud: undefined, ...claims })))
  },
  'A22 a key of another issuer': {
    signature_invalid: [forge(other, base()), forge(rsa, base({ iss: OTHER }))]
  },
  'A23 subject': {
    subject_malformed: [
      '', ' ', ' a', 'a ', '\ufeffa', 's'.repeat(256), { id: 1 }, ['a'], 7, null, true, 'a\nb', 'a\0', '\x7f', '\x85',
      '\ud800'
    ].map((sub) => signed({ sub }))
  },
  'A25 size': {
    token_too_large: ['a'.repeat(8193), `${'a.'.repeat(4096)}a`, signed({ blob: 'x'.repeat(8000) })],
    token_malformed: ['a.'.repeat(4000) + 'a', '.'.repeat(8192), 'a'.repeat(8192), 'a.b.c.d', '...']
  },
  'A26 depth, and JSON that is not an object': {
    token_malformed: [
      // As deep as 8 KiB of a token can be, closed or not.
      '['.repeat(2850) + ']'.repeat(2850), '['.repeat(5700), '{"a":'.repeat(1140),
      `{"a":${'{"a":'.repeat(40)}1${'}'.repeat(41)}`,
      '[]', 'null', '"text"', '7', '', '{', '{}{}', '\ufeff{}', '{"sub":"a",}', '{\'sub\':\'a\'}'
    ].flatMap((claims) => [forge(rsa, claims), forge(rsa, base(), claims)]),
    token_too_large: [
      signed(Object.fromEntries(Array.from({ length: 700 }, (_, i) => [`c${i}`, i]))),
      signed({}, { huge: 'x'.repeat(6000) })
    ]
  },
  'A26 bytes that are not UTF-8': {
    token_malformed: [Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), Buffer.from('{}', 'utf16le')].flatMap(
      (bytes) => [forge(rsa, bytes), forge(rsa, base(), bytes)]
    )
  },
  'A26 base64url of another spelling': {
    token_malformed: [...respelled(signed()), `${signed()}==`, `${signed()}=`],
    authorization_malformed: [signed().replace('.', '=.'), signed().replace('.', ' .')]
  },
  'A28 a signature of another kind': {
    signature_invalid: [
      resign(forge(ec, base()), (input) => sign('sha256', input, ec.privateKey)),
      resign(forge(ec, base()), (input) => sign('sha256', input, { key: ec384.privateKey, dsaEncoding: 'ieee-p1363' })),
      resign(forge(pss, base()), (input) => sign('sha256', input, pss.privateKey)),
      resign(signed(), () => Buffer.alloc(256)), resign(signed(), () => Buffer.from([0])),
      resign(forge(ec, base()), () => Buffer.alloc(64)), resign(forge(ed, base()), () => Buffer.alloc(64)),
      tampered(signed())
    ],
    key_unknown: [forge({ ...ec384, alg: 'ES256' }, base())]
  },
  'A29 an encrypted token': {
    token_malformed: [
      await encrypted({ alg: 'dir', enc: 'A256GCM' }), await encrypted({ alg: 'dir', enc: 'A256GCM', cty: 'JWT' })
    ]
  },
  'A30 another serialization': {
    authorization_malformed: [
      JSON.stringify({ payload: 'e30', protected: 'e30', signature: 'AAAA' }),
      JSON.stringify({ payload: 'e30', signatures: [] })
    ],
    token_malformed: [signed().replace(/\..*\./, '..')]
  },
  'A31 a token in a token': {
    token_malformed: [forge(rsa, signed(), { cty: 'JWT' }), forge(rsa, JSON.stringify(signed()), { cty: 'JWT' })]
  },
  'A32 a token of another type': {
    type_not_accepted: [
      'JWT', 'logout+jwt', undefined, null, 1, ['at+jwt'], 'at+jwt ', 'application/application/at+jwt', 'x/at+jwt'
    ].map((typ) => forge(rsa, base({ iss: TYPED }), { typ }))
  },
  'A35 no single bearer token': {
    authorization_malformed: [
      ...[
        'Bearer', 'Bearer ', `Bearer  ${signed()}`, `Bearer\t${signed()}`, `Bearer ${signed()},`,
        `Bearer ${signed()}, Bearer ${signed()}`, 'Bearer a b', `Basic ${signed()}`, signed(), `Bearer:${signed()}`,
        `BearerX ${signed()}`, `Bearer "${signed()}"`
      ]
        .map((value): SentHeaders => [['authorization', value]])
    ],
    header_ambiguous: [
      [['authorization', `Bearer ${signed()}`], ['Authorization', `Bearer ${signed()}`]],
      [['authorization', 'Basic eDp5'], ['AUTHORIZATION', `Bearer ${signed()}`]]
    ],
    header_empty: [[['authorization', '']]]
  },
  'A36 two credentials at once': {
    two_credentials: [
      [...bearer(signed()), ['x-user', 'root']],
      [...bearer(signed()), ['cookie', `token=${forge(rsa, base({ iss: BOTH }))}`], ['origin', SITE]],
      [['cookie', 'token=x'], ['x-user', 'root'], ['origin', SITE]]
    ]
  },
  'A40 compression and costly key derivation': {
    header_not_understood: [signed({}, { zip: 'DEF' })],
    algorithm_not_allowed: [signed({}, { alg: 'PBES2-HS256+A128KW', p2c: 2 ** 31, p2s: 'AAAA' })],
    token_malformed: [
      encode({ alg: 'PBES2-HS256+A128KW', enc: 'A128GCM', p2c: 2 ** 31, p2s: 'AAAA', zip: 'DEF' }) + '.AAAA'.repeat(4)
    ]
  },
  'A32 a token bound to a key (cnf)': {
    token_bound_to_key: [signed({ cnf: { jkt: 'AAAA' } })]
  }
}

const PASSED: Record<string, Record<string, string | SentHeaders>> = {
  'every algorithm that is allowed': {
    RS256: signed(),
    PS256: forge(pss, base()),
    ES256: forge(ec, base()),
    EdDSA: forge(ed, base()),
    'PS256 by a key without alg': forge({ ...rsa, alg: 'PS256' }, base())
  },
  'HMAC, with the old and the new secret': {
    old: forgeHmac(SECRETS.OLD, base({ iss: HMAC })), new: forgeHmac(SECRETS.NEW, base({ iss: HMAC }), { kid: 'any' })
  },
  'A16 within the tolerance': {
    inside: signed({ exp: NOW - 29, iat: NOW - 60 }),
    'at its edge': signed({ exp: NOW - 30, iat: NOW - 60 }),
    fraction: signed({ exp: NOW + 0.5 })
  },
  'A17 within the tolerance': {
    nbf: signed({ nbf: NOW + 30 }), iat: signed({ iat: NOW + 30 }), 'no iat': signed({ iat: undefined })
  },
  'A20 our audience among others': {
    string: signed({ aud: 'voice-app' }),
    array: signed({ aud: ['other', 'voice-app'] }),
    'one of ours': forge(rsa, base({ iss: BOTH, aud: 'voice-app-2' }))
  },
  'A20 a claim that stands in for the audience': {
    array: forge(rsa, base({ iss: PARTY, aud: undefined, azp: ['x', 'spa'], email_verified: true })),
    'any audience': forge(rsa, base({ iss: PARTY, aud: 'x', azp: 'spa', email_verified: true }))
  },
  'A22 the key of each issuer, of the same kid': { other: forge(other, base({ iss: OTHER })) },
  'A23 subjects at the edge': {
    long: signed({ sub: 's'.repeat(255) }), unicode: signed({ sub: 'Zoë 🎙' }), colon: signed({ sub: 'auth0|1' })
  },
  'A31 cty alone': { cty: signed({}, { cty: 'JWT' }) },
  'A32 the type in any spelling of RFC 7515': Object.fromEntries([
    'at+jwt', 'AT+JWT', 'application/at+jwt', 'Application/At+Jwt'
  ].map((typ) => [typ, forge(rsa, base({ iss: TYPED }), { typ })])),
  'A35 the scheme in any case': Object.fromEntries(
    ['bearer', 'BEARER', 'bEaReR'].map((scheme) => [scheme, [['authorization', `${scheme} ${signed()}`]]])
  ),
  'A35, E8 the configured cookie, or a bearer token of the same issuer': {
    cookie: [['cookie', `a=b; token=${forge(rsa, base({ iss: BOTH }))}`], ['origin', SITE]],
    bearer: forge(rsa, base({ iss: BOTH }))
  },
  'Entra ID tokens carry x5t': { x5t: signed({}, { x5t: 'AAAA' }) }
}

t.test('tokens that are refused', async (t) => {
  const { ask } = await start(t)
  for (const [name, reasons] of Object.entries(REFUSED)) {
    await t.test(name, async (t) => {
      for (const [reason, attempts] of Object.entries(reasons)) {
        for (const [i, sent] of attempts.entries()) {
          const answer = await ask(typeof sent === 'string' ? bearer(sent) : sent)
          // The reason ends with the name of the algorithm.
          const expected = answer.reason?.startsWith(`${reason}: `) ? answer.reason : reason
          assertRefused(t, answer, expected, `${reason} ${i}`)
        }
      }
    })
  }
  for (const [name, attempts] of Object.entries(PASSED)) {
    await t.test(`but not: ${name}`, async (t) => {
      for (const [variant, sent] of Object.entries(attempts)) {
        const answer = await ask(typeof sent === 'string' ? bearer(sent) : sent)
        assertPassed(t, answer, {}, variant)
        t.same(
          { iss: answer.caller?.issuer, sub: answer.caller?.subject },
          { iss: answer.caller?.claims.iss, sub: answer.caller?.claims.sub }
        )
        t.ok(Object.isFrozen(answer.caller?.claims))
      }
    })
  }
})

function publicForms (): (string | Buffer)[] {
  const pem = rsa.publicKey.export({ format: 'pem', type: 'spki' }) as string
  return [
    pem, pem.trim(), `${pem}\n`, ` ${pem}`, `\ufeff${pem}`, `#${pem}`, `\u200b${pem}`,
    rsa.publicKey.export({ format: 'pem', type: 'pkcs1' }) as string,
    rsa.publicKey.export({ format: 'der', type: 'spki' }), JSON.stringify(rsa.jwk),
    Buffer.from(rsa.jwk.n as string, 'base64url'), createHash('sha256').update(pem).digest()
  ]
}

function resign (token: string, by: (input: Buffer) => Buffer): string {
  const input = token.slice(0, token.lastIndexOf('.'))
  return `${input}.${by(Buffer.from(input)).toString('base64url')}`
}

/** Other spellings that a lenient decoder reads as the same bytes. */
function respelled (token: string): string[] {
  const [header, claims, end] = token.split('.') as [string, string, string]
  return [
    `${header}.${claims}/.${end}`, `${header}.${claims}.+${end}`,
    `${header}.${claims}.${end.slice(0, -1)}${{ A: 'B', Q: 'R', g: 'h', w: 'x' }[end.at(-1) as string]}`
  ]
}

function encrypted (header: { alg: string, enc: string, cty?: string }): Promise<string> {
  return new EncryptJWT(base()).setProtectedHeader(header).encrypt(Buffer.alloc(32))
}

// A policy's callers: six issuers, a gateway and guests, and tokens for them.

import type { Test } from 'tap'
import type { CallerEntry } from '../../src/callers/schema.ts'
import { answers, startHostileIssuer } from '../support/hostile-issuer.ts'
import { createSigner, encode, forge } from './forge.ts'
import { NOW, serve } from './harness.ts'

export const ISSUER = 'https://auth.example.com/'
export const OTHER = 'https://other.example.com/'
export const HMAC = 'https://hmac.example.com'
export const BOTH = 'https://both.example.com'
export const TYPED = 'https://typed.example.com'
export const PARTY = 'https://party.example.com'

export const [rsa, pss, ec, ed] = [
  createSigner('RS256'), createSigner('PS256'), createSigner('ES256'), createSigner('EdDSA')
]
export const [other, attacker, ec384] = [
  createSigner('RS256', 'key-RS256'), createSigner('RS256', 'attacker'), createSigner('ES384')
]
export const SECRETS = { OLD: 'o'.repeat(32), NEW: 'an HMAC secret that is long enough' }

export const base = (claims: object = {}) =>
  ({ iss: ISSUER, sub: 'user-1', aud: 'voice-app', iat: NOW - 10, exp: NOW + 600, ...claims })
export const signed = (claims: object = {}, header: object = {}) => forge(rsa, base(claims), header)

export async function start (t: Test) {
  const keys = await startHostileIssuer(t, (response, { url }) => {
    answers({ keys: (url === '/other' ? [other] : [rsa, pss, ec, ed, ec384]).map(({ jwk }) => jwk) })(
      response, null as never
    )
  })
  const jwks = `${keys.url}/keys`
  const entries: CallerEntry[] = [
    { jwt: { issuer: ISSUER, audience: 'voice-app', jwks } },
    { jwt: { issuer: OTHER, audience: 'voice-app', jwks: `${keys.url}/other` } },
    { jwt: { issuer: HMAC, audience: 'voice-app', secret_env: ['OLD', 'NEW'] } },
    { jwt: { issuer: BOTH, audience: ['voice-app', 'voice-app-2'], jwks, secret_file: 'NEW', cookie: 'token' } },
    { jwt: { issuer: TYPED, audience: 'voice-app', jwks, type: 'at+JWT', max_lifetime: 3600, clock_tolerance: 0 } },
    { jwt: { issuer: PARTY, jwks, require: { azp: ['https://app.example.com', 'spa'], email_verified: true } } },
    {
      gateway: {
        issuer: 'gateway', header: 'x-user', from: ['127.0.0.1'], secret_header: 'x-gateway-secret', secret_env: 'NEW'
      }
    },
    { guest: {} }
  ]
  return { ...await serve(t, entries, { secrets: SECRETS }), keys, entries }
}

/** Changes the claims and keeps the original signature. */
export function tampered (token: string): string {
  const [header, , end] = token.split('.')
  return `${header}.${encode(base({ sub: 'root' }))}.${end}`
}

// One `callers` entry for each well-known identity provider, with a token as its public documentation shows it.
// docs/callers.md quotes the YAML; the tests sign such tokens with their own keys.

import type { JsonObject } from '../../src/json.ts'

export type Recipe = Readonly<{
  name: string
  callers: string
  /** The `when` of a policy for paying users. */
  when: JsonObject
  /** The URL of the keys, or discovery. */
  keys: string
  alg: 'RS256' | 'ES256' | 'HS256'
  header: JsonObject
  /** Those of a paying user; `iat` and `exp` are added. */
  claims: JsonObject
  /** Changes to the claims that make the token invalid. */
  wrong: readonly JsonObject[]
  /** Sources, and pitfalls. */
  notes: string
}>

const DISCOVERY = 'discovery'
const USER = '248289dc-7a3f-4c0e-9a51-3f1f2f44a0aa'

export const RECIPES: readonly Recipe[] = [
  {
    name: 'Auth0',
    callers: `
- jwt:
    issuer: https://example.eu.auth0.com/     # with the slash at its end
    audience: https://voice.example.com       # the identifier of the API in Auth0
`,
    when: { 'https://example.com/plan': ['pro', 'team'] },
    keys: DISCOVERY,
    alg: 'RS256',
    header: { typ: 'JWT', kid: 'Pz9xQ1' },
    claims: {
      iss: 'https://example.eu.auth0.com/',
      sub: 'auth0|6553da60a54af58e29493993',
      aud: ['https://voice.example.com', 'https://example.eu.auth0.com/userinfo'],
      azp: 'K1AUPhZq8mRi0Q0pjhkfu1D7y6KjDQja',
      scope: 'openid profile email',
      'https://example.com/plan': 'pro'
    },
    wrong: [
      { iss: 'https://example.eu.auth0.com' }, { aud: 'K1AUPhZq8mRi0Q0pjhkfu1D7y6KjDQja' },
      { aud: ['https://example.eu.auth0.com/userinfo'] }
    ],
    notes: 'auth0.com/docs/secure/tokens/access-tokens/access-token-profiles. A namespaced claim is set by an ' +
      'Action from app_metadata; user_metadata is the user\'s own. Without an audience in the login ' +
      'request Auth0 issues an opaque or encrypted token.'
  },
  {
    name: 'Clerk',
    callers: `
- jwt:
    issuer: https://clerk.example.com         # the Frontend API URL
    jwks: https://clerk.example.com/.well-known/jwks.json
    require: { azp: [https://app.example.com, null] }   # no aud; after a navigation no azp either
    # cookie: __session                       # where Ephemint is on the app's own origin
`,
    when: { '/metadata/plan': 'pro' },
    keys: 'https://clerk.example.com/.well-known/jwks.json',
    alg: 'RS256',
    header: { typ: 'JWT', kid: 'ins_2abc', cat: 'cl_B7d4PD111AAA' },
    claims: {
      azp: 'https://app.example.com',
      fva: [7, -1],
      iss: 'https://clerk.example.com',
      jti: '0f4e6d6b6d3b',
      sid: 'sess_2iY5',
      sts: 'active',
      sub: 'user_2NNEqL2nrIRdJ194ndJqAHwEfxC',
      pla: 'u:pro',
      v: 2,
      metadata: { plan: 'pro' }
    },
    wrong: [{ azp: 'https://evil.example' }, { azp: '' }, { iss: 'https://other.clerk.accounts.dev' }],
    notes: 'clerk.com/docs/guides/sessions/session-tokens. `metadata` is a custom session claim, ' +
      '"{{user.public_metadata}}"; with Clerk Billing, `pla` names the plan (u:pro). unsafe_metadata is ' +
      'the user\'s own.'
  },
  {
    name: 'Supabase',
    callers: `
- jwt:
    issuer: https://abcdefghijkl.supabase.co/auth/v1
    audience: authenticated
    jwks: https://abcdefghijkl.supabase.co/auth/v1/.well-known/jwks.json
    require: { is_anonymous: false }          # leave out where anonymous sign-ins may call
`,
    when: { '/app_metadata/plan': 'pro' },
    keys: 'https://abcdefghijkl.supabase.co/auth/v1/.well-known/jwks.json',
    alg: 'ES256',
    header: { typ: 'JWT', kid: '1eebd6c2-58f3-4a39-9d0a-6a3e6a2a7f10' },
    claims: {
      iss: 'https://abcdefghijkl.supabase.co/auth/v1',
      sub: USER,
      aud: 'authenticated',
      role: 'authenticated',
      aal: 'aal1',
      amr: [{ method: 'password', timestamp: 1_780_000_000 }],
      session_id: '0a3c7f6e-1df2-4b58-8d0b-77c1d7b1a111',
      email: 'jane@example.com',
      phone: '',
      app_metadata: { provider: 'email', providers: ['email'], plan: 'pro' },
      user_metadata: { plan: 'team' },
      is_anonymous: false
    },
    wrong: [{ aud: 'anon' }, { is_anonymous: true }, { iss: 'supabase', sub: null }],
    notes: 'supabase.com/docs/guides/auth/jwt-fields. The plan stands in app_metadata, which only the server ' +
      'writes; users write user_metadata themselves. A project that has no asymmetric signing key yet ' +
      'publishes no keys: see the next one.'
  },
  {
    name: 'Supabase, while it moves away from its JWT secret',
    callers: `
- jwt:
    issuer: https://abcdefghijkl.supabase.co/auth/v1
    audience: authenticated
    secret_env: SUPABASE_JWT_SECRET           # HS256 tokens, until the last of them has expired
    jwks: https://abcdefghijkl.supabase.co/auth/v1/.well-known/jwks.json   # once the project has signing keys
`,
    when: { '/app_metadata/plan': 'pro' },
    keys: 'https://abcdefghijkl.supabase.co/auth/v1/.well-known/jwks.json',
    alg: 'HS256',
    header: { typ: 'JWT', kid: 'lGq6ZVC7xkM0' },
    claims: {
      iss: 'https://abcdefghijkl.supabase.co/auth/v1',
      sub: USER,
      aud: 'authenticated',
      role: 'authenticated',
      app_metadata: { plan: 'pro' },
      user_metadata: {},
      is_anonymous: false
    },
    wrong: [{ aud: 'anon' }, { iss: 'supabase' }],
    notes: 'supabase.com/docs/guides/auth/signing-keys.'
  },
  {
    name: 'Firebase',
    callers: `
- jwt:
    issuer: https://securetoken.google.com/my-project
    audience: my-project
    jwks: https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com
`,
    when: { plan: 'pro' },
    keys: 'https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com',
    alg: 'RS256',
    header: { typ: 'JWT', kid: 'a1b2c3' },
    claims: {
      iss: 'https://securetoken.google.com/my-project',
      aud: 'my-project',
      auth_time: 1_780_000_000,
      user_id: 'kX3vJ9uQ2mZp',
      sub: 'kX3vJ9uQ2mZp',
      email: 'jane@example.com',
      email_verified: true,
      firebase: { identities: { email: ['jane@example.com'] }, sign_in_provider: 'password' },
      plan: 'pro'
    },
    wrong: [
      { aud: 'other-project' }, { iss: 'https://securetoken.google.com/other-project' },
      { iss: 'https://session.firebase.google.com/my-project' }, { sub: '' }
    ],
    notes: 'firebase.google.com/docs/auth/admin/verify-id-tokens and /custom-claims. The ID token is what ' +
      'Firebase apps send; custom claims stand beside its own. Anonymous users: `when: { ' +
      '/firebase/sign_in_provider: anonymous }`.'
  },
  {
    name: 'Cognito',
    callers: `
- jwt:
    issuer: https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI
    require: { token_use: access, client_id: [1example23456789] }   # access tokens carry no aud
`,
    when: { 'cognito:groups': 'pro' },
    keys: DISCOVERY,
    alg: 'RS256',
    header: { kid: '1234example=' },
    claims: {
      sub: USER,
      'cognito:groups': ['beta', 'pro'],
      iss: 'https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_AbCdEfGhI',
      client_id: '1example23456789',
      origin_jti: 'aaaaaaaa-bbbb-cccc-dddd-example',
      event_id: '64f513be-32db-42b0-b78e-example',
      token_use: 'access',
      scope: 'openid',
      auth_time: 1_780_000_000,
      jti: 'bbbbbbbb-cccc-dddd-eeee-example',
      username: 'janedoe'
    },
    wrong: [{ token_use: 'id', aud: '1example23456789', client_id: null }, { client_id: 'other' }, { token_use: 'id' }],
    notes: 'docs.aws.amazon.com/cognito/latest/developerguide, "Understanding the access token". Groups are ' +
      'the server\'s; an attribute that the app client may write (custom:plan) is the user\'s.'
  },
  {
    name: 'Entra ID',
    callers: `
- jwt:
    issuer: https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0
    audience: 66666666-7777-8888-9999-000000000000   # the client ID of the API's app registration, token version 2
`,
    when: { roles: 'Voice.Pro' },
    keys: DISCOVERY,
    alg: 'RS256',
    header: { typ: 'JWT', kid: 'nOo3ZDrODXEK1jKWhXslHR_KXEg' },
    claims: {
      aud: '66666666-7777-8888-9999-000000000000',
      iss: 'https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0',
      nbf: 1_780_000_000,
      aio: 'AWQAm',
      azp: 'aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb',
      azpacr: '0',
      oid: USER,
      rh: '0.AX',
      roles: ['Voice.Pro'],
      scp: 'Voice.Mint',
      sub: 'AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ',
      tid: '11111111-2222-3333-4444-555555555555',
      uti: 'fqiBqXLPj0eQa82S-IYFAA',
      ver: '2.0'
    },
    wrong: [
      { aud: 'api://66666666-7777-8888-9999-000000000000' }, { aud: '00000003-0000-0000-c000-000000000000' },
      { iss: 'https://sts.windows.net/11111111-2222-3333-4444-555555555555/' }
    ],
    notes: 'learn.microsoft.com/entra/identity-platform/access-token-claims-reference. One tenant is one ' +
      'issuer. `sub` is the user within this API; `roles` are app roles of the API\'s registration.'
  },
  {
    name: 'Keycloak',
    callers: `
- jwt:
    issuer: https://sso.example.com/realms/main
    audience: voice-app                       # by an audience mapper: Keycloak adds none of itself
`,
    when: { '/realm_access/roles': 'pro' },
    keys: DISCOVERY,
    alg: 'RS256',
    header: { typ: 'JWT', kid: 'nnniBrxL0qhG79pkF3ccQj_l0jDmxKrYYy2YLlEe1s' },
    claims: {
      jti: 'onrtac:3c0b2a4e',
      iss: 'https://sso.example.com/realms/main',
      aud: ['voice-app', 'account'],
      sub: USER,
      typ: 'Bearer',
      azp: 'web-client',
      sid: '4c0a3a8a-3a47-4f2f-8e89-9e5f9b0a0a0a',
      acr: '1',
      'allowed-origins': ['https://app.example.com'],
      realm_access: { roles: ['default-roles-main', 'pro'] },
      resource_access: { account: { roles: ['view-profile'] } },
      scope: 'openid profile',
      preferred_username: 'jane'
    },
    wrong: [{ aud: 'account' }, { aud: null }, { iss: 'https://sso.example.com/realms/master' }],
    notes: 'keycloak.org/docs/latest/server_admin, "Audience support".'
  }
]

/** An app with its own cookie sessions: no token at all. */
export const COOKIE_APP = `
- forward:
    issuer: app
    url: https://app.example.com/api/me       # answers 200 with JSON for a logged-in user
    cookie: sid                               # the session cookie, and the only one that is passed
    pass: [cookie]
    subject: /id
`

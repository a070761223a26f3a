// One `callers` entry for each well-known identity provider, with a token or an answer as its public documentation
// shows it. docs/callers.md quotes the YAML; the tests sign such tokens with their own keys.

import type { Json, JsonObject } from '../../src/json.ts'

/** Claims to override; undefined removes one. */
type Changes = Readonly<Record<string, Json | undefined>>

export type Recipe = Readonly<{
  name: string
  callers: string
  /** The `when` of a policy for paying users. */
  when: JsonObject
  /** The URL of the keys, or discovery. */
  keys: string
  alg: 'RS256' | 'ES256' | 'ES384' | 'HS256'
  /** The token's header. */
  header: JsonObject
  /** The request header that carries the token, if it is not Authorization. */
  sentIn?: string
  /** The claim that is the subject, if it is not `sub`. */
  subject?: string
  /** Changes to the claims that leave the token valid. */
  right?: readonly Changes[]
  /** The claims of a paying user; `iat` and `exp` are added. */
  claims: JsonObject
  /** Changes to the claims that make the token invalid. */
  wrong: readonly Changes[]
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
    require: { azp: [https://app.example.com, null] }   # session tokens carry no aud, and some no azp
    # cookie: __session                       # on the app's own origin, for pages that send no other token
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
    right: [{ azp: undefined }],
    wrong: [
      { azp: 'https://evil.example' }, { azp: '' }, { azp: [] }, { iss: 'https://other.clerk.accounts.dev' }
    ],
    notes: 'clerk.com/docs/guides/sessions/session-tokens. `azp` is the Origin of the request for the token, and ' +
      'missing where there was none: top-level navigation, native apps. `metadata` is a custom session claim, ' +
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
    name: 'Entra ID, several tenants',
    callers: `
- jwt:
    issuer:                                   # the tenants that may call; {tenantid} is not understood
      - https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0
      - https://login.microsoftonline.com/99999999-8888-7777-6666-555555555555/v2.0
    audience: 66666666-7777-8888-9999-000000000000   # of the one registration, token version 2
    jwks: https://login.microsoftonline.com/common/discovery/v2.0/keys   # the same keys for all tenants
`,
    when: { roles: 'Voice.Pro' },
    keys: 'https://login.microsoftonline.com/common/discovery/v2.0/keys',
    alg: 'RS256',
    header: { typ: 'JWT', kid: 'nOo3ZDrODXEK1jKWhXslHR_KXEg' },
    claims: {
      aud: '66666666-7777-8888-9999-000000000000',
      iss: 'https://login.microsoftonline.com/99999999-8888-7777-6666-555555555555/v2.0',
      azp: 'aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb',
      oid: USER,
      roles: ['Voice.Pro'],
      scp: 'Voice.Mint',
      sub: 'AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ',
      tid: '99999999-8888-7777-6666-555555555555',
      ver: '2.0'
    },
    wrong: [
      { iss: 'https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000/v2.0' },
      { iss: 'https://login.microsoftonline.com/common/v2.0' },
      { iss: 'https://login.microsoftonline.com/{tenantid}/v2.0' },
      { aud: '00000003-0000-0000-c000-000000000000' }
    ],
    notes: 'learn.microsoft.com/entra/identity-platform/access-tokens, "Validate the issuer". Of the tokens of the ' +
      'common endpoint each names the tenant of its user. Any tenant of the world can get one, so those that may ' +
      'call are listed.'
  },
  {
    name: 'Azure AD B2C',
    callers: `
- jwt:
    issuer: https://contoso.b2clogin.com/11111111-2222-3333-4444-555555555555/v2.0/   # with the slash at its end
    audience: 66666666-7777-8888-9999-000000000000   # the client ID of the API
    jwks: https://contoso.b2clogin.com/contoso.onmicrosoft.com/B2C_1_signin/discovery/v2.0/keys
    require: { tfp: B2C_1_signin }            # or acr: the user flow that signs in
    subject: oid                              # sub is the same sentence in every token
`,
    when: { extension_plan: 'pro' },
    keys: 'https://contoso.b2clogin.com/contoso.onmicrosoft.com/B2C_1_signin/discovery/v2.0/keys',
    alg: 'RS256',
    header: { typ: 'JWT', kid: 'X5eXk4xyojNFum1kl2Ytv8dlNP4-c57dO6QGTVBwaNk' },
    subject: 'oid',
    claims: {
      iss: 'https://contoso.b2clogin.com/11111111-2222-3333-4444-555555555555/v2.0/',
      nbf: 1_780_000_000,
      aud: '66666666-7777-8888-9999-000000000000',
      idp: 'LocalAccount',
      oid: USER,
      sub: 'Not supported currently. Use oid claim.',
      extension_plan: 'pro',
      tfp: 'B2C_1_signin',
      scp: 'mint',
      azp: 'aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb',
      ver: '1.0'
    },
    right: [{ sub: undefined }, { sub: USER }],
    wrong: [
      { oid: undefined }, { oid: '' }, { tfp: 'B2C_1_edit_profile' }, { aud: 'another-client' },
      { iss: 'https://contoso.b2clogin.com/11111111-2222-3333-4444-555555555555/v2.0' },
      { iss: 'https://contoso.b2clogin.com/tfp/11111111-2222-3333-4444-555555555555/b2c_1_signin/v2.0/' }
    ],
    notes: 'learn.microsoft.com/azure/active-directory-b2c/tokens-overview. User flows write a sentence into sub ' +
      'unless "Subject (sub) claim" is set to the object ID. The keys are those of the user flow, and no discovery ' +
      'document stands under the issuer. An attribute that an edit flow offers is the user\'s own.'
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
  },
  {
    name: 'Logto',
    callers: `
- jwt:
    issuer: https://example.logto.app/oidc
    audience: https://voice.example.com       # the API resource; without it in the request the token is opaque
    algorithms: [ES384]
`,
    when: { scope: 'voice:pro' },
    keys: DISCOVERY,
    alg: 'ES384',
    header: { typ: 'at+jwt', kid: 'XrNs9yWz0IFdYyVNBlQ1d9Z4m2gf7hTyLBCDbYCiB8E' },
    claims: {
      jti: 'nUBRpYHZ5cqMyvV8yV1dU',
      sub: 'foz2r9aaw4vi',
      iss: 'https://example.logto.app/oidc',
      aud: 'https://voice.example.com',
      client_id: 'gthwi145jrqgqw7itehxz',
      scope: 'voice:mint voice:pro'
    },
    wrong: [
      { aud: 'https://api.example.com' }, { aud: undefined }, { iss: 'https://example.logto.app' },
      { iss: 'https://other.logto.app/oidc' }
    ],
    notes: 'docs.logto.io/authorization/validate-access-tokens. Signed with ES384 unless the key was rotated to RSA. ' +
      'Permissions of the API resource are words of scope.'
  },
  {
    name: 'WorkOS',
    callers: `
- jwt:
    issuer: https://api.workos.com/user_management/client_01HBEQKA6K4QJAS93VPE39W1JT
    audience: client_01HBEQKA6K4QJAS93VPE39W1JT   # by a line "aud" in the JWT template: there is none of itself
    jwks: https://api.workos.com/sso/jwks/client_01HBEQKA6K4QJAS93VPE39W1JT
`,
    when: { permissions: 'voice:pro' },
    keys: 'https://api.workos.com/sso/jwks/client_01HBEQKA6K4QJAS93VPE39W1JT',
    alg: 'RS256',
    header: { kid: 'sso_oidc_key_pair_01HBEQKA6K4' },
    claims: {
      iss: 'https://api.workos.com/user_management/client_01HBEQKA6K4QJAS93VPE39W1JT',
      aud: 'client_01HBEQKA6K4QJAS93VPE39W1JT',
      sub: 'user_01HBEQKA6K4QJAS93VPE39W1JT',
      org_id: 'org_01HRDMC6CM357W30QMHMQ96Q0S',
      role: 'member',
      roles: ['member'],
      permissions: ['posts:read', 'voice:pro'],
      entitlements: ['audit-logs'],
      sid: 'session_01HQSXZGF8FHF7A9ZZFCW4387R',
      jti: '01HQSXZXPPFPKMDD32RKTFY6PV'
    },
    wrong: [
      { aud: undefined }, { aud: 'client_01OTHER' }, { iss: 'https://api.workos.com' },
      { iss: 'https://api.workos.com/user_management/client_01OTHER' }
    ],
    notes: 'workos.com/docs/reference/authkit/session-tokens. iss is the client\'s, https://api.workos.com/ in older ' +
      'environments, or the auth domain; look into one token. role and permissions are those in the organization.'
  },
  {
    name: 'Zitadel',
    callers: `
- jwt:
    issuer: https://example.zitadel.cloud
    audience: '373211204509761704'            # the project; the app issues access tokens of type JWT
`,
    when: { 'urn:zitadel:iam:org:project:roles': 'pro' },
    keys: DISCOVERY,
    alg: 'RS256',
    header: { typ: 'JWT', kid: '301243289436815362' },
    claims: {
      iss: 'https://example.zitadel.cloud',
      sub: '286114317921714178',
      aud: ['301243289436749826', '373211204509761704'],
      client_id: '301243289436749826',
      jti: 'V2_301243292725149698-at_301243292725215234',
      nbf: 1_780_000_000,
      'urn:zitadel:iam:org:project:roles': {
        pro: { '178204173316174381': 'example.zitadel.cloud' },
        viewer: { '178204173316174381': 'example.zitadel.cloud' }
      }
    },
    wrong: [{ aud: ['301243289436749826'] }, { aud: undefined }, { iss: 'https://other.zitadel.cloud' }],
    notes: 'zitadel.com/docs/apis/openidoauth/claims. Roles are the member names of an object, where the project ' +
      'asserts roles on authentication and its audience scope is asked for.'
  },
  {
    name: 'Google IAP',
    callers: `
- jwt:
    issuer: https://cloud.google.com/iap
    audience: /projects/123456789012/global/backendServices/4242424242424242424
    jwks: https://www.gstatic.com/iap/verify/public_key-jwk
    header: x-goog-iap-jwt-assertion
`,
    when: { '/google/access_levels': 'accessPolicies/9522/accessLevels/pro' },
    keys: 'https://www.gstatic.com/iap/verify/public_key-jwk',
    alg: 'ES256',
    header: { typ: 'JWT', kid: 'rTlk-g' },
    sentIn: 'x-goog-iap-jwt-assertion',
    claims: {
      aud: '/projects/123456789012/global/backendServices/4242424242424242424',
      azp: '/projects/123456789012/global/backendServices/4242424242424242424',
      email: 'jane@example.com',
      google: { access_levels: ['accessPolicies/9522/accessLevels/staff', 'accessPolicies/9522/accessLevels/pro'] },
      hd: 'example.com',
      identity_source: 'GOOGLE',
      iss: 'https://cloud.google.com/iap',
      sub: 'accounts.google.com:118133858486581853996'
    },
    wrong: [
      { aud: '/projects/123456789012/global/backendServices/1' }, { aud: '/projects/123456789012/apps/my-project' },
      { iss: 'https://accounts.google.com' }
    ],
    notes: 'cloud.google.com/iap/docs/signed-headers-howto. IAP removes such a header of a client. The headers ' +
      'x-goog-authenticated-user-* are not signed.'
  },
  {
    name: 'Cloudflare Access',
    callers: `
- jwt:
    issuer: https://example.cloudflareaccess.com
    audience: 32eafc7626e974616deaf0dc3ce63d7bcbed58a2731e84d06bc3cdf1b53c4228   # the AUD tag of the application
    jwks: https://example.cloudflareaccess.com/cdn-cgi/access/certs
    header: cf-access-jwt-assertion
    # cookie: CF_Authorization                # the same token, where the page is of another origin
`,
    when: { '/custom/groups': 'pro' },
    keys: 'https://example.cloudflareaccess.com/cdn-cgi/access/certs',
    alg: 'RS256',
    header: { typ: 'JWT', kid: '9338abe1baf2fe492f646a736f25afbf7b025e35c627be4f60c414d4c73069b8' },
    sentIn: 'cf-access-jwt-assertion',
    claims: {
      aud: ['32eafc7626e974616deaf0dc3ce63d7bcbed58a2731e84d06bc3cdf1b53c4228'],
      email: 'jane@example.com',
      nbf: 1_780_000_000,
      iss: 'https://example.cloudflareaccess.com',
      type: 'app',
      identity_nonce: '6ei69kawdKzMIAPF',
      sub: USER,
      country: 'DE',
      custom: { groups: ['staff', 'pro'] }
    },
    wrong: [
      { aud: ['0123456789abcdef'] }, { iss: 'https://other.cloudflareaccess.com' },
      { sub: '', common_name: 'e367826f93b8d71185e03fe518aff3b4.access' }
    ],
    notes: 'developers.cloudflare.com/cloudflare-one/identity/authorization-cookie/application-token. A service ' +
      'token has an empty sub, and is refused. Claims of the identity provider stand under custom, as configured.'
  }
]

type EndpointAnswer = Readonly<{ status: number, headers?: Readonly<Record<string, string>>, body: string }>

/** An endpoint that knows the user of a cookie. */
export type EndpointRecipe = Readonly<{
  name: string
  callers: string
  /** The `when` of a policy for paying users; null where the answer has no claims. */
  when: JsonObject | null
  /** The names of the session cookie: whole, and in pieces. */
  cookies: readonly (readonly string[])[]
  /** The answer for a paying user, who is `subject`. */
  answer: EndpointAnswer
  subject: string
  /** Answers for anyone else; each leads to a 401. */
  refused: readonly EndpointAnswer[]
  notes: string
}>

const OK = (body: unknown): EndpointAnswer => ({ status: 200, body: JSON.stringify(body) })
const SESSION = { name: 'Jane', email: 'jane@example.com', image: null, id: 'cm2x9y8zq0000', plan: 'pro' }

export const ENDPOINT_RECIPES: readonly EndpointRecipe[] = [
  {
    name: 'Auth.js',
    callers: `
- forward:
    issuer: authjs
    url: https://app.example.com/api/auth/session
    cookie: __Secure-authjs.session-token     # NextAuth.js 4: __Secure-next-auth.session-token
    pass: [cookie]
    subject: /user/id                         # by the session callback: session.user.id = token.sub
`,
    when: { '/user/plan': 'pro' },
    cookies: [
      ['__Secure-authjs.session-token'], ['__Secure-authjs.session-token.0', '__Secure-authjs.session-token.1']
    ],
    answer: OK({ user: SESSION, expires: '2026-07-01T12:00:00.000Z' }),
    subject: 'cm2x9y8zq0000',
    refused: [OK(null), OK({}), OK({ user: { name: 'Jane', email: 'jane@example.com' }, expires: '2026-07-01' })],
    notes: 'authjs.dev/guides/extending-the-session. By default a session has name, email and image and no id. A ' +
      'visitor who is signed out gets null, with NextAuth.js 4 {}. A large session comes as NAME.0, NAME.1.'
  },
  {
    name: 'oauth2-proxy',
    callers: `
- forward:
    issuer: oauth2-proxy
    url: http://oauth2-proxy:4180/oauth2/auth
    insecure_http: true                       # within the cluster
    cookie: _oauth2_proxy
    pass: [cookie]
    subject_header: x-auth-request-user       # oauth2-proxy runs with --set-xauthrequest
`,
    when: null,
    cookies: [['_oauth2_proxy'], ['_oauth2_proxy_0', '_oauth2_proxy_1']],
    answer: {
      status: 202,
      headers: { 'x-auth-request-user': USER, 'x-auth-request-email': 'jane@example.com' },
      body: ''
    },
    subject: USER,
    refused: [
      { status: 401, body: 'Unauthorized\n' }, { status: 403, body: 'Forbidden\n' },
      { status: 202, headers: { 'x-auth-request-email': 'jane@example.com' }, body: '' },
      { status: 202, headers: { 'x-auth-request-user': '' }, body: '' }
    ],
    notes: 'oauth2-proxy.github.io/oauth2-proxy/configuration/integration. 202 without a body; a large session comes ' +
      'as NAME_0, NAME_1. There are no claims: a policy says when: any.'
  },
  {
    name: 'An app with its own cookie sessions',
    callers: `
- forward:
    issuer: app
    url: https://app.example.com/api/me       # answers 200 with JSON for a logged-in user
    cookie: sid                               # the session cookie, and the only one that is passed
    pass: [cookie]
    subject: /id
`,
    when: { '/subscription/plan': 'pro' },
    cookies: [['sid']],
    answer: OK({ id: 42, subscription: { plan: 'pro' } }),
    subject: '42',
    refused: [OK({}), OK(null), OK({ id: null }), { status: 401, body: '' }, { status: 302, body: '' }],
    notes: 'Rails, Django and Laravel number their users: an integer is a subject.'
  }
]

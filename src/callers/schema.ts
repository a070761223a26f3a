// Schema of the `callers` list of the policy file: one entry type for each way to authenticate.

import Type, { type Static } from 'typebox'
import { described, optional } from '../schema/describe.ts'

const closed = { additionalProperties: false }
const name = Type.String({ minLength: 1, maxLength: 255 })
// RFC 6265, section 4.1.1.
const cookieName = Type.String({ pattern: '^[\\w!#$%&\'*+.^`|~-]{1,255}$' })
const scalar = Type.Union([Type.String(), Type.Number(), Type.Boolean()])
const oneOrMore = <T extends Type.TSchema>(item: T) =>
  Type.Union([item, Type.Array(item, { minItems: 1, uniqueItems: true })])

export const ALGORITHMS = [
  'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'HS256', 'HS384', 'HS512'
] as const

/** One algorithm has two names: RFC 9864 calls EdDSA by its curve. */
export function algorithmNamed (name: string): string {
  return name === 'Ed25519' ? 'EdDSA' : name
}

const insecureHttp = optional('true: allows http to another host than loopback.', Type.Boolean())

export const JwtEntry = Type.Object({
  issuer: described('Exactly as in the token\'s iss. Its discovery document names the keys.', oneOrMore(name)),
  audience: optional(
    'The token\'s aud must contain one of these. May be omitted only if require names a claim.', oneOrMore(name)
  ),
  jwks: optional('URL of the JWKS, if there is no discovery document, or a list of issuers.', name),
  secret_env: optional('HS256: names of environment variables; old and new during a rotation.', oneOrMore(name)),
  secret_file: optional('HS256: paths of files with the secret; old and new during a rotation.', oneOrMore(name)),
  secret_encoding: optional(
    'How the secret is written. Default: utf8, its own bytes; base64: base64 or base64url of the key.',
    Type.Enum(['utf8', 'base64'])
  ),
  algorithms: optional(
    'Default: RS256, PS256, ES256, EdDSA; with a secret HS256.',
    Type.Array(Type.Enum([...ALGORITHMS, 'Ed25519']), { minItems: 1, uniqueItems: true })
  ),
  require: optional(
    'Claim name or JSON Pointer: the accepted value, or a list of them. null in a list: the claim may be absent.',
    Type.Record(
      Type.String(),
      Type.Union([scalar, Type.Array(Type.Union([scalar, Type.Null()]), { minItems: 1, uniqueItems: true })]),
      { minProperties: 1 }
    )
  ),
  type: optional('The token\'s typ, such as at+jwt. Default: not checked.', name),
  subject: optional('Claim name or JSON Pointer of the user\'s id. Default: sub.', name),
  cookie: optional('Name of a cookie that may carry the token instead of the Authorization header.', cookieName),
  header: optional('Name of a header that may carry the token alone, instead of the Authorization header.', name),
  clock_tolerance: optional('Seconds. Default: 30.', Type.Integer({ minimum: 0, maximum: 300 })),
  max_lifetime: optional('Maximum seconds from iat to exp.', Type.Integer({ minimum: 1 })),
  insecure_http: insecureHttp
}, closed)
export type JwtEntry = Static<typeof JwtEntry>

export const ForwardEntry = Type.Object({
  issuer: described('A name of your choice; issuer and subject together identify a caller.', name),
  url: described('Your app\'s endpoint: 200 with JSON for a signed-in user, 401 otherwise.', name),
  cookie: optional('Cookie with the credential, whole or in pieces. Exactly one of cookie and header.', cookieName),
  header: optional('Header with the credential.', name),
  pass: described(
    'Names of the headers to pass to it; of the cookies only the one that cookie names.',
    Type.Array(name, { minItems: 1, uniqueItems: true })
  ),
  subject: optional(
    'JSON Pointer to the user\'s id in its response. Exactly one of subject and subject_header.',
    Type.String({ pattern: '^/' })
  ),
  subject_header: optional('Header of its response that names the user; any 2xx with it passes.', name),
  insecure_http: insecureHttp
}, closed)
export type ForwardEntry = Static<typeof ForwardEntry>

export const IntrospectionEntry = Type.Object({
  issuer: described('Issuer of the authorization server; must not be that of another entry.', name),
  url: described('URL of its introspection endpoint (RFC 7662).', name),
  client_id: described('Our client ID there.', name),
  client_secret_env: optional('Name of the environment variable with our client secret.', name),
  client_secret_file: optional('Path of the file with our client secret.', name),
  audience: optional(
    'The response\'s aud must contain one of these. Default: our client_id, if the response has an aud.',
    oneOrMore(name)
  ),
  insecure_http: insecureHttp
}, closed)
export type IntrospectionEntry = Static<typeof IntrospectionEntry>

export const GatewayEntry = Type.Object({
  issuer: described('A name of your choice; issuer and subject together identify a caller.', name),
  header: described('Header in which the gateway names the user.', name),
  from: described(
    'Addresses and CIDR ranges from which the gateway connects.', Type.Array(name, { minItems: 1, uniqueItems: true })
  ),
  secret_header: optional('Header in which the gateway sends its secret.', name),
  secret_env: optional('Name of the environment variable with that secret.', name),
  secret_file: optional('Path of the file with that secret.', name),
  secret: optional(
    'none: the gateway sends no secret. Only where from names single addresses or loopback.', Type.Literal('none')
  )
}, closed)
export type GatewayEntry = Static<typeof GatewayEntry>

const GuestEntry = Type.Object({}, closed)

/** Exactly one key. An object rather than a union, so that faults are reported at their own path. */
export const CallerEntry = Type.Object({
  jwt: optional('Tokens signed by their issuer.', JwtEntry),
  forward: optional('Your app\'s endpoint verifies its cookie or header.', ForwardEntry),
  introspection: optional('Opaque tokens, introspected by the authorization server.', IntrospectionEntry),
  gateway: optional('A gateway that has already authenticated the user.', GatewayEntry),
  guest: optional(
    'Requests without a credential: guest: {}. Needs SAFETY_IDENTIFIER_SECRET and a policy with when: guest.',
    GuestEntry
  )
}, { ...closed, minProperties: 1, maxProperties: 1 })
export type CallerEntry = Static<typeof CallerEntry>

// The `callers` list of the policy file: one schema for each way of proving who one is.

import Type, { type Static } from 'typebox'
import { described, optional } from '../schema/describe.ts'

const closed = { additionalProperties: false }
const name = Type.String({ minLength: 1, maxLength: 255 })
// RFC 6265, section 4.1.1.
const cookieName = Type.String({ pattern: '^[\\w!#$%&\'*+.^`|~-]{1,255}$' })
const oneOrMore = <T extends Type.TSchema>(item: T) =>
  Type.Union([item, Type.Array(item, { minItems: 1, uniqueItems: true })])

export const ALGORITHMS = [
  'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'HS256', 'HS384', 'HS512'
] as const

const insecureHttp = optional('true: by http from another host, too.', Type.Boolean())

export const JwtEntry = Type.Object({
  issuer: described('Exactly as in the token\'s iss. Its discovery document names the keys.', name),
  audience: optional(
    'One of these must be in the token\'s aud. May be left out only where require names a claim.', oneOrMore(name)
  ),
  jwks: optional('URL of the keys, where there is no discovery document.', name),
  secret_env: optional('HS256: names of environment variables; old and new during a rotation.', oneOrMore(name)),
  secret_file: optional('HS256: paths of files with the secret; old and new during a rotation.', oneOrMore(name)),
  algorithms: optional(
    'Left out: RS256, PS256, ES256, EdDSA; with a secret HS256.',
    Type.Array(Type.Enum([...ALGORITHMS]), { minItems: 1, uniqueItems: true })
  ),
  require: optional(
    'Claim name or JSON Pointer: the value, or the list of values, that the token must have.',
    Type.Record(
      Type.String(), oneOrMore(Type.Union([Type.String(), Type.Number(), Type.Boolean()])), { minProperties: 1 }
    )
  ),
  type: optional('The token\'s typ, such as at+jwt. Left out: not checked.', name),
  cookie: optional('Where the token may be found besides the Authorization header.', cookieName),
  clock_tolerance: optional('Seconds. Left out: 30.', Type.Integer({ minimum: 0, maximum: 300 })),
  max_lifetime: optional('Seconds from iat to exp, at most.', Type.Integer({ minimum: 1 })),
  insecure_http: insecureHttp
}, closed)
export type JwtEntry = Static<typeof JwtEntry>

export const ForwardEntry = Type.Object({
  issuer: described('A name of your choice: with the subject it says who a caller is.', name),
  url: described('Your app\'s endpoint: 200 with JSON for a user who is signed in, 401 otherwise.', name),
  cookie: optional('The cookie that it is asked about. Exactly one of cookie and header.', cookieName),
  header: optional('The header that it is asked about.', name),
  pass: described(
    'Names of the headers that it is sent; of the cookies only the one that cookie names.',
    Type.Array(name, { minItems: 1, uniqueItems: true })
  ),
  subject: described('JSON Pointer to the user\'s id in its answer.', Type.String({ pattern: '^/' })),
  insecure_http: insecureHttp
}, closed)
export type ForwardEntry = Static<typeof ForwardEntry>

export const IntrospectionEntry = Type.Object({
  issuer: described('Of the authorization server; must not be that of another entry.', name),
  url: described('Of its introspection endpoint (RFC 7662).', name),
  client_id: described('Who we are there.', name),
  client_secret_env: optional('Name of the environment variable with our secret.', name),
  client_secret_file: optional('Path of the file with our secret.', name),
  audience: optional(
    'Must then be in the answer. Left out: an answer that names an audience must name our client_id.', oneOrMore(name)
  ),
  insecure_http: insecureHttp
}, closed)
export type IntrospectionEntry = Static<typeof IntrospectionEntry>

export const GatewayEntry = Type.Object({
  issuer: described('A name of your choice: with the subject it says who a caller is.', name),
  header: described('In which the gateway says who the user is.', name),
  from: described(
    'Addresses and CIDR ranges from which it connects.', Type.Array(name, { minItems: 1, uniqueItems: true })
  ),
  secret_header: described('In which it shows that it is the gateway.', name),
  secret_env: optional('Name of the environment variable with what it shows.', name),
  secret_file: optional('Path of the file with what it shows.', name)
}, closed)
export type GatewayEntry = Static<typeof GatewayEntry>

export const GuestEntry = Type.Object({}, closed)

/** Exactly one of the keys; an object rather than a union, so that a fault is reported at its own path. */
export const CallerEntry = Type.Object({
  jwt: optional('Tokens that their issuer signed.', JwtEntry),
  forward: optional('Your own app\'s endpoint says whose cookie or header it is.', ForwardEntry),
  introspection: optional('Opaque tokens: the authorization server says whose they are.', IntrospectionEntry),
  gateway: optional('A gateway that has authenticated already says who it is.', GatewayEntry),
  guest: optional(
    'Nobody presented anything: guest: {}. Needs SAFETY_IDENTIFIER_SECRET and a policy with when: guest.', GuestEntry
  )
}, { ...closed, minProperties: 1, maxProperties: 1 })
export type CallerEntry = Static<typeof CallerEntry>

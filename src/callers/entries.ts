// The `callers` list of the policy file: one schema for each way of proving who one is.

import Type, { type Static } from 'typebox'

const closed = { additionalProperties: false }
const name = Type.String({ minLength: 1, maxLength: 255 })
// RFC 6265, section 4.1.1.
const cookieName = Type.String({ pattern: '^[\\w!#$%&\'*+.^`|~-]{1,255}$' })
const oneOrMore = <T extends Type.TSchema>(item: T) => Type.Union([item, Type.Array(item, { minItems: 1, uniqueItems: true })])

export const ALGORITHMS = [
  'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'HS256', 'HS384', 'HS512'
] as const

export const JwtEntry = Type.Object({
  issuer: name,
  audience: Type.Optional(oneOrMore(name)),
  jwks: Type.Optional(name),
  secret_env: Type.Optional(oneOrMore(name)),
  secret_file: Type.Optional(oneOrMore(name)),
  algorithms: Type.Optional(Type.Array(Type.Enum([...ALGORITHMS]), { minItems: 1, uniqueItems: true })),
  require: Type.Optional(Type.Record(Type.String(), oneOrMore(Type.Union([Type.String(), Type.Number(), Type.Boolean()])), { minProperties: 1 })),
  type: Type.Optional(name),
  /** Where the token may be found besides the Authorization header. */
  cookie: Type.Optional(cookieName),
  clock_tolerance: Type.Optional(Type.Integer({ minimum: 0, maximum: 300 })),
  max_lifetime: Type.Optional(Type.Integer({ minimum: 1 })),
  insecure_http: Type.Optional(Type.Boolean())
}, closed)
export type JwtEntry = Static<typeof JwtEntry>

export const ForwardEntry = Type.Object({
  issuer: name,
  url: name,
  /** Exactly one of the two: whoever sends it is asked about. */
  cookie: Type.Optional(cookieName),
  header: Type.Optional(name),
  /** Names of headers; of the cookies only the one above is passed. */
  pass: Type.Array(name, { minItems: 1, uniqueItems: true }),
  subject: Type.String({ pattern: '^/' }),
  insecure_http: Type.Optional(Type.Boolean())
}, closed)
export type ForwardEntry = Static<typeof ForwardEntry>

export const IntrospectionEntry = Type.Object({
  issuer: name,
  url: name,
  client_id: name,
  client_secret_env: Type.Optional(name),
  client_secret_file: Type.Optional(name),
  /** Must then be in the answer. Unset: an answer that names an audience must name our client_id. */
  audience: Type.Optional(oneOrMore(name)),
  insecure_http: Type.Optional(Type.Boolean())
}, closed)
export type IntrospectionEntry = Static<typeof IntrospectionEntry>

export const GatewayEntry = Type.Object({
  issuer: name,
  header: name,
  from: Type.Array(name, { minItems: 1, uniqueItems: true }),
  secret_header: name,
  secret_env: Type.Optional(name),
  secret_file: Type.Optional(name)
}, closed)
export type GatewayEntry = Static<typeof GatewayEntry>

export const GuestEntry = Type.Object({}, closed)

/** Exactly one of the keys; an object rather than a union, so that a fault is reported at its own path. */
export const CallerEntry = Type.Object({
  jwt: Type.Optional(JwtEntry),
  forward: Type.Optional(ForwardEntry),
  introspection: Type.Optional(IntrospectionEntry),
  gateway: Type.Optional(GatewayEntry),
  guest: Type.Optional(GuestEntry)
}, { ...closed, minProperties: 1, maxProperties: 1 })
export type CallerEntry = Static<typeof CallerEntry>

/** Where secrets come from. Both throw an Error whose message names the source and never the value. */
export type SecretSource = Readonly<{
  env: (name: string) => string
  file: (path: string) => string
}>

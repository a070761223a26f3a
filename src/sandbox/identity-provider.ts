// The identity provider of the sandbox, in place of an app's own sign-in and without passwords. It issues JWTs, opaque
// tokens and session cookies: every kind of credential that a browser can send.

import { randomBytes } from 'node:crypto'
import cors from '@fastify/cors'
import { fastify, type FastifyReply } from 'fastify'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT } from 'jose'
import { listen } from './listen.ts'

export type IdentityProvider = Readonly<{ issuer: string, introspectionSecret: string, close: () => Promise<void> }>

const AUDIENCE = 'ephemint-sandbox'
const ALGORITHM = 'ES256'
const CLIENT_ID = 'ephemint-sandbox'
const COOKIE = 'sid'

const USERS = [
  { sub: 'fred', plan: 'free', org: { name: 'Fred\'s Fish & Chips' } },
  { sub: 'paula', plan: 'pro', org: { name: 'Paula & Partners' } }
]
type User = typeof USERS[number]
type UserQuery = { Querystring: { user?: string, form?: string } }

export async function startIdentityProvider ({ port = 0 }: { port?: number } = {}): Promise<IdentityProvider> {
  const { publicKey, privateKey } = await generateKeyPair(ALGORITHM)
  const jwk = await exportJWK(publicKey)
  const kid = await calculateJwkThumbprint(jwk)
  const introspectionSecret = randomBytes(32).toString('hex')
  const opaqueTokens = new Map<string, User>()
  const sessions = new Map<string, User>()

  const app = fastify({ forceCloseConnections: true })
  // Open to any page: the playground, and the front end that a developer writes against the sandbox.
  await app.register(cors, { origin: true, credentials: true })
  app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (_request, body, done) =>
    done(null, new URLSearchParams(body as string)))

  app.get('/.well-known/openid-configuration', () => ({
    issuer,
    jwks_uri: `${issuer}/jwks`,
    token_endpoint: `${issuer}/token`,
    introspection_endpoint: `${issuer}/introspect`,
    response_types_supported: ['token'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: [ALGORITHM]
  }))
  app.get('/jwks', () => ({ keys: [{ ...jwk, kid, alg: ALGORITHM, use: 'sig' }] }))
  app.get('/users', () => USERS)

  // `user` is a name or a plan. Plain text, for use in a shell.
  app.get<UserQuery>('/token', async ({ query: { user: name, form = 'jwt' } }, reply) => {
    const user = find(name)
    reply.type('text/plain')
    if (user === undefined) return unknownUser(reply)
    if (form === 'opaque') return store(opaqueTokens, user)
    return new SignJWT(user)
      .setProtectedHeader({ alg: ALGORITHM, kid, typ: 'JWT' })
      .setIssuer(issuer)
      .setAudience(AUDIENCE)
      .setIssuedAt()
      .setExpirationTime('1h')
      .sign(privateKey)
  })
  app.post<{ Body: URLSearchParams }>('/introspect', async ({ headers: { authorization }, body }, reply) => {
    // RFC 6749, section 2.3.1: id and secret are form-encoded before they are joined.
    const [id, secret] = atob(authorization?.replace(/^Basic /, '') ?? '').split(':').map(decodeURIComponent)
    if (id !== CLIENT_ID || secret !== introspectionSecret) return reply.code(401).send({ error: 'invalid_client' })
    const user = opaqueTokens.get(body.get('token') ?? '')
    return user === undefined ? { active: false } : { active: true, token_type: 'Bearer', ...user }
  })

  // An app with cookie sessions. Cookies ignore ports, so this one also reaches Ephemint on the same host.
  app.post<UserQuery>('/login', async ({ query: { user: name } }, reply) => {
    const user = find(name)
    if (user === undefined) return unknownUser(reply)
    reply.header('set-cookie', `${COOKIE}=${store(sessions, user)}; Path=/; HttpOnly; SameSite=Lax`)
    return profileOf(user)
  })
  app.post('/logout', (_request, reply) => reply.header('set-cookie', `${COOKIE}=; Path=/; Max-Age=0`).code(204).send())
  app.get('/api/me', async ({ headers: { cookie = '' } }, reply) => {
    const user = sessions.get(new RegExp(`(?:^|; )${COOKIE}=(\\w+)`).exec(cookie)?.[1] ?? '')
    return user === undefined ? reply.code(401).send({ error: 'not signed in' }) : profileOf(user)
  })

  const issuer = await listen(app, port)
  return { issuer, introspectionSecret, close: async () => { await app.close() } }
}

function find (name: string | undefined): User | undefined {
  return USERS.find(({ sub, plan }) => sub === name || plan === name)
}

function unknownUser (reply: FastifyReply): FastifyReply {
  return reply.code(404).type('text/plain').send(
    `No such user. Use ${USERS.map(({ sub }) => `?user=${sub}`).join(' or ')}.\n`
  )
}

function store (users: Map<string, User>, user: User): string {
  const key = randomBytes(24).toString('hex')
  users.set(key, user)
  return key
}

/** The profile in an app's own field names: `id` instead of `sub`. */
function profileOf ({ sub, ...rest }: User): Omit<User, 'sub'> & { id: string } {
  return { id: sub, ...rest }
}

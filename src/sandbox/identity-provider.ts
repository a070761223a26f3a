// The identity provider of the sandbox: what an app's own sign-in is elsewhere. It asks for no password. A user may show
// a JWT, an opaque token or a session cookie: one for each way of proving who one is that a browser can use.

import { randomBytes } from 'node:crypto'
import cors from '@fastify/cors'
import { fastify, type FastifyReply } from 'fastify'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT } from 'jose'
import { listen } from './listen.ts'

export type IdentityProvider = Readonly<{ issuer: string, introspectionSecret: string, close: () => Promise<void> }>

export const AUDIENCE = 'ephemint-sandbox'
const ALGORITHM = 'ES256'
const CLIENT_ID = 'ephemint-sandbox'
const COOKIE = 'sid'

const USERS = [
  { sub: 'fred', plan: 'free', org: { name: 'Fred\'s Fish & Chips' } },
  { sub: 'paula', plan: 'pro', org: { name: 'Paula & Partners' } }
]
type User = typeof USERS[number]
type Asking = { Querystring: { user?: string, form?: string } }

export async function startIdentityProvider ({ port = 0 }: { port?: number } = {}): Promise<IdentityProvider> {
  const { publicKey, privateKey } = await generateKeyPair(ALGORITHM)
  const jwk = await exportJWK(publicKey)
  const kid = await calculateJwkThumbprint(jwk)
  const introspectionSecret = randomBytes(32).toString('hex')
  /** Whose they are, for as long as the sandbox runs. */
  const opaqueTokens = new Map<string, User>()
  const sessions = new Map<string, User>()

  const app = fastify({ forceCloseConnections: true })
  // Any page may ask: the playground of the sandbox, and the front end that somebody is writing against it.
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

  // By name, or by plan; as plain text, so that a shell takes it as it is.
  app.get<Asking>('/token', async ({ query: { user: name, form = 'jwt' } }, reply) => {
    const user = find(name)
    reply.type('text/plain')
    if (user === undefined) return nobody(reply)
    if (form === 'opaque') return remember(opaqueTokens, user)
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

  // An app with sessions of its own. Cookies know no ports: what is set here reaches Ephemint on the same host.
  app.post<Asking>('/login', async ({ query: { user: name } }, reply) => {
    const user = find(name)
    if (user === undefined) return nobody(reply)
    return reply.header('set-cookie', `${COOKIE}=${remember(sessions, user)}; Path=/; HttpOnly; SameSite=Lax`).send(
      profileOf(user)
    )
  })
  app.post('/logout', (_request, reply) => reply.header('set-cookie', `${COOKIE}=; Path=/; Max-Age=0`).code(204).send())
  app.get('/api/me', async ({ headers: { cookie = '' } }, reply) => {
    const user = sessions.get(new RegExp(`(?:^|; )${COOKIE}=(\\w+)`).exec(cookie)?.[1] ?? '')
    return user === undefined ? reply.code(401).send({ error: 'nobody is signed in' }) : profileOf(user)
  })

  const issuer = await listen(app, port)
  return { issuer, introspectionSecret, close: async () => { await app.close() } }
}

function find (name: string | undefined): User | undefined {
  return USERS.find(({ sub, plan }) => sub === name || plan === name)
}

function nobody (reply: FastifyReply): FastifyReply {
  return reply.code(404).type('text/plain').send(
    `Nobody by that name. Ask for ${USERS.map(({ sub }) => `?user=${sub}`).join(' or ')}.\n`
  )
}

function remember (users: Map<string, User>, user: User): string {
  const key = randomBytes(24).toString('hex')
  users.set(key, user)
  return key
}

/** As an app's own API would say it, in names of its own. */
function profileOf ({ sub, ...rest }: User): Omit<User, 'sub'> & { id: string } {
  return { id: sub, ...rest }
}

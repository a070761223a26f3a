// The identity provider of the sandbox: what an app's own sign-in is elsewhere. It asks for no password.

import cors from '@fastify/cors'
import { fastify } from 'fastify'
import { calculateJwkThumbprint, exportJWK, generateKeyPair, SignJWT } from 'jose'
import { listen } from './listen.ts'

export type IdentityProvider = Readonly<{ issuer: string, close: () => Promise<void> }>

export const AUDIENCE = 'ephemint-sandbox'
const ALGORITHM = 'ES256'

const USERS = [
  { sub: 'fred', plan: 'free', org: { name: 'Fred\'s Fish & Chips' } },
  { sub: 'paula', plan: 'pro', org: { name: 'Paula & Partners' } }
]

export async function startIdentityProvider ({ port = 0 }: { port?: number } = {}): Promise<IdentityProvider> {
  const { publicKey, privateKey } = await generateKeyPair(ALGORITHM)
  const jwk = await exportJWK(publicKey)
  const kid = await calculateJwkThumbprint(jwk)

  const app = fastify({ forceCloseConnections: true })
  // Any page may ask: the playground of the sandbox, and the front end that somebody is writing against it.
  await app.register(cors, { origin: '*' })

  app.get('/.well-known/openid-configuration', () => ({
    issuer,
    jwks_uri: `${issuer}/jwks`,
    token_endpoint: `${issuer}/token`,
    response_types_supported: ['token'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: [ALGORITHM]
  }))
  app.get('/jwks', () => ({ keys: [{ ...jwk, kid, alg: ALGORITHM, use: 'sig' }] }))
  app.get('/users', () => USERS)
  // By name, or by plan; as plain text, so that a shell takes it as it is.
  app.get<{ Querystring: { user?: string } }>('/token', async ({ query: { user } }, reply) => {
    const claims = USERS.find(({ sub, plan }) => sub === user || plan === user)
    reply.type('text/plain')
    if (claims === undefined) return reply.code(404).send(`Nobody by that name. Ask for ${USERS.map(({ sub }) => `?user=${sub}`).join(' or ')}.\n`)
    return new SignJWT(claims)
      .setProtectedHeader({ alg: ALGORITHM, kid, typ: 'JWT' })
      .setIssuer(issuer)
      .setAudience(AUDIENCE)
      .setIssuedAt()
      .setExpirationTime('1h')
      .sign(privateKey)
  })

  const issuer = await listen(app, port)
  return { issuer, close: async () => { await app.close() } }
}

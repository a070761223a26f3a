// The users: RS256 tokens and their JWKS, on loopback.

import { generateKeyPairSync, sign } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { promisify } from 'node:util'

/** Signs in the thread pool: tens of thousands of tokens are needed. */
const signInPool = promisify(sign)

export type Identity = Readonly<{
  issuer: string, jwks: string, token: (subject: string, plan?: string) => Promise<string>, close: () => void
}>

export async function startIdentity (): Promise<Identity> {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const set = JSON.stringify(
    { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'k1', alg: 'RS256', use: 'sig' }] }
  )
  const server = createServer((_request, response) =>
    response.setHeader('content-type', 'application/json').end(set)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const issuer = `http://127.0.0.1:${(server.address() as { port: number }).port}/`
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const head = encode({ alg: 'RS256', kid: 'k1', typ: 'JWT' })
  let serial = 0
  return {
    issuer,
    jwks: `${issuer}jwks`,
    token: async (subject, plan = 'pro') => {
      const now = Math.floor(Date.now() / 1000)
      const times = { iat: now, exp: now + 3600 }
      const claims = { iss: issuer, sub: subject, aud: 'voice-app', ...times, plan, jti: String(serial++) }
      const signed = `${head}.${encode(claims)}`
      return `${signed}.${(await signInPool('sha256', Buffer.from(signed), privateKey)).toString('base64url')}`
    },
    close: () => { server.close() }
  }
}

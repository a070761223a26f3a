import { createServer } from 'node:http'
import Fastify from 'fastify'
import { generateKeyPair, exportJWK, SignJWT } from 'jose'
import { compileCallers } from '../../src/callers/authenticate.ts'
import { createKeySets } from '../../src/callers/jwks.ts'
import { envelope, ApiError } from '../../src/errors.ts'
const { publicKey, privateKey } = await generateKeyPair('RS256')
const jwk = { ...await exportJWK(publicKey), kid: 'k1' }
const idp = createServer((q, r) => r.end(JSON.stringify({ keys: [jwk] }))).listen(0)
await new Promise(resolve => idp.once('listening', resolve))
const issuer = 'https://a.example/'
const log = { info: console.log, warn: console.log, error: console.log }
const { callers, problems } = compileCallers([{ jwt: { issuer, audience: 'app', jwks: `http://127.0.0.1:${(idp.address() as any).port}/` } }], {
  secrets: { env: () => '', file: () => '' }, log, allowedOrigins: new Set(), keySets: createKeySets({ log })
})
console.log(problems, callers.waitingFor()); await callers.start(); console.log(callers.waitingFor())
const app = Fastify()
app.setErrorHandler((e: ApiError, _q, r) => r.code(e.statusCode ?? 500).send({ ...envelope(e.code), reason: e.reason, m: e.message }))
app.addHook('onRequest', async (q) => { (q as any).caller = await callers.authenticate(q) })
app.get('/', async (q) => (q as any).caller)
const token = await new SignJWT({ plan: 'pro' }).setProtectedHeader({ alg: 'RS256', kid: 'k1' }).setIssuer(issuer).setAudience('app').setSubject('u1').setExpirationTime('5m').setIssuedAt().sign(privateKey)
console.log((await app.inject({ url: '/', headers: { authorization: `Bearer ${token}` } })).body)
console.log((await app.inject({ url: '/', headers: { authorization: `Bearer ${token}x` } })).body)
const req: any = { raw: { rawHeaders: ['host', 'x', 'user-agent', 'y', 'accept', 'z', 'authorization', `Bearer ${token}`] }, headers: {} }
for (let j = 0; j < 5; j++) {
  const t = process.hrtime.bigint(); for (let i = 0; i < 200000; i++) callers.authenticate(req); console.log(Number(process.hrtime.bigint() - t) / 200000, 'ns')
}
idp.close(); callers.close()

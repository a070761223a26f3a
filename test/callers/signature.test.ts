// Signatures made by jose verify, for every algorithm; with a changed bit or byte they do not.

import { createSecretKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { CompactSign, compactVerify, importJWK } from 'jose'
import t from 'tap'
import { ALGORITHMS } from '../../src/callers/schema.ts'
import { isSignedBy } from '../../src/callers/signature.ts'
import { answers, startHostileIssuer } from '../support/hostile-issuer.ts'
import { createSigner, forge } from './forge.ts'
import { assertRefused, bearer, NOW, serve } from './harness.ts'

const secret = randomBytes(64)
const keys = new Map(ALGORITHMS.map((alg): [string, [KeyObject, KeyObject]] => {
  if (alg.startsWith('HS')) return [alg, [createSecretKey(secret), createSecretKey(secret)]]
  const { privateKey, publicKey } = createSigner(alg)
  return [alg, [privateKey, publicKey]]
}))

const ours = (alg: string, token: string) => {
  const end = token.lastIndexOf('.')
  const key = alg.startsWith('HS') ? secret : (keys.get(alg) as [KeyObject, KeyObject])[1]
  return isSignedBy(key, {
    algorithm: alg, input: Buffer.from(token.slice(0, end)), signature: Buffer.from(token.slice(end + 1), 'base64url')
  })
}
/** `token` with one bit of its signature flipped, one byte more or less, or an empty signature. */
const changes: ((signature: Buffer, at: number) => Buffer)[] = [
  (signature, at) => {
    const changed = Buffer.from(signature)
    changed[at % changed.length] = (changed[at % changed.length] as number) ^ (1 << at % 8)
    return changed
  },
  (signature) => signature.subarray(1),
  (signature) => signature.subarray(0, -1),
  (signature) => Buffer.concat([signature, Buffer.of(0)]),
  (signature) => Buffer.concat([Buffer.of(0), signature]),
  () => Buffer.alloc(0),
  (signature) => Buffer.alloc(signature.length)
]

for (const alg of ALGORITHMS) {
  t.test(`A28: ${alg}: a changed signature is refused, and one by jose passes`, async (t) => {
    await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), fc.nat(), async (payload, at) => {
      const token = await new CompactSign(payload).setProtectedHeader({ alg }).sign(
        (keys.get(alg) as [KeyObject, KeyObject])[0]
      )
      const end = token.lastIndexOf('.')
      const signature = Buffer.from(token.slice(end + 1), 'base64url')
      for (const change of changes) {
        const changed = `${token.slice(0, end)}.${change(signature, at).toString('base64url')}`
        if (await ours(alg, changed)) return false
      }
      return !await ours(alg, `A${token}`) && await ours(alg, token)
    }), { numRuns: 20 })
    for (const other of ALGORITHMS.filter((other) => other !== alg && other.slice(0, 2) === alg.slice(0, 2))) {
      const token = await new CompactSign(randomBytes(10)).setProtectedHeader({ alg: other }).sign(
        (keys.get(other) as [KeyObject, KeyObject])[0]
      )
      t.notOk(await ours(alg, token), `not as ${other}`)
    }
  })
}

// One RSA signature in 256 begins with a zero.
t.test('A28: PS256: a signature without its leading zero is refused', async (t) => {
  let [input, signature] = ['', Buffer.alloc(1, 1)]
  while (signature[0] !== 0) {
    const token = await new CompactSign(randomBytes(8)).setProtectedHeader({ alg: 'PS256' }).sign(
      (keys.get('PS256') as [KeyObject, KeyObject])[0]
    )
    input = token.slice(0, token.lastIndexOf('.'))
    signature = Buffer.from(token.slice(input.length + 1), 'base64url')
  }
  t.notOk(await ours('PS256', `${input}.${signature.subarray(1).toString('base64url')}`))
  t.ok(await ours('PS256', `${input}.${signature.toString('base64url')}`))
})

t.test('edge L9: an RSA key that is too short is not used (RFC 7518, section 3.3)', async (t) => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2040 })
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid: 'short' }
  const issuer = await startHostileIssuer(
    t, answers({ keys: [jwk, { ...generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' }), kid: 'good' }] })
  )
  const { ask } = await serve(
    t, [{ jwt: { issuer: 'https://auth.example.com/', audience: 'voice-app', jwks: `${issuer.url}/keys` } }]
  )
  const token = forge(
    { alg: 'RS256', kid: 'short', privateKey },
    { iss: 'https://auth.example.com/', sub: 'u', aud: 'voice-app', exp: NOW + 60 }
  )
  assertRefused(t, await ask(bearer(token)), 'key_unknown')
  t.notOk(await compactVerify(token, await importJWK(jwk, 'RS256')).then(() => true, () => false), 'nor by jose')
})

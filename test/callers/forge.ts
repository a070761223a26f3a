// Tokens made by hand, including those that a library refuses to make.

import { constants, createHmac, generateKeyPairSync, type JsonWebKey, type KeyObject, sign } from 'node:crypto'

export type Signer = Readonly<{
  alg: string, kid: string, privateKey: KeyObject, publicKey: KeyObject, jwk: JsonWebKey & { kid: string }
}>

export function createSigner (alg: string, kid = `key-${alg}`): Signer {
  const { privateKey, publicKey } = /^[RP]S/.test(alg)
    ? generateKeyPairSync('rsa', { modulusLength: 2048 })
    : alg === 'EdDSA'
      ? generateKeyPairSync('ed25519')
      : generateKeyPairSync('ec', { namedCurve: { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }[alg] as string })
  return { alg, kid, privateKey, publicKey, jwk: { ...publicKey.export({ format: 'jwk' }), kid } }
}

export const encode = (value: unknown): string => Buffer.from(typeof value === 'string' || value instanceof Uint8Array
  ? value
  : JSON.stringify(value)).toString('base64url')

/** Objects are encoded as JSON; `claims` and `header` may also be raw text or bytes. */
export function forge (
  { alg, kid, privateKey }: Pick<Signer, 'alg' | 'kid' | 'privateKey'>, claims: unknown, header: unknown = {}
): string {
  const isObject = header instanceof Object && !(header instanceof Uint8Array)
  const input = `${encode(isObject ? { alg, kid, ...header } : header)}.${encode(claims)}`
  return `${input}.${signature(alg, input, privateKey).toString('base64url')}`
}

export function forgeHmac (secret: string | Buffer, claims: unknown, header: object = {}, alg = 'HS256'): string {
  const input = `${encode({ alg, ...header })}.${encode(claims)}`
  return `${input}.${createHmac(`sha${alg.slice(2)}`, secret).update(input).digest('base64url')}`
}

function signature (alg: string, input: string, key: KeyObject): Buffer {
  const digest = `sha${alg.slice(2)}`
  const data = Buffer.from(input)
  if (alg === 'EdDSA') return sign(null, data, key)
  if (alg.startsWith('PS')) {
    return sign(
      digest, data, { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST }
    )
  }
  return sign(digest, data, { key, dsaEncoding: 'ieee-p1363' })
}

// Verifies JWS signatures (RFC 7515, section 5.2) synchronously by node:crypto. jose uses Web Crypto, which hands each
// one to a thread and takes three times the CPU.

import { constants, createHmac, type KeyObject, timingSafeEqual, verify } from 'node:crypto'
import { promisify } from 'node:util'

/**
 * Where RFC 7518, section 3, differs from Node's defaults. Wrapping a key in such an object costs 50 µs, so RS* and
 * EdDSA go without.
 */
const SCHEMES = {
  PS: { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST },
  ES: { dsaEncoding: 'ieee-p1363' }
} as const

/** These take 2 ms and more, so they run off the event loop. */
const SLOW = new Set(['ES384', 'ES512'])
const verifyInPool = promisify(verify)

export type Signed = Readonly<{ algorithm: string, input: Buffer, signature: Buffer }>

/** `key` must fit the algorithm: one that jose selected for it, or a secret for `HS*`. */
export function isSignedBy (
  key: KeyObject | Uint8Array, { algorithm, input, signature }: Signed
): boolean | Promise<boolean> {
  const hash = algorithm === 'EdDSA' ? null : `sha${algorithm.slice(2)}`
  if (key instanceof Uint8Array) {
    const expected = createHmac(hash as string, key).update(input).digest()
    return expected.length === signature.length && timingSafeEqual(expected, signature)
  }
  // OpenSSL accepts a PSS signature without its leading zeros; RFC 8017, section 8.1.2, does not.
  if (algorithm.startsWith('PS') && signature.length * 8 < (key.asymmetricKeyDetails?.modulusLength as number)) {
    return false
  }
  const scheme = SCHEMES[algorithm.slice(0, 2) as keyof typeof SCHEMES]
  const verifier = scheme === undefined ? key : { key, ...scheme }
  return SLOW.has(algorithm) ? verifyInPool(hash, input, verifier, signature) : verify(hash, input, verifier, signature)
}

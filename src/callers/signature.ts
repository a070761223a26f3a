// Signatures of tokens (RFC 7515, section 5.2) by node:crypto, at once: Web Crypto, by which jose verifies, hands each to
// a thread and takes three times the processor for it.

import { constants, createHmac, type KeyObject, timingSafeEqual, verify } from 'node:crypto'
import { promisify } from 'node:util'

/**
 * RFC 7518, section 3: what is not Node's own default for a kind of key. A key in such an object takes Node 50 µs more to
 * recognize, so RS* and EdDSA do without.
 */
const SCHEMES = {
  PS: { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: constants.RSA_PSS_SALTLEN_DIGEST },
  ES: { dsaEncoding: 'ieee-p1363' }
} as const

/** Two milliseconds and more on these curves: not on the event loop. */
const SLOW = new Set(['ES384', 'ES512'])
const verifyInPool = promisify(verify)

export type Signed = Readonly<{ algorithm: string, input: Buffer, signature: Buffer }>

/** The key is one that jose found for this algorithm, or a secret for `HS*`: which is for which is settled before. */
export function isSignedBy (
  key: KeyObject | Uint8Array, { algorithm, input, signature }: Signed
): boolean | Promise<boolean> {
  const hash = algorithm === 'EdDSA' ? null : `sha${algorithm.slice(2)}`
  if (key instanceof Uint8Array) {
    const expected = createHmac(hash as string, key).update(input).digest()
    return expected.length === signature.length && timingSafeEqual(expected, signature)
  }
  // OpenSSL takes a PSS signature without its leading zeros (RFC 8017, section 8.1.2, does not).
  if (algorithm.startsWith('PS') && signature.length * 8 < (key.asymmetricKeyDetails?.modulusLength as number)) {
    return false
  }
  const scheme = SCHEMES[algorithm.slice(0, 2) as keyof typeof SCHEMES]
  const verifier = scheme === undefined ? key : { key, ...scheme }
  return SLOW.has(algorithm) ? verifyInPool(hash, input, verifier, signature) : verify(hash, input, verifier, signature)
}

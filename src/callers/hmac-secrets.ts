// The secrets of HS* tokens. As secret, a public key would let anyone sign, in whatever form it is written.

import { createPublicKey, X509Certificate } from 'node:crypto'
import { type CompileContext, readSecrets } from './compile.ts'
import type { JwtEntry } from './schema.ts'

export function hmacSecrets (entry: JwtEntry, minBytes: number, at: string, context: CompileContext): Uint8Array[] {
  const { secret_encoding: encoding = 'utf8' } = entry
  return readSecrets(entry, 'secret', at, context).map(({ path, name, value }) => {
    const bytes = encoding === 'base64' ? decodeBase64(value) : Buffer.from(value)
    if (bytes === undefined) {
      context.report.problem(path, `names ${name}, which is not base64 or base64url as an encoder writes it`)
      return Buffer.alloc(0)
    }
    if (bytes.length < minBytes) {
      const decoded = encoding === 'base64' ? ' when decoded' : ''
      context.report.problem(path, `names ${name}, which must be ${minBytes} bytes or longer${decoded}`)
    }
    if ([Buffer.from(value), bytes, Buffer.from(value, 'base64')].some(holdsKey)) {
      context.report.problem(path, `names ${name}, which holds a key, not a secret: use jwks: for keys`)
    }
    return bytes
  })
}

/** Node's decoder skips characters that it does not know, so only text that survives re-encoding counts. */
function decodeBase64 (text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  const padded = bytes.toString('base64')
  const forms = [padded, padded.replaceAll('+', '-').replaceAll('/', '_'), bytes.toString('base64url')]
  return forms.includes(text) ? bytes : undefined
}

function holdsKey (bytes: Buffer): boolean {
  return /-----BEGIN |"kty"|^ssh-/.test(bytes.toString('latin1')) || PARSERS.some((parse) => {
    try {
      return Boolean(parse(bytes))
    } catch {
      return false
    }
  })
}

const PARSERS: readonly ((key: Buffer) => unknown)[] = [
  (key) => createPublicKey({ key, format: 'der', type: 'spki' }),
  (key) => createPublicKey({ key, format: 'der', type: 'pkcs1' }),
  (key) => new X509Certificate(key)
]

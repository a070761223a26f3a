// Generates certificates (RFC 5280, in DER): Node.js can only parse them.

import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'

export type Certificate = Readonly<{ cert: string, key: string }>
export type Authority = Certificate & Readonly<{ issue: (wanted?: Wanted) => Certificate }>
type Wanted = Readonly<{ name?: string, notAfter?: Date }>

const DAY_MS = 86_400_000
const OID = {
  ecdsaWithSha256: [1, 2, 840, 10045, 4, 3, 2],
  commonName: [2, 5, 4, 3],
  subjectAltName: [2, 5, 29, 17],
  basicConstraints: [2, 5, 29, 19]
}

export function createAuthority (name = 'Test Authority'): Authority {
  const own = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return {
    key: own.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    cert: certify({
      subject: name,
      issuer: name,
      publicKey: own.publicKey,
      signer: own.privateKey,
      extension: extension(
        OID.basicConstraints, sequence(der(0x01, Buffer.from([0xff])))
      )
    }),
    issue: ({ name: host = 'localhost', notAfter } = {}) => {
      const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
      const names = extension(OID.subjectAltName, sequence(der(0x82, Buffer.from(host))))
      const cert = certify({
        subject: host,
        issuer: name,
        publicKey,
        signer: own.privateKey,
        extension: names,
        ...(notAfter === undefined ? {} : { notAfter })
      })
      return { cert, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string }
    }
  }
}

type Content = {
  subject: string, issuer: string, publicKey: KeyObject, signer: KeyObject, extension: Buffer, notAfter?: Date
}

function certify (
  { subject, issuer, publicKey, signer, extension, notAfter = new Date(Date.now() + DAY_MS) }: Content
): string {
  const algorithm = sequence(oid(OID.ecdsaWithSha256))
  const content = sequence(
    der(0xa0, integer(2)),
    integer(Math.floor(Math.random() * 2 ** 31)),
    algorithm,
    nameOf(issuer),
    sequence(time(new Date(notAfter.getTime() - 2 * DAY_MS)), time(notAfter)),
    nameOf(subject),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(extension))
  )
  const signature = der(0x03, Buffer.from([0]), sign('sha256', content, signer))
  const base64 = sequence(content, algorithm, signature).toString('base64').match(/.{1,64}/g)?.join('\n')
  return `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`
}

function der (tag: number, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts)
  const length = body.length < 128 ? [body.length] : [0x82, body.length >> 8, body.length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...length]), body])
}

function sequence (...parts: readonly Buffer[]): Buffer {
  return der(0x30, ...parts)
}

function integer (value: number): Buffer {
  const hex = value.toString(16)
  const bytes = Buffer.from(hex.padStart(hex.length + hex.length % 2, '0'), 'hex')
  return der(0x02, Buffer.from((bytes[0] as number) > 0x7f ? [0] : []), bytes)
}

function oid ([first = 0, second = 0, ...rest]: readonly number[]): Buffer {
  const bytes = rest.flatMap((arc) => {
    const groups = [arc & 0x7f]
    for (let more = arc >> 7; more > 0; more >>= 7) groups.unshift(0x80 | (more & 0x7f))
    return groups
  })
  return der(0x06, Buffer.from([first * 40 + second, ...bytes]))
}

function nameOf (commonName: string): Buffer {
  return sequence(der(0x31, sequence(oid(OID.commonName), der(0x0c, Buffer.from(commonName)))))
}

function time (date: Date): Buffer {
  return der(0x18, Buffer.from(`${date.toISOString().replace(/\D/g, '').slice(0, 14)}Z`))
}

function extension (id: readonly number[], value: Buffer): Buffer {
  return sequence(oid(id), der(0x04, value))
}

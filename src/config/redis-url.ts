// REDIS_URL and REDIS_CA_FILE, with what to write instead of what other clients understand.

import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type Environment, readSecret } from './secrets.ts'

/** `username` and `password` are empty if the URL has none. */
export type RedisAddress = Readonly<{
  host: string
  port: number
  tls: boolean
  /** The only authorities that its certificate may be signed by, in PEM; public ones if it is missing. */
  ca?: string
  username: string
  password: string
  database: number
}>

/** The URL is taken apart here, since the client library would read options from its query. */
export function readRedis (env: Environment, problems: string[]): RedisAddress | null {
  const given = readSecret(env, 'REDIS_URL', problems)
  const ca = readCa(env, problems)
  const isEncrypted = given?.startsWith('rediss://') === true
  if (ca !== null && !isEncrypted) problems.push('REDIS_CA_FILE needs a REDIS_URL that begins with rediss://')
  if (given === null) return null
  const url = URL.parse(given)
  const [, tls, database = '0'] = /^redis(s?):\/\/[^/]+\/?(\d{1,5})?$/.exec(given) ?? []
  try {
    if (url === null || tls === undefined || !/^[^,]+$/.test(url.hostname) || url.search !== '' || url.hash !== '') {
      throw new Error('no such URL')
    }
    return {
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: Number(url.port || 6379),
      tls: tls === 's',
      ...(ca === null ? {} : { ca }),
      username: decodeURIComponent(url.username),
      password: decodeURIComponent(url.password),
      database: Number(database)
    }
  } catch {
    const name = env.REDIS_URL ? 'REDIS_URL' : 'REDIS_URL_FILE'
    problems.push(`${name} must be redis[s]://[user:password@]host[:port][/database]${hintFor(given)}`)
    return null
  }
}

/** Advice on what to write instead of a form that only other clients understand. */
function hintFor (given: string): string {
  const [, scheme = ''] = /^([a-z][a-z0-9+.-]*):/i.exec(given) ?? []
  if (/cluster|sentinel/i.test(scheme)) {
    return ': a cluster or sentinels are not followed. Write the one address that always leads to the primary'
  }
  if (/unix|socket/i.test(scheme) || given.startsWith('/')) {
    return ': a socket file cannot be used. Write redis://127.0.0.1:6379, and let Redis listen there'
  }
  if (!/^rediss?$/.test(scheme)) return ': write redis:// for plain TCP, rediss:// for TLS'
  if (/^[^/]*:\/\/[^/]*,/.test(given)) return ': write one host, the address that always leads to the primary'
  if (given.includes('?')) {
    return ', without a query. Write user, password and database as here, rediss:// for TLS, and a CA in REDIS_CA_FILE'
  }
  return ', with a password in percent-encoding'
}

function readCa ({ REDIS_CA_FILE: path }: Environment, problems: string[]): string | null {
  if (path === undefined || path === '') return null
  const problem = (text: string) => {
    problems.push(`REDIS_CA_FILE ${text}`)
    return null
  }
  try {
    const pem = readFileSync(path, 'utf8')
    const certificates = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
    const parsed = certificates.map((certificate) => new X509Certificate(certificate))
    return parsed.length > 0 ? pem : problem('has no certificate in PEM')
  } catch (error) {
    return problem((error as NodeJS.ErrnoException).syscall === undefined
      ? 'has a certificate that cannot be parsed'
      : 'cannot be read')
  }
}

// REDIS_URL and REDIS_CA_FILE, with what to write instead of what other clients understand.

import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type Environment, readSecret } from './secrets.ts'
import { whyUnreadable } from './unreadable.ts'

export type RedisEndpoint = Readonly<{ host: string, port: number }>

/** `username` and `password` are empty if the URL has none. */
export type RedisAddress = Readonly<{
  tls: boolean
  /** The only authorities that a certificate may be signed by, in PEM; public ones if it is missing. */
  ca?: string
  username: string
  password: string
  database: number
}> & (
  | RedisEndpoint
  | Readonly<{ cluster: readonly RedisEndpoint[] }>
  | Readonly<{ sentinels: readonly RedisEndpoint[], primary: string }>
)

const FORMS = {
  server: 'redis[s]://[user:password@]host[:port][/database]',
  cluster: 'redis[s]+cluster://[user:password@]host[:port][,host[:port]]',
  sentinel: 'redis[s]+sentinel://[user:password@]host[:port][,host[:port]]/name[/database]'
} as const
type Form = keyof typeof FORMS
/** The name of the primary, and the database. */
const PATHS = { server: /^()(\d{1,5})?$/, cluster: /^$/, sentinel: /^([^/]+)(?:\/(\d{1,5}))?$/ } as const
const DEFAULT_PORTS = { server: 6379, cluster: 6379, sentinel: 26379 } as const

/** The URL is taken apart here, since the client library would read options from its query. */
export function readRedis (env: Environment, problems: string[]): RedisAddress | null {
  const given = readSecret(env, 'REDIS_URL', problems)
  const ca = readCa(env, problems)
  if (ca !== null && !/^rediss[:+]/.test(given ?? '')) {
    problems.push('REDIS_CA_FILE needs a REDIS_URL that begins with rediss')
  }
  if (given === null) return null
  try {
    return { ...parse(given), ...(ca === null ? {} : { ca }) }
  } catch {
    const name = env.REDIS_URL ? 'REDIS_URL' : 'REDIS_URL_FILE'
    problems.push(`${name} must be ${FORMS[formOf(given)]}${hintFor(given)}`)
    return null
  }
}

/** Throws if it is none of the forms. */
function parse (given: string): RedisAddress {
  const [, tls, form = 'server', user = '', hosts = '', path = ''] =
    /^redis(s?)(?:\+(cluster|sentinel))?:\/\/([^/?#]*@)?([^/?#@]+)(?:\/([^?#]*))?$/.exec(given) ?? []
  const urls = hosts.split(',').map((host) => new URL(`redis://${user}${host}`))
  const [url] = urls as [URL]
  const [isPath, name = '', database = '0'] = PATHS[form as Form].exec(path) ?? []
  const isOne = form === 'server'
  if (tls === undefined || isPath === undefined || urls.some(({ hostname }) => hostname === '') ||
    (isOne ? urls.length > 1 : /@./.test(user))) throw new Error('none of the forms')
  const common = {
    tls: tls === 's',
    username: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    database: Number(database)
  }
  const endpoints = urls.map(({ hostname, port }) => ({
    host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || DEFAULT_PORTS[form as Form])
  }))
  if (form === 'cluster') return { ...common, cluster: endpoints }
  if (form === 'sentinel') return { ...common, sentinels: endpoints, primary: decodeURIComponent(name) }
  return { ...common, ...endpoints[0] as RedisEndpoint }
}

function schemeOf (given: string): string {
  return /^([a-z][a-z0-9+.-]*):/i.exec(given)?.[1] ?? ''
}

function formOf (given: string): Form {
  const scheme = schemeOf(given).toLowerCase()
  return scheme.includes('cluster') ? 'cluster' : scheme.includes('sentinel') ? 'sentinel' : 'server'
}

/** Advice on what to write instead of a form that only other clients understand. */
function hintFor (given: string): string {
  const [scheme, form] = [schemeOf(given), formOf(given)]
  if (/unix|socket/i.test(scheme) || given.startsWith('/')) {
    return ': a socket file cannot be used. Write redis://127.0.0.1:6379, and let Redis listen there'
  }
  const prefix = form === 'server' ? 'redis' : `redis+${form}`
  if (![prefix, prefix.replace('redis', 'rediss')].includes(scheme)) {
    return `: write ${prefix}:// for plain TCP, ${prefix.replace('redis', 'rediss')}:// for TLS`
  }
  if (form === 'server' && /^[^/]*:\/\/[^/]*,/.test(given)) {
    return ': write one host here, several with redis+cluster:// or, for sentinels, redis+sentinel://'
  }
  if (given.includes('?')) {
    return ', without a query. Write user, password and database as here, rediss for TLS, and a CA in REDIS_CA_FILE'
  }
  if (form === 'cluster' && /:\/\/[^/]+\/./.test(given)) return ', without a database: a cluster has only one'
  if (form === 'sentinel' && !/:\/\/[^/]+\/[^/#]/.test(given)) {
    return ': behind the hosts write the name that the sentinels give the primary'
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
      : `cannot be read: ${whyUnreadable(error)}`)
  }
}

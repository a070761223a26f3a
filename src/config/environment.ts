// The only module that reads the environment. All problems are reported at once, by name and never by value.

import { isIP } from 'node:net'
import { dirname, resolve } from 'node:path'
import { isRange } from './addresses.ts'
import { type Environment, readSecret, secretSource } from './secrets.ts'

/** Everything else takes the environment as an argument. */
export const processEnv: Environment = process.env

// With DEBUG set, the Redis client prints every command, including the password.
delete process.env.DEBUG

export const MINT_APIS = ['auto', 'client_secrets', 'sessions'] as const
export const REDIS_LOSSES = ['deny', 'local'] as const
const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const

export type Config = Readonly<{
  upstream: Readonly<{
    baseUrl: URL
    /** The key itself, or the file that contains it, which may change. */
    key: Readonly<{ value: string } | { file: string }>
    authScheme: 'bearer' | 'api-key'
    organization: string | null
    project: string | null
    mintApi: typeof MINT_APIS[number]
    timeoutMs: number
    concurrency: number
  }>
  /** Base URL in the responses, where clients connect to. */
  realtimePublicUrl: string
  policyFile: string
  listen: Readonly<{ host: string, port: number }>
  ops: Readonly<{ host: string, port: number }> | null
  origins: ReadonlySet<string>
  /** A hop count, or addresses and CIDR ranges; false trusts no proxy. */
  trustProxy: number | string[] | false
  keepAliveMs: number
  addressLimitPerMinute: number
  /** Null keeps limits in memory. */
  redis: RedisAddress | null
  onRedisLoss: typeof REDIS_LOSSES[number]
  safetyIdentifierSecret: string | null
  auditFile: string | null
  drainMs: number
  logLevel: typeof LOG_LEVELS[number]
}>

/** `username` and `password` are empty if the URL has none. */
export type RedisAddress = Readonly<{
  host: string, port: number, tls: boolean, username: string, password: string, database: number
}>

/** The message has one line for each problem. */
export class ConfigError extends Error {
  declare readonly problems: readonly string[]
  constructor (problems: readonly string[]) {
    super(problems.join('\n'))
    this.problems = problems
  }
}

export function readConfig (env: Environment): Config {
  const problems: string[] = []
  const problem = (name: string, text: string) => { problems.push(`${name} ${text}`) }
  const text = (name: string): string | null => env[name] === undefined || env[name] === '' ? null : env[name]
  const integer = (name: string, fallback: number, min: number, max: number): number => {
    const given = text(name) ?? String(fallback)
    const number = /^\d{1,9}$/.test(given) ? Number(given) : NaN
    if (!(number >= min && number <= max)) problem(name, `must be a whole number from ${min} to ${max}`)
    return number
  }
  const oneOf = <T extends string>(name: string, choices: readonly T[], fallback: T): T => {
    const given = text(name) ?? fallback
    if (!choices.includes(given as T)) problem(name, `must be one of ${choices.join(', ')}`)
    return given as T
  }
  const url = (name: string, fallback: string | URL): URL => {
    const given = text(name) ?? String(fallback)
    const parsed = URL.parse(given)
    if (parsed === null) problem(name, 'must be a URL')
    return parsed ?? new URL(fallback)
  }

  const allowHttp = oneOf('OPENAI_ALLOW_HTTP', ['false', 'true'], 'false') === 'true'
  const baseUrl = url('OPENAI_BASE_URL', 'https://api.openai.com/v1')
  for (const fault of urlFaults(baseUrl, allowHttp)) problem('OPENAI_BASE_URL', fault)
  const key = readSecret(env, 'OPENAI_API_KEY', problems)
  if (key === null && text('OPENAI_API_KEY_FILE') === null) {
    problem('OPENAI_API_KEY', 'or OPENAI_API_KEY_FILE must be set')
  }
  if (key !== null && !/^[\x21-\x7e]+$/.test(key)) {
    problem(
      text('OPENAI_API_KEY') === null ? 'OPENAI_API_KEY_FILE' : 'OPENAI_API_KEY',
      'contains characters that no key has: a space, a quotation mark or a trailing comment?'
    )
  }
  for (const name of ['OPENAI_ORG_ID', 'OPENAI_PROJECT_ID']) {
    if (!/^[\x21-\x7e]*$/.test(text(name) ?? '')) problem(name, 'contains characters that no header may have')
  }
  const publicUrl = url('REALTIME_PUBLIC_URL', baseUrl)
  if (text('REALTIME_PUBLIC_URL') !== null) {
    for (const fault of urlFaults(publicUrl, allowHttp)) problem('REALTIME_PUBLIC_URL', fault)
  }
  if (text('NODE_TLS_REJECT_UNAUTHORIZED') === '0') {
    problem('NODE_TLS_REJECT_UNAUTHORIZED', 'must not be 0: it disables certificate verification')
  }

  const origins = readOrigins(env)
  for (const [i, origin] of origins.entries()) {
    if (URL.parse(origin)?.origin !== origin || origin.includes('*')) {
      const example = 'https://app.example.com (no path, no wildcard, no default port)'
      problem('CORS_ORIGINS', `entry ${i + 1} is not an exact origin such as ${example}`)
    }
  }
  const safetyIdentifierSecret = safetyIdentifierSecretOf(env, problems)
  const opsPort = env.OPS_PORT === '' ? null : integer('OPS_PORT', 9090, 0, 65_535)

  const config: Config = {
    upstream: {
      baseUrl,
      key: text('OPENAI_API_KEY_FILE') === null
        ? { value: key ?? '' }
        : { file: text('OPENAI_API_KEY_FILE') as string },
      authScheme: oneOf('OPENAI_AUTH_SCHEME', ['bearer', 'api-key'], 'bearer'),
      organization: text('OPENAI_ORG_ID'),
      project: text('OPENAI_PROJECT_ID'),
      mintApi: oneOf('OPENAI_MINT_API', MINT_APIS, 'auto'),
      timeoutMs: integer('UPSTREAM_TIMEOUT_MS', 10_000, 100, 60_000),
      concurrency: integer('UPSTREAM_CONCURRENCY', 256, 1, 100_000)
    },
    realtimePublicUrl: publicUrl.href.replace(/\/$/, ''),
    policyFile: policyFileOf(env),
    listen: { host: text('HOST') ?? '0.0.0.0', port: integer('PORT', 8080, 0, 65_535) },
    ops: opsPort === null ? null : { host: text('OPS_HOST') ?? '0.0.0.0', port: opsPort },
    origins: new Set(origins),
    trustProxy: readTrustProxy(text('TRUST_PROXY'), problem),
    keepAliveMs: integer('KEEP_ALIVE_SECONDS', 75, 1, 3600) * 1000,
    addressLimitPerMinute: integer('ADDRESS_LIMIT_PER_MINUTE', 60, 0, 1_000_000),
    redis: readRedis(env, problems),
    onRedisLoss: oneOf('ON_REDIS_LOSS', REDIS_LOSSES, 'deny'),
    safetyIdentifierSecret,
    auditFile: text('AUDIT_FILE'),
    drainMs: integer('DRAIN_SECONDS', 5, 0, 20) * 1000,
    logLevel: oneOf('LOG_LEVEL', LOG_LEVELS, 'info')
  }
  if (problems.length > 0) throw new ConfigError(problems)
  return Object.freeze(config)
}

/** Null if it is not set. Throws ConfigError. */
export function readSafetyIdentifierSecret (env: Environment): string | null {
  const problems: string[] = []
  const secret = safetyIdentifierSecretOf(env, problems)
  if (problems.length > 0) throw new ConfigError(problems)
  return secret
}

function safetyIdentifierSecretOf (env: Environment, problems: string[]): string | null {
  const secret = readSecret(env, 'SAFETY_IDENTIFIER_SECRET', problems)
  if (secret !== null && Buffer.byteLength(secret) < 32) {
    problems.push('SAFETY_IDENTIFIER_SECRET must be 32 bytes or longer')
  }
  return secret
}

/** The URL is taken apart here, since the client library would read options from its query. */
function readRedis (env: Environment, problems: string[]): RedisAddress | null {
  const given = readSecret(env, 'REDIS_URL', problems)
  if (given === null) return null
  const url = URL.parse(given)
  const [, tls, database = '0'] = /^redis(s?):\/\/[^/]+\/?(\d{1,5})?$/.exec(given) ?? []
  try {
    if (url === null || tls === undefined || url.hostname === '' || url.search !== '' || url.hash !== '') {
      throw new Error('no such URL')
    }
    return {
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: Number(url.port || 6379),
      tls: tls === 's',
      username: decodeURIComponent(url.username),
      password: decodeURIComponent(url.password),
      database: Number(database)
    }
  } catch {
    const name = env.REDIS_URL ? 'REDIS_URL' : 'REDIS_URL_FILE'
    problems.push(`${name} must be redis[s]://[user:password@]host[:port][/database], without a query`)
    return null
  }
}

export function policyFileOf ({ EPHEMINT_CONFIG: path }: Environment): string {
  return resolve(path || './ephemint.yaml')
}

/**
 * The part of the environment that a policy file depends on: commands use it without the rest. Throws ConfigError.
 */
export function policyEnvironment (env: Environment, policyFile: string) {
  const mintApi = MINT_APIS.find((known) => known === (env.OPENAI_MINT_API || 'auto'))
  if (mintApi === undefined) throw new ConfigError([`OPENAI_MINT_API must be one of ${MINT_APIS.join(', ')}`])
  return {
    secrets: secretSource(env, dirname(resolve(policyFile))),
    mintApi,
    hasSafetyIdentifierSecret: Boolean(env.SAFETY_IDENTIFIER_SECRET || env.SAFETY_IDENTIFIER_SECRET_FILE),
    origins: new Set(readOrigins(env))
  }
}

function readOrigins ({ CORS_ORIGINS: list = '' }: Environment): string[] {
  return list.split(',').map((origin) => origin.trim()).filter(Boolean)
}

function * urlFaults (url: URL, allowHttp: boolean): Generator<string> {
  if (url.username !== '' || url.password !== '') yield 'must not carry a user or a password'
  if (url.search !== '' || url.hash !== '') yield 'must not carry a query or a fragment'
  const host = url.hostname.replace(/^\[|\]$|\.$/g, '')
  if (METADATA_HOSTS.has(host) || LINK_LOCAL.test(host)) yield 'is the address of a cloud metadata service'
  if (url.protocol === 'https:' || (url.protocol === 'http:' && (isLoopback(host) || allowHttp))) return
  yield 'must be https; http is for loopback, or with OPENAI_ALLOW_HTTP=true'
}

const METADATA_HOSTS = new Set([
  'metadata', 'metadata.google.internal', 'metadata.goog', 'metadata.azure.internal',
  'instance-data', 'instance-data.ec2.internal', '100.100.100.200', '168.63.129.16', '192.0.0.192',
  'fd00:ec2::254', 'fd00:ec2::23', 'fd20:ce::254'
])
/** Also embedded in an IPv6 address. Nothing but metadata services uses this range. */
const LINK_LOCAL = /^169\.254\.|:a9fe:[\da-f]+$/

export function isLoopback (host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

function readTrustProxy (
  given: string | null, problem: (name: string, text: string) => void
): number | string[] | false {
  if (given === null) return false
  if (/^[1-9]\d?$/.test(given)) return Number(given)
  const ranges = given.split(',').map((range) => range.trim())
  if (!ranges.every(isRange)) {
    problem(
      'TRUST_PROXY',
      'must be a hop count from 1 to 99, or a comma-separated list of addresses and CIDR ranges; never all'
    )
  }
  return ranges
}

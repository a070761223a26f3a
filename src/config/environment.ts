// The only module that reads the environment. All problems are reported at once, by name and never by value.

import { dirname, resolve } from 'node:path'
import { isRange } from './addresses.ts'
import { isQuoted, keyFault } from './api-key.ts'
import { isLoopback, isMetadataHost, METADATA_HOST } from './hosts.ts'
import { type NearMiss, nearMisses } from './near-misses.ts'
import { type Origins, readOrigins } from './origins.ts'
import { type Proxies, readProxies } from './proxies.ts'
import { readRedis, type RedisAddress, type RedisEndpoint } from './redis-url.ts'
import { type Environment, readSecret, secretSource } from './secrets.ts'
import { readTracing, type TracingSettings } from './tracing.ts'

/** Everything else takes the environment as an argument. */
export const processEnv: Environment = process.env

// With DEBUG set, the Redis client prints every command, including the password.
delete process.env.DEBUG

export const MINT_APIS = ['auto', 'client_secrets', 'sessions'] as const
const CALLS_APIS = ['unified', 'secret'] as const
const REDIS_LOSSES = ['deny', 'local'] as const
const QUOTED = 'has quotation marks around it: leave them out'
export const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const

export type Config = Readonly<{
  upstream: Readonly<{
    baseUrl: URL
    /** The key itself, or the file that contains it, which may change. */
    key: Readonly<{ value: string } | { file: string }>
    authScheme: 'bearer' | 'api-key'
    organization: string | null
    project: string | null
    mintApi: typeof MINT_APIS[number]
    /** `secret`: a client secret is minted first, and the call is created with it. */
    callsApi: typeof CALLS_APIS[number]
    timeoutMs: number
    concurrency: number
  }>
  /** How long the creation of a call may take, and how many calls this replica holds. */
  calls: Readonly<{ setupMs: number, max: number }>
  /** Base URL in the responses, where clients connect to. */
  realtimePublicUrl: string
  policyFile: string
  listen: Readonly<{ host: string, port: number }>
  ops: Readonly<{ host: string, port: number }> | null
  origins: Origins
  /** Request headers that pages may send beside the usual ones, in lower case. */
  requestHeaders: ReadonlySet<string>
  /** A hop count, or addresses and CIDR ranges; false trusts no proxy. */
  trustProxy: number | string[] | false
  keepAliveMs: number
  addressLimitPerMinute: number
  /** Null keeps limits in memory. */
  redis: RedisAddress | null
  onRedisLoss: typeof REDIS_LOSSES[number]
  /** The ones that requests to upstream and to identity providers go by. */
  proxies: Proxies
  safetyIdentifierSecret: string | null
  /** Null: there is no administration. */
  adminToken: string | null
  auditFile: string | null
  drainMs: number
  logLevel: typeof LOG_LEVELS[number]
  /** The file that the level comes from, which may change. */
  logLevelFile: string | null
  /** Null: no spans are made, and nothing for them is loaded. */
  tracing: TracingSettings | null
  /** The commit that an image was built from. */
  revision: string | null
  /** For a warning at the start. */
  nearMisses: readonly NearMiss[]
}>

export type { RedisAddress, RedisEndpoint }

/** The message has one line for each problem. */
export class ConfigError extends Error {
  declare readonly problems: readonly string[]
  constructor (problems: readonly string[]) {
    super(problems.join('\n'))
    this.problems = problems
  }
}

export function readConfig (given: Environment): Config {
  const ours = new Set<string>()
  const env = new Proxy(given, {
    get: (target, name: string) => {
      ours.add(name)
      return target[name]
    }
  })
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
  const fault = key === null ? null : keyFault(key)
  if (fault !== null) problem(text('OPENAI_API_KEY') === null ? 'OPENAI_API_KEY_FILE' : 'OPENAI_API_KEY', fault)
  if (!/^[\w.-]{0,64}$/.test(text('EPHEMINT_REVISION') ?? '')) problem('EPHEMINT_REVISION', 'is no name of a commit')
  for (const name of ['OPENAI_ORG_ID', 'OPENAI_PROJECT_ID']) {
    if (isQuoted(text(name) ?? '')) problem(name, QUOTED)
    else if (!/^[\x21-\x7e]*$/.test(text(name) ?? '')) problem(name, 'contains characters that no header may have')
  }
  const publicUrl = url('REALTIME_PUBLIC_URL', baseUrl)
  if (text('REALTIME_PUBLIC_URL') !== null) {
    for (const fault of urlFaults(publicUrl, allowHttp)) problem('REALTIME_PUBLIC_URL', fault)
  }
  if (text('NODE_TLS_REJECT_UNAUTHORIZED') === '0') {
    problem('NODE_TLS_REJECT_UNAUTHORIZED', 'must not be 0: it disables certificate verification')
  }

  const origins = originsOf(env, problems)
  const safetyIdentifierSecret = safetyIdentifierSecretOf(env, problems)
  const authScheme = oneOf('OPENAI_AUTH_SCHEME', ['bearer', 'api-key'], 'bearer')
  const opsPort = env.OPS_PORT === '' ? null : integer('OPS_PORT', 9090, 0, 65_535)

  const config: Config = {
    upstream: {
      baseUrl,
      key: text('OPENAI_API_KEY_FILE') === null
        ? { value: key ?? '' }
        : { file: text('OPENAI_API_KEY_FILE') as string },
      authScheme,
      organization: text('OPENAI_ORG_ID'),
      project: text('OPENAI_PROJECT_ID'),
      mintApi: oneOf('OPENAI_MINT_API', MINT_APIS, 'auto'),
      // Azure refuses the resource key where calls are created.
      callsApi: oneOf('OPENAI_CALLS_API', CALLS_APIS, authScheme === 'api-key' ? 'secret' : 'unified'),
      timeoutMs: integer('UPSTREAM_TIMEOUT_MS', 10_000, 100, 60_000),
      concurrency: integer('UPSTREAM_CONCURRENCY', 256, 1, 100_000)
    },
    calls: { setupMs: integer('CALL_SETUP_SECONDS', 20, 1, 30) * 1000, max: integer('CALLS_MAX', 2000, 1, 100_000) },
    realtimePublicUrl: publicUrl.href.replace(/\/$/, ''),
    policyFile: policyFileOf(env),
    listen: { host: text('HOST') ?? '::', port: integer('PORT', 8080, 0, 65_535) },
    ops: opsPort === null ? null : { host: text('OPS_HOST') ?? '::', port: opsPort },
    origins,
    requestHeaders: readRequestHeaders(text('CORS_HEADERS') ?? '', problem),
    trustProxy: readTrustProxy(text('TRUST_PROXY'), problem),
    keepAliveMs: integer('KEEP_ALIVE_SECONDS', 125, 1, 3600) * 1000,
    addressLimitPerMinute: integer('ADDRESS_LIMIT_PER_MINUTE', 60, 0, 1_000_000),
    redis: readRedis(env, problems),
    onRedisLoss: oneOf('ON_REDIS_LOSS', REDIS_LOSSES, 'deny'),
    proxies: readProxies(env, problem),
    safetyIdentifierSecret,
    adminToken: adminTokenOf(env, problems),
    auditFile: text('AUDIT_FILE'),
    drainMs: integer('DRAIN_SECONDS', 5, 0, 20) * 1000,
    logLevel: logLevelOf(env, problems),
    logLevelFile: text('LOG_LEVEL_FILE'),
    tracing: readTracing({ env, problems, integer }),
    revision: text('EPHEMINT_REVISION'),
    nearMisses: []
  }
  if (config.ops !== null && config.ops.port !== 0 && config.ops.port === config.listen.port &&
    config.ops.host === config.listen.host) problem('OPS_PORT', 'must not be PORT: it is a listener of its own')
  if (problems.length > 0) throw new ConfigError(problems)
  return Object.freeze({ ...config, nearMisses: nearMisses(given, ours) })
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

function adminTokenOf (env: Environment, problems: string[]): string | null {
  const token = readSecret(env, 'ADMIN_TOKEN', problems)
  if (token !== null && isQuoted(token)) problems.push(`ADMIN_TOKEN ${QUOTED}`)
  else if (token !== null && !/^[\x21-\x7e]{32,}$/.test(token)) {
    problems.push('ADMIN_TOKEN must be 32 bytes or longer, of characters that a header may have')
  }
  return token
}

function logLevelOf (env: Environment, problems: string[]): Config['logLevel'] {
  const given = readSecret(env, 'LOG_LEVEL', problems) ?? 'info'
  const level = LOG_LEVELS.find((known) => known === given)
  if (level === undefined) {
    problems.push(`${env.LOG_LEVEL_FILE ? 'LOG_LEVEL_FILE' : 'LOG_LEVEL'} must be one of ${LOG_LEVELS.join(', ')}`)
  }
  return level ?? 'info'
}

export function policyFileOf ({ EPHEMINT_CONFIG: path }: Environment): string {
  return resolve(path || './ephemint.yaml')
}

/**
 * The part of the environment that a policy file depends on: commands use it without the rest. Throws ConfigError.
 */
export function policyEnvironment (env: Environment, policyFile: string) {
  const mintApi = MINT_APIS.find((known) => known === (env.OPENAI_MINT_API || 'auto'))
  const problems = mintApi === undefined ? [`OPENAI_MINT_API must be one of ${MINT_APIS.join(', ')}`] : []
  const origins = originsOf(env, problems)
  if (mintApi === undefined || problems.length > 0) throw new ConfigError(problems)
  return {
    secrets: secretSource(env, dirname(resolve(policyFile))),
    mintApi,
    hasSafetyIdentifierSecret: Boolean(env.SAFETY_IDENTIFIER_SECRET || env.SAFETY_IDENTIFIER_SECRET_FILE),
    origins
  }
}

function originsOf ({ CORS_ORIGINS: list = '' }: Environment, problems: string[]): Origins {
  return readOrigins(list, (entry, text) => problems.push(`CORS_ORIGINS entry ${entry} ${text}`))
}

/** A `*` would not mean all of them: browsers take it as a name where a request carries credentials. */
function readRequestHeaders (list: string, problem: (name: string, text: string) => void): ReadonlySet<string> {
  const names = list.toLowerCase().split(',').map((name) => name.trim()).filter(Boolean)
  for (const [i, name] of names.entries()) {
    if (!/^[a-z0-9][a-z0-9_.-]{0,63}$/.test(name)) {
      problem('CORS_HEADERS', `entry ${i + 1} is not the name of a header such as x-tenant; there is no * for all`)
    }
  }
  return new Set(names)
}

function * urlFaults (url: URL, allowHttp: boolean): Generator<string> {
  if (url.username !== '' || url.password !== '') yield 'must not carry a user or a password'
  if (url.search !== '' || url.hash !== '') yield 'must not carry a query or a fragment'
  const host = url.hostname.replace(/^\[|\]$|\.$/g, '')
  if (isMetadataHost(host)) yield METADATA_HOST
  if (url.protocol === 'https:' || (url.protocol === 'http:' && (isLoopback(host) || allowHttp))) return
  yield 'must be https; http is for loopback, or with OPENAI_ALLOW_HTTP=true'
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

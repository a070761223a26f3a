// The variables of OpenTelemetry that traces depend on, named and meant as its specification has them.

import { readFileSync } from 'node:fs'
import { isMetadataHost, METADATA_HOST } from './hosts.ts'
import { type Environment, readSecret } from './secrets.ts'
import { whyUnreadable } from './unreadable.ts'

/** The first one is the default. */
const SAMPLERS = [
  'parentbased_always_on', 'parentbased_always_off', 'parentbased_traceidratio', 'always_on', 'always_off',
  'traceidratio'
] as const
const PROTOCOLS = ['http/protobuf', 'http/json'] as const

export type TracingSettings = Readonly<{
  /** Spans are posted to it. */
  url: URL
  protocol: typeof PROTOCOLS[number]
  /** Secret: collectors authenticate by them. */
  headers: Readonly<Record<string, string>>
  compression: 'none' | 'gzip'
  timeoutMs: number
  /** In PEM. */
  tls: Readonly<{ ca: string | undefined, cert: string | undefined, key: string | undefined }>
  sampler: typeof SAMPLERS[number]
  ratio: number
  /** Attributes of the process. */
  resource: Readonly<Record<string, string>>
  batch: Readonly<{ delayMs: number, timeoutMs: number, maxQueued: number, maxSize: number }>
}>

/** For log records, which are not sent. These names look like misspelt ones for spans. */
const OF_LOGS = ['SCHEDULE_DELAY', 'EXPORT_TIMEOUT', 'MAX_QUEUE_SIZE', 'MAX_EXPORT_BATCH_SIZE'].map(
  (name) => `OTEL_BLRP_${name}`
)

type Readers = Readonly<{
  env: Environment
  problems: string[]
  integer: (name: string, fallback: number, min: number, max: number) => number
}>

/** Null without an endpoint, or where traces are turned off: then nothing else is checked. */
export function readTracing ({ env, problems, integer }: Readers): TracingSettings | null {
  const text = (name: string) => env[name]?.trim() ?? ''
  /** The name of the variable for traces if it is set, or the name of the one for every kind of telemetry. */
  const either = (name: string) => text(`OTEL_EXPORTER_OTLP_TRACES_${name}`) === ''
    ? `OTEL_EXPORTER_OTLP_${name}`
    : `OTEL_EXPORTER_OTLP_TRACES_${name}`
  const oneOf = <T extends string>(name: string, choices: readonly [T, ...T[]]): T => {
    const given = text(name) || choices[0]
    const found = choices.find((choice) => choice === given)
    if (found === undefined) problems.push(`${name} must be one of ${choices.join(', ')}`)
    return found ?? choices[0]
  }
  const pem = (name: string): string | undefined => {
    const path = text(either(name))
    try {
      return path === '' ? undefined : readFileSync(path, 'utf8')
    } catch (error) {
      problems.push(`${either(name)} names a file that cannot be read: ${whyUnreadable(error)}`)
      return undefined
    }
  }

  const endpoint = either('ENDPOINT')
  const isOff = text('OTEL_SDK_DISABLED').toLowerCase() === 'true' || text('OTEL_TRACES_EXPORTER') === 'none'
  if (text(endpoint) === '' || isOff) return null
  OF_LOGS.forEach(text)
  const url = URL.parse(text(endpoint)) ?? new URL('unparsed:')
  for (const fault of urlFaults(url)) problems.push(`${endpoint} ${fault}`)
  // The endpoint of all signals is a base, the endpoint of traces is complete.
  if (!endpoint.includes('TRACES')) url.pathname = `${url.pathname.replace(/\/$/, '')}/v1/traces`
  oneOf('OTEL_TRACES_EXPORTER', ['otlp'])
  const [ratio, serviceName] = [Number(text('OTEL_TRACES_SAMPLER_ARG') || '1'), text('OTEL_SERVICE_NAME')]
  if (!(ratio >= 0 && ratio <= 1)) problems.push('OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1')
  const headers = {
    ...pairsOf(readSecret(env, 'OTEL_EXPORTER_OTLP_HEADERS', problems), 'OTEL_EXPORTER_OTLP_HEADERS', problems),
    ...pairsOf(
      readSecret(env, 'OTEL_EXPORTER_OTLP_TRACES_HEADERS', problems), 'OTEL_EXPORTER_OTLP_TRACES_HEADERS', problems
    )
  }
  if (!Object.entries(headers).every(
    ([name, value]) => TRACE_HEADER_NAME.test(name) && TRACE_HEADER_VALUE.test(value)
  )) {
    problems.push('OTEL_EXPORTER_OTLP_HEADERS has characters that no header may have')
  }
  return {
    url,
    protocol: oneOf(either('PROTOCOL'), PROTOCOLS),
    headers,
    compression: oneOf(either('COMPRESSION'), ['none', 'gzip']),
    timeoutMs: integer(either('TIMEOUT'), 10_000, 1, 600_000),
    tls: { ca: pem('CERTIFICATE'), cert: pem('CLIENT_CERTIFICATE'), key: pem('CLIENT_KEY') },
    sampler: oneOf('OTEL_TRACES_SAMPLER', SAMPLERS),
    ratio,
    resource: {
      'service.name': 'ephemint',
      ...pairsOf(text('OTEL_RESOURCE_ATTRIBUTES'), 'OTEL_RESOURCE_ATTRIBUTES', problems),
      ...serviceName === '' ? {} : { 'service.name': serviceName }
    },
    batch: {
      delayMs: integer('OTEL_BSP_SCHEDULE_DELAY', 5000, 1, 600_000),
      timeoutMs: integer('OTEL_BSP_EXPORT_TIMEOUT', 30_000, 1, 600_000),
      maxQueued: integer('OTEL_BSP_MAX_QUEUE_SIZE', 2048, 1, 1_000_000),
      maxSize: integer('OTEL_BSP_MAX_EXPORT_BATCH_SIZE', 512, 1, 1_000_000)
    }
  }
}

function * urlFaults (url: URL): Generator<string> {
  if (url.protocol !== 'https:' && url.protocol !== 'http:') yield 'must be a URL with http or https'
  if (url.username !== '' || url.password !== '') yield 'must not carry a user or a password'
  if (url.search !== '' || url.hash !== '') yield 'must not carry a query or a fragment'
  if (isMetadataHost(url.hostname)) yield METADATA_HOST
}

const TRACE_HEADER_NAME = /^[\w!#$%&'*+.^`|~-]+$/
const TRACE_HEADER_VALUE = /^[\x20-\x7e]*$/

/** A list `name=value,name=value`, the values percent-encoded. */
function pairsOf (list: string | null, variable: string, problems: string[]): Record<string, string> {
  const entries = (list ?? '').split(',').filter((entry) => entry.trim() !== '')
  return Object.fromEntries(entries.flatMap((entry, i) => {
    const [, name, value = ''] = /^([^=]+)=(.*)$/s.exec(entry.trim()) ?? []
    if (name !== undefined) return [[name.trim(), decoded(value.trim())]]
    problems.push(`${variable} entry ${i + 1} is not name=value`)
    return []
  }))
}

function decoded (value: string): string {
  try {
    return decodeURIComponent(value)
  } catch {
    // With a % of its own.
    return value
  }
}

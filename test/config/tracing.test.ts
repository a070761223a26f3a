// The variables of OpenTelemetry: read as its specification says, and reported by name.

import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { ConfigError, readConfig } from '../../src/config/environment.ts'
import type { Environment } from '../../src/config/secrets.ts'
import { settingsOf } from '../../src/config/settings.ts'

const ENDPOINT = { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://collector.test:4318/base/' }
const tracing = (env: Environment) => readConfig({ OPENAI_API_KEY: 'sk-canary', ...env }).tracing

function problemsOf (env: Environment): readonly string[] {
  try {
    tracing({ ...ENDPOINT, ...env })
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
  return []
}

const folder = mkdtempSync(join(tmpdir(), 'ephemint-'))
const file = (name: string, text: string) => {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}

t.test('operate: a variable of OpenTelemetry that cannot work stops the start, without its value', async (t) => {
  const wrong: [env: Environment, problem: string][] = [
    [{ OTEL_EXPORTER_OTLP_ENDPOINT: 'canary' }, 'OTEL_EXPORTER_OTLP_ENDPOINT must be a URL with http or https'],
    [
      { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'grpc://canary.test' },
      'OTEL_EXPORTER_OTLP_TRACES_ENDPOINT must be a URL with http or https'
    ],
    [
      { OTEL_EXPORTER_OTLP_ENDPOINT: 'https://a:canary@collector.test' },
      'OTEL_EXPORTER_OTLP_ENDPOINT must not carry a user or a password'
    ],
    [
      { OTEL_EXPORTER_OTLP_ENDPOINT: 'https://collector.test/?key=canary' },
      'OTEL_EXPORTER_OTLP_ENDPOINT must not carry a query or a fragment'
    ],
    [
      { OTEL_EXPORTER_OTLP_ENDPOINT: 'http://169.254.169.254/' },
      'OTEL_EXPORTER_OTLP_ENDPOINT is the address of a cloud metadata service'
    ],
    [{ OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, 'OTEL_EXPORTER_OTLP_PROTOCOL must be one of http/protobuf, http/json'],
    [
      { OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'canary' },
      'OTEL_EXPORTER_OTLP_TRACES_PROTOCOL must be one of http/protobuf, http/json'
    ],
    [{ OTEL_EXPORTER_OTLP_COMPRESSION: 'zstd' }, 'OTEL_EXPORTER_OTLP_COMPRESSION must be one of none, gzip'],
    [{ OTEL_EXPORTER_OTLP_TIMEOUT: '10s' }, 'OTEL_EXPORTER_OTLP_TIMEOUT must be a whole number from 1 to 600000'],
    [{ OTEL_TRACES_EXPORTER: 'zipkin' }, 'OTEL_TRACES_EXPORTER must be one of otlp'],
    [{ OTEL_TRACES_SAMPLER_ARG: '1.5' }, 'OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1'],
    [{ OTEL_TRACES_SAMPLER_ARG: 'canary' }, 'OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1'],
    [{ OTEL_EXPORTER_OTLP_HEADERS: 'canary' }, 'OTEL_EXPORTER_OTLP_HEADERS entry 1 is not name=value'],
    [
      { OTEL_EXPORTER_OTLP_HEADERS: 'x-key=canary%0A' },
      'OTEL_EXPORTER_OTLP_HEADERS has characters that no header may have'
    ],
    [
      { OTEL_EXPORTER_OTLP_HEADERS_FILE: join(folder, 'canary') },
      'OTEL_EXPORTER_OTLP_HEADERS_FILE names a file that cannot be read: no such file or directory'
    ],
    [{ OTEL_RESOURCE_ATTRIBUTES: 'a=b,canary' }, 'OTEL_RESOURCE_ATTRIBUTES entry 2 is not name=value'],
    [
      { OTEL_EXPORTER_OTLP_CERTIFICATE: join(folder, 'canary') },
      'OTEL_EXPORTER_OTLP_CERTIFICATE names a file that cannot be read: no such file or directory'
    ],
    [{ OTEL_BSP_MAX_QUEUE_SIZE: '0' }, 'OTEL_BSP_MAX_QUEUE_SIZE must be a whole number from 1 to 1000000']
  ]
  for (const [env, problem] of wrong) {
    t.same(problemsOf(env), [problem])
    t.equal(tracing({ ...env, OTEL_SDK_DISABLED: 'TRUE', ...ENDPOINT }), null, 'and none where traces are off')
  }
  t.match(problemsOf({ OTEL_TRACES_SAMPLER: 'canary' }), [/^OTEL_TRACES_SAMPLER must be one of parentbased_always_on/])
  t.equal(tracing({}), null)
  t.equal(tracing({ ...ENDPOINT, OTEL_TRACES_EXPORTER: 'none' }), null)
})

t.test('operate: the defaults are those of OpenTelemetry, and variables for traces take precedence', async (t) => {
  const read = tracing(ENDPOINT)
  t.equal(read?.url.href, 'http://collector.test:4318/base/v1/traces')
  t.match(read, {
    protocol: 'http/protobuf',
    headers: {},
    compression: 'none',
    timeoutMs: 10_000,
    sampler: 'parentbased_always_on',
    ratio: 1,
    resource: { 'service.name': 'ephemint' },
    batch: { delayMs: 5000, timeoutMs: 30_000, maxQueued: 2048, maxSize: 512 }
  })
  const own = tracing({
    ...ENDPOINT,
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: 'https://traces.test/v2/spans',
    OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: 'http/json',
    OTEL_EXPORTER_OTLP_HEADERS: 'x-key=one,x-team=voice%20eu , x-percent=100%',
    OTEL_EXPORTER_OTLP_TRACES_HEADERS_FILE: file('headers', 'x-key=two\n'),
    OTEL_EXPORTER_OTLP_CERTIFICATE: file('ca.pem', 'a certificate'),
    OTEL_EXPORTER_OTLP_TIMEOUT: '500',
    OTEL_TRACES_SAMPLER: 'traceidratio',
    OTEL_TRACES_SAMPLER_ARG: '.25',
    OTEL_SERVICE_NAME: 'mint',
    OTEL_RESOURCE_ATTRIBUTES: 'service.name=other,a=b'
  })
  t.equal(own?.url.href, 'https://traces.test/v2/spans', 'as it is')
  t.match(own, {
    protocol: 'http/json',
    headers: { 'x-key': 'two', 'x-team': 'voice eu', 'x-percent': '100%' },
    tls: { ca: 'a certificate', cert: undefined },
    timeoutMs: 500,
    sampler: 'traceidratio',
    ratio: 0.25,
    resource: { 'service.name': 'mint', a: 'b' }
  })
})

t.test('operate: the start says where spans go, and no header; typing errors are named', async (t) => {
  const config = readConfig({
    OPENAI_API_KEY: 'sk-test', ...ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS: 'x-key=canary', OTEL_BLRP_SCHEDULE_DELAY: '1'
  })
  const settings = settingsOf(config)
  t.match(settings, {
    traces: { to: 'http://collector.test:4318', protocol: 'http/protobuf', sampler: 'parentbased_always_on' }
  })
  t.notMatch(JSON.stringify(settings), 'canary')
  t.same(config.nearMisses, [])
  t.same(readConfig({ OPENAI_API_KEY: 'sk-test', OTEL_EXPORTER_OTLP_ENDPONT: 'http://a.test' }).nearMisses, [
    { variable: 'OTEL_EXPORTER_OTLP_ENDPONT', meant: 'OTEL_EXPORTER_OTLP_ENDPOINT' }
  ])
  t.equal(settingsOf(readConfig({ OPENAI_API_KEY: 'sk-test' })).traces, null)
})

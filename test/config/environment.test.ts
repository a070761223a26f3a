// The environment: all problems are reported at once, by name and never by value.

import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { ConfigError, policyEnvironment, readConfig, readSafetyIdentifierSecret } from '../../src/config/environment.ts'
import { isShared } from '../../src/config/origins.ts'
import { type Environment, secretSource } from '../../src/config/secrets.ts'
import { settingsOf } from '../../src/config/settings.ts'
import { createAuthority } from '../support/certificate.ts'
import { times } from '../support/times.ts'

const LEAST = { OPENAI_API_KEY: 'sk-canary' }
const folder = mkdtempSync(join(tmpdir(), 'ephemint-'))
const file = (name: string, text: string) => {
  writeFileSync(join(folder, name), text)
  return join(folder, name)
}

function problemsOf (env: Environment): readonly string[] {
  try {
    readConfig(env)
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
  return []
}

const METADATA = [
  '169.254.169.254', '169.254.170.2', '169.254.170.23', '2852039166', '0xa9fea9fe', '0251.0376.0251.0376',
  '169.254.43518', '[::ffff:169.254.169.254]', '[::ffff:a9fe:a9fe]', '[64:ff9b::a9fe:a9fe]', '[fe80::a9fe:a9fe]',
  '[fd00:ec2::254]', '[fd00:0ec2:0::0254]', '[fd00:ec2::23]', '[fd20:ce::254]',
  '100.100.100.200', '168.63.129.16', '192.0.0.192',
  'metadata', 'metadata.google.internal', 'METADATA.google.internal.', 'metadata.goog', '%6detadata.goog',
  'metadata.azure.internal', 'instance-data'
]
const WRONG_BASE_URL: [env: Environment, problem: RegExp][] = [
  [{ OPENAI_BASE_URL: 'canary' }, /^OPENAI_BASE_URL must be a URL$/],
  [{ OPENAI_BASE_URL: 'http://canary.test/v1' }, /^OPENAI_BASE_URL must be https/],
  [{ OPENAI_BASE_URL: 'http://10.0.0.1/v1' }, /^OPENAI_BASE_URL must be https/],
  [{ OPENAI_BASE_URL: 'http://127.0.0.1.canary.test/v1' }, /^OPENAI_BASE_URL must be https/],
  [{ OPENAI_BASE_URL: 'ftp://127.0.0.1/', OPENAI_ALLOW_HTTP: 'true' }, /^OPENAI_BASE_URL must be https/],
  [{ OPENAI_BASE_URL: 'https://canary@api.test/v1' }, /^OPENAI_BASE_URL must not carry a user/],
  [{ OPENAI_BASE_URL: 'https://:canary@api.test/v1' }, /^OPENAI_BASE_URL must not carry a user/],
  [{ OPENAI_BASE_URL: 'https://api.test/v1?canary' }, /^OPENAI_BASE_URL must not carry a query/],
  [{ OPENAI_BASE_URL: 'https://api.test/v1#canary' }, /^OPENAI_BASE_URL must not carry a query/],
  [{ OPENAI_BASE_URL: 'https://canary:canary@10.0.0.1/v1' }, /^OPENAI_BASE_URL must not carry a user/],
  ...[
    'http://192.168.0.1/v1', 'http://172.16.0.1', 'http://[fd00::1]/v1', 'http://0.0.0.0/v1',
    'http://canary.localhost.test', 'http://canary', 'ws://canary.test', 'file:///canary'
  ].map((url): [Environment, RegExp] => [{ OPENAI_BASE_URL: url }, /^OPENAI_BASE_URL must be https/]),
  ...METADATA.flatMap((host) => ['http', 'https'].map((scheme): [Environment, RegExp] =>
    [
      { OPENAI_BASE_URL: `${scheme}://${host}/v1`, OPENAI_ALLOW_HTTP: 'true' },
      /^OPENAI_BASE_URL is the address of a cloud metadata service$/
    ]))
]

const WRONG: [env: Environment, problem: RegExp][] = [
  [{ OPENAI_API_KEY: undefined }, /^OPENAI_API_KEY or OPENAI_API_KEY_FILE must be set$/],
  [{ OPENAI_API_KEY: '' }, /^OPENAI_API_KEY or OPENAI_API_KEY_FILE must be set$/],
  [{ OPENAI_API_KEY: 'sk canary' }, /^OPENAI_API_KEY has a space or a line break/],
  [{ OPENAI_API_KEY: 'sk-canary # the key' }, /^OPENAI_API_KEY has a space or a line break/],
  [{ OPENAI_API_KEY: 'sk-canary\r\nX: y' }, /^OPENAI_API_KEY has a space or a line break/],
  [{ OPENAI_API_KEY: 'sk-canaryé' }, /^OPENAI_API_KEY has characters/],
  [{ OPENAI_API_KEY_FILE: file('key', 'sk-canary') }, /^OPENAI_API_KEY and OPENAI_API_KEY_FILE are both set/],
  [
    { OPENAI_API_KEY: '', OPENAI_API_KEY_FILE: join(folder, 'canary') },
    /^OPENAI_API_KEY_FILE names a file that cannot be read: no such file or directory$/
  ],
  [
    { OPENAI_API_KEY: '', OPENAI_API_KEY_FILE: file('empty', ' \n') },
    /^OPENAI_API_KEY_FILE names a file that is empty$/
  ],
  [
    { OPENAI_API_KEY: '', OPENAI_API_KEY_FILE: file('two', 'sk-canary\nsk-canary') },
    /^OPENAI_API_KEY_FILE has a space or a line break/
  ],
  [{ REALTIME_PUBLIC_URL: 'http://canary.test' }, /^REALTIME_PUBLIC_URL must be https/],
  [{ OPENAI_ALLOW_HTTP: 'canary' }, /^OPENAI_ALLOW_HTTP must be one of false, true$/],
  [{ OPENAI_AUTH_SCHEME: 'canary' }, /^OPENAI_AUTH_SCHEME must be one of bearer, api-key$/],
  [{ OPENAI_MINT_API: 'canary' }, /^OPENAI_MINT_API must be one of auto, client_secrets, sessions$/],
  [{ EPHEMINT_REVISION: 'a canary' }, /^EPHEMINT_REVISION is no name of a commit$/],
  [{ OPENAI_ORG_ID: 'org canary' }, /^OPENAI_ORG_ID contains characters/],
  [{ OPENAI_PROJECT_ID: 'canary\n' }, /^OPENAI_PROJECT_ID contains characters/],
  [{ NODE_TLS_REJECT_UNAUTHORIZED: '0' }, /^NODE_TLS_REJECT_UNAUTHORIZED must not be 0/],
  ...[
    '*', 'null', 'https://canary.test/', 'https://canary.test:443', 'https://*.canary.test', 'HTTPS://canary.test',
    'canary.test', 'https://canary.test/path', 'https://u@canary.test'
  ].map((origin): [Environment, RegExp] =>
    [{ CORS_ORIGINS: `https://good.test, ${origin}` }, /^CORS_ORIGINS entry 2 is not an exact origin/]),
  ...[
    '0', '-1', 'true', 'all', '*', '100', '10.0.0.0/0', '10.0.0.0/33', '::/129', '10.0.0.0/8/8', '10.0.0.0/', 'canary',
    '10.0.0.0/8,', '10.0.0.1 10.0.0.2'
  ].map((trust): [Environment, RegExp] =>
    [
      { TRUST_PROXY: trust },
      /^TRUST_PROXY must be a hop count from 1 to 99, or a comma-separated list of addresses and CIDR .*; never all$/
    ]),
  ...[
    'PORT', 'OPS_PORT', 'KEEP_ALIVE_SECONDS', 'ADDRESS_LIMIT_PER_MINUTE', 'UPSTREAM_TIMEOUT_MS', 'UPSTREAM_CONCURRENCY',
    'DRAIN_SECONDS', 'CALL_SETUP_SECONDS', 'CALLS_MAX'
  ].flatMap((name) =>
    ['canary', '-1', '1.5', '1e3', '0x10', ' 8', '9999999999', 'Infinity'].map((value): [Environment, RegExp] =>
      [{ [name]: value }, new RegExp(`^${name} must be a whole number from \\d+ to \\d+$`)])),
  [{ PORT: '65536' }, /^PORT must be/],
  [{ UPSTREAM_CONCURRENCY: '0' }, /^UPSTREAM_CONCURRENCY must be/],
  [{ OPENAI_CALLS_API: 'canary' }, /^OPENAI_CALLS_API must be one of unified, secret$/],
  [{ CALL_SETUP_SECONDS: '31' }, /^CALL_SETUP_SECONDS must be a whole number from 1 to 30$/],
  [{ CALLS_MAX: '0' }, /^CALLS_MAX must be a whole number from 1 to 100000$/],
  [{ LOG_LEVEL: 'canary' }, /^LOG_LEVEL must be one of/],
  [{ LOG_LEVEL_FILE: file('level', 'canary') }, /^LOG_LEVEL_FILE must be one of/],
  [{ LOG_LEVEL_FILE: file('level-two', 'info'), LOG_LEVEL: 'info' }, /^LOG_LEVEL and LOG_LEVEL_FILE are both set/],
  [{ SAFETY_IDENTIFIER_SECRET: 'canary' }, /^SAFETY_IDENTIFIER_SECRET must be 32 bytes or longer$/],
  ...['canary', 'x'.repeat(31), `${'x'.repeat(40)} canary`, 'é'.repeat(40)].map((token): [Environment, RegExp] =>
    [{ ADMIN_TOKEN: token }, /^ADMIN_TOKEN must be 32 bytes or longer, of characters that a header may have$/]),
  [{ ADMIN_TOKEN_FILE: join(folder, 'canary') }, /^ADMIN_TOKEN_FILE names a file that cannot be read: no such/],
  ...[
    'canary', 'http://canary.test', 'redis://', 'redis:///1', 'redis://canary.test/x', 'redis://canary.test/1/2',
    'redis://canary.test?canary', 'redis://:%zz@canary.test'
  ].map((url): [Environment, RegExp] =>
    [{ REDIS_URL: url }, /^REDIS_URL must be redis\[s]:\/\//]),
  [{ REDIS_URL_FILE: file('redis', 'canary') }, /^REDIS_URL_FILE must be redis\[s]:\/\//],
  [{ REDIS_URL_FILE: join(folder, 'canary') }, /^REDIS_URL_FILE names a file that cannot be read: no such/],
  [{ ON_REDIS_LOSS: 'canary' }, /^ON_REDIS_LOSS must be one of deny, local$/],
  [
    { SAFETY_IDENTIFIER_SECRET_FILE: join(folder, 'canary') },
    /^SAFETY_IDENTIFIER_SECRET_FILE names a file that cannot be read: no such/
  ]
]

/** Keys with what a shell, a secret manager or an environment file may leave around them. */
const MANGLED_KEYS: readonly (readonly [what: string, text: string, problem: string])[] = [
  ['in double quotes', '"sk-canary"', 'has quotation marks around the key: leave them out'],
  ['in single quotes', "'sk-canary'", 'has quotation marks around the key: leave them out'],
  ['in quotes of which one is lost', 'sk-canary"', 'has quotation marks around the key: leave them out'],
  ['behind its name', 'OPENAI_API_KEY=sk-canary', 'has a name and = before the key: leave them out'],
  ['behind export, in quotes', 'export OPENAI_API_KEY="sk-canary"', 'has a name and = before the key: leave them out'],
  ['behind another name', 'key = sk-canary', 'has a name and = before the key: leave them out'],
  [
    'with an escaped line end', 'sk-canary\\n',
    'ends with a backslash and a letter, which are no line end: leave them out'
  ]
]

t.test('operate O5: a key with quotation marks, a name or an escaped line end is refused by name', async (t) => {
  for (const [what, text, problem] of MANGLED_KEYS) {
    t.same(problemsOf({ OPENAI_API_KEY: text }), [`OPENAI_API_KEY ${problem}`], what)
    t.same(
      problemsOf({ OPENAI_API_KEY_FILE: file('mangled', `${text}\n`) }), [`OPENAI_API_KEY_FILE ${problem}`],
      `a file with one ${what}`
    )
  }
  const secret = `"${'x'.repeat(40)}"`
  for (const name of ['ADMIN_TOKEN', 'OPENAI_ORG_ID', 'OPENAI_PROJECT_ID']) {
    const problem = `${name} has quotation marks around it: leave them out`
    t.same(problemsOf({ ...LEAST, [name]: secret }), [problem])
    if (name.startsWith('OPENAI')) continue
    t.same(problemsOf({ ...LEAST, [`${name}_FILE`]: file('quoted', secret) }), [problem])
  }
  // Refusing it would change the identifier of every user, so the start only warns.
  t.equal(readConfig({ ...LEAST, SAFETY_IDENTIFIER_SECRET: secret }).safetyIdentifierSecret, secret)
})

t.test('operate: the settings of the start line have the origins and the file of the log level', async (t) => {
  const log = file('level-three', 'warn')
  const list = (origins: string) =>
    settingsOf(readConfig({ ...LEAST, CORS_ORIGINS: origins, LOG_LEVEL_FILE: log })).cors_origins
  t.match(settingsOf(readConfig({ ...LEAST, LOG_LEVEL_FILE: log })), { cors_origins: [], log_level_file: log })
  t.same(list('https://a.test, https://b.test'), ['https://a.test', 'https://b.test'])
  t.same(list('https://a-*.b.test,https://a.test'), ['https://a.test', 'https://a-*.b.test'])
})

t.test('operate O5: a key of any other characters that a header may have is taken', async (t) => {
  for (const key of ['sk-proj-a_B-9', '0123456789abcdef', 'aGk=', 'b3BlbmFp==', 'eyJh.eyJi.c-_', 'a\\b', 'a"b']) {
    t.same(readConfig({ OPENAI_API_KEY: key }).upstream.key, { value: key }, key)
  }
})

t.test('operate O15: a variable of almost one of our names is named, where ours is not set', async (t) => {
  const rows: [variable: string, meant: string | null][] = [
    ['CORS_ORIGIN', 'CORS_ORIGINS'], ['LOGLEVEL', 'LOG_LEVEL'], ['log_level', 'LOG_LEVEL'],
    ['REDIS_URI', 'REDIS_URL'], ['DRAIN_SECONSD', 'DRAIN_SECONDS'], ['OPENAI_PROJECT', 'OPENAI_PROJECT_ID'],
    ['AUDITFILE', 'AUDIT_FILE'], ['SAFETY_IDENTIFIER_SECRETFILE', 'SAFETY_IDENTIFIER_SECRET_FILE'],
    ['https_proxy', null], ['ftp_proxy', null], ['HTTPS_PROXY', null], ['NO_PROXY', null], ['HOSTS', null],
    ['HOME', null], ['PATH', null], ['POST', null], ['HOSTNAME', null], ['REDIS_PORT', null],
    ['REDIS_SERVICE_HOST', null], ['EPHEMINT_PORT', null], ['OPENAI_WEBHOOK_SECRET', null], ['NODE_ENV', null],
    ['NODE_OPTIONS', null], ['APP_PORT', null]
  ]
  const [value] = ['http://proxy.test:1']
  for (const [variable, meant] of rows) {
    t.same(
      readConfig({ ...LEAST, [variable]: value }).nearMisses, meant === null ? [] : [{ variable, meant }], variable
    )
  }
  t.same(readConfig({ ...LEAST, CORS_ORIGINS: 'https://a.test', CORS_ORIGIN: 'https://a.test' }).nearMisses, [])
  t.match(readConfig({ ...LEAST, CORS_ORIGINS: '', CORS_ORIGIN: 'x' }).nearMisses, [{ meant: 'CORS_ORIGINS' }])
})

t.test('G1: a base URL that could leak the key prevents the start; private hosts need https or consent', async (t) => {
  for (const [env, problem] of WRONG_BASE_URL) assertProblem(t, env, problem)
  for (const host of ['10.0.0.1', '192.168.0.1', '[fd00::1]', 'gateway.svc']) {
    t.same(problemsOf({ ...LEAST, OPENAI_BASE_URL: `https://${host}/v1` }), [])
    t.same(problemsOf({ ...LEAST, OPENAI_BASE_URL: `http://${host}/v1`, OPENAI_ALLOW_HTTP: 'true' }), [])
  }
})

function assertProblem (t: Test, env: Environment, problem: RegExp): void {
  const problems = problemsOf({ ...LEAST, ...env })
  t.equal(problems.length, 1, JSON.stringify(env))
  t.match(problems[0], problem)
  t.notMatch(problems[0], /canary/)
}

t.test('C6, fault 42, F15: a problem is reported by name, and never by value', async (t) => {
  for (const [env, problem] of WRONG) assertProblem(t, env, problem)
})

t.test('field F18: an origin of another scheme is its exact text, and null is none', async (t) => {
  for (const origin of [
    'null', 'NULL', 'file://', 'file:///', 'file://canary.test', 'data:text/html', 'blob:https://canary.test',
    'about:blank', 'javascript:canary'
  ]) {
    assertProblem(t, { CORS_ORIGINS: origin }, /^CORS_ORIGINS entry 1 .* send null, which a page of anyone can send/)
  }
  for (const origin of ['ws://canary.test', 'wss://canary.test', 'ftp://canary.test']) {
    assertProblem(t, { CORS_ORIGINS: origin }, /^CORS_ORIGINS entry 1 .* begins with http or https$/)
  }
  for (const origin of [
    'capacitor://', 'capacitor:localhost', 'Capacitor://canary', 'capacitor://canary/', 'capacitor://canary?', 'app',
    'capacitor://u@canary', 'capacitor://canary:00080', 'tauri://can ary', 'x://canary%2f', '://canary',
    'https://cänary.test', 'https://canary.test.:443', 'https://CANARY.test', 'http://canary.test:80'
  ]) assertProblem(t, { CORS_ORIGINS: origin }, /^CORS_ORIGINS entry 1 is not an exact origin such as/)
  for (const origin of [
    'capacitor://localhost', 'tauri://localhost', 'ionic://localhost:8100', 'app://-', 'app://obsidian.md',
    'chrome-extension://abcdefghijklmnopabcdefghijklmnop', 'moz-extension://0ab7f0a2-1b6c-4c7e-a9b5-1f2e3d4c5b6a',
    'safari-web-extension://3F2504E0-4F89-11D3-9A0C-0305E82C3301', 'vscode-webview://1a2b', 'http://[::1]:3000',
    'https://app.example.com', 'https://xn--4ca.example.com'
  ]) {
    const { origins } = readConfig({ ...LEAST, CORS_ORIGINS: origin })
    t.ok(origins.has(origin), origin)
    for (const other of [`${origin}/`, `${origin}:1`, `x${origin}`, `${origin}x`, origin.replace('://', '://x')]) {
      t.notOk(origins.has(other), other)
    }
  }
})

t.test('field F19: a pattern that could match the host of a stranger prevents the start', async (t) => {
  for (const origin of [
    '*', 'https://*', 'https://*.com', 'https://*.canary.test', 'https://app-*.test', 'https://app-*',
    'app-*.canary.test',
    'https://canary.*.test', 'https://app.canary-*.test', 'https://app-*-*.canary.test', 'https://*-.canary.test',
    'https://app-*.canary.test/', 'https://app-*.canary.test:443', 'https://APP-*.canary.test', '*://app.canary.test',
    'https://app-*.canary.test:*', 'https://u@app-*.canary.test', 'https://app-*.canary..test', 'https://app-*.1.2.3',
    'https://app-*.canary.test.', 'https://app_*.canary.test', 'capacitor://app-*.canary.test',
    'ht*s://app.canary.test', 'https://app-**.canary.test', 'https://app-?*.canary.test'
  ]) assertProblem(t, { CORS_ORIGINS: origin }, /^CORS_ORIGINS entry 1 is not an exact origin, nor a pattern such as/)
})

t.test('field F19: a * stands for letters, digits and hyphens of one label', async (t) => {
  const { origins } = readConfig(
    { ...LEAST, CORS_ORIGINS: 'https://app-*-team.example.app, http://pr*.dev.example.com:3000, https://app.test' }
  )
  for (const origin of [
    'https://app--team.example.app', 'https://app-team.example.app', 'https://app-a.b-team.example.app',
    'https://app-a-team.example.app.evil.test', 'https://evil.test/app-a-team.example.app',
    'https://app-a-team.evil.app', 'https://xapp-a-team.example.app', 'https://app-A-team.example.app',
    'https://app-a_b-team.example.app', 'http://app-a-team.example.app', 'https://app-a-team.example.app:8443',
    'https://app-*-team.example.app', 'https://app-%61-team.example.app', 'https://app-a\n-team.example.app',
    'http://pr7.dev.example.com', 'http://pr.dev.example.com:3000', 'https://pr7.dev.example.com:3000', 'null', ''
  ]) t.notOk(origins.has(origin), origin)
  for (const origin of [
    'https://app-a-team.example.app', 'https://app-git-fix-1-team.example.app', 'http://pr7.dev.example.com:3000',
    'https://app.test'
  ]) t.ok(origins.has(origin), origin)
  t.equal(origins.size, 3)
  t.same(origins.patterns, ['https://app-*-team.example.app', 'http://pr*.dev.example.com:3000'])
})

t.test('field F19: whatever a pattern matches is an origin of its own scheme, host and port', async (t) => {
  const { origins } = readConfig({ ...LEAST, CORS_ORIGINS: 'https://app-*-team.example.app:8443' })
  const parts = 'https://app-|a|-team|.example.app|:8443|.|@|/|\\|?|#|%2e|*|:|\n|é'.split('|')
  const text = fc.array(fc.oneof(fc.constantFrom(...parts), fc.string({ maxLength: 3 })), { maxLength: 5 })
    .map((some) => some.join(''))
  let matched = 0
  fc.assert(fc.property(text, text, text, (before, within, after) => {
    for (const origin of [
      `https://app-${within}-team.example.app:8443`, `${before}https://app-${within}-team.example.app:8443${after}`,
      `https://app-${within}-team${before}.example.app${after}:8443`, before + within + after
    ]) {
      if (!origins.has(origin)) continue
      matched++
      const url = new URL(origin)
      t.equal(url.origin, origin)
      t.match(url.host, /^app-[a-z0-9-]+-team\.example\.app:8443$/)
    }
  }), { numRuns: times(1000) })
  t.ok(matched > 0)
})

t.test('field F19: hosts that others can have are known', async (t) => {
  for (const pattern of [
    'https://app-*-team.vercel.app', 'https://deploy-preview-*--app.netlify.app', 'https://app-*.co.uk',
    'https://app-*.com.au', 'https://app-*.centralus.1.azurestaticapps.net', 'https://pr-*.d3f.amplifyapp.com'
  ]) t.ok(isShared(pattern), pattern)
  for (const pattern of [
    'https://app-*.example.com', 'https://app-*.example.co.uk', 'https://app-*.mine.pages.dev',
    'https://app-*.notvercel.app', 'https://app-*.example.com:8443'
  ]) t.notOk(isShared(pattern), pattern)
})

t.test('field F17: CORS_HEADERS are names of headers, and there is no * for all', async (t) => {
  for (const names of ['*', 'x-*', 'x canary', 'x-canary:', '"x-canary"', `x${'y'.repeat(64)}`, '-', 'é']) {
    assertProblem(t, { CORS_HEADERS: `x-good, ${names}` }, /^CORS_HEADERS entry 2 is not the name of a header/)
  }
  t.same(
    [...readConfig({ ...LEAST, CORS_HEADERS: ' X-Tenant , x-datadog-trace-id,,b3' }).requestHeaders],
    ['x-tenant', 'x-datadog-trace-id', 'b3']
  )
})

t.test('fault 42: all problems are reported at once', async (t) => {
  const problems = problemsOf({
    OPENAI_BASE_URL: 'http://canary@canary.test/?canary',
    OPENAI_MINT_API: 'canary',
    PORT: 'canary',
    CORS_ORIGINS: '*,canary',
    TRUST_PROXY: 'canary,canary'
  })
  t.same(problems.map((problem) => problem.split(' ')[0]), [
    'OPENAI_BASE_URL', 'OPENAI_BASE_URL', 'OPENAI_BASE_URL', 'OPENAI_API_KEY', 'CORS_ORIGINS', 'CORS_ORIGINS',
    'OPENAI_MINT_API', 'PORT', 'TRUST_PROXY'
  ])
  t.notMatch(problems.join(), /canary/)
})

t.test('fault 42: the defaults are those of docs/configuration.md', async (t) => {
  const { upstream, origins, ...rest } = readConfig(LEAST)
  t.equal(upstream.baseUrl.href, 'https://api.openai.com/v1')
  t.match(upstream, {
    key: { value: 'sk-canary' },
    authScheme: 'bearer',
    organization: null,
    project: null,
    mintApi: 'auto',
    callsApi: 'unified',
    timeoutMs: 10_000,
    concurrency: 256
  })
  t.equal(origins.size, 0)
  t.match(rest, {
    calls: { setupMs: 20_000, max: 2000 },
    realtimePublicUrl: 'https://api.openai.com/v1',
    policyFile: resolve('./ephemint.yaml'),
    listen: { host: '::', port: 8080 },
    ops: { host: '::', port: 9090 },
    trustProxy: false,
    keepAliveMs: 125_000,
    addressLimitPerMinute: 60,
    safetyIdentifierSecret: null,
    auditFile: null,
    drainMs: 5000,
    redis: null,
    onRedisLoss: 'deny',
    logLevel: 'info',
    logLevelFile: null
  })
  t.ok(Object.isFrozen(readConfig(LEAST)))
})

t.test('fault 42: an empty variable counts as unset; an empty OPS_PORT turns that listener off', async (t) => {
  const names = [
    'OPENAI_BASE_URL', 'REALTIME_PUBLIC_URL', 'OPENAI_MINT_API', 'OPENAI_AUTH_SCHEME', 'OPENAI_ORG_ID', 'PORT', 'HOST',
    'CORS_ORIGINS', 'TRUST_PROXY', 'LOG_LEVEL', 'SAFETY_IDENTIFIER_SECRET', 'AUDIT_FILE', 'EPHEMINT_CONFIG',
    'OPENAI_API_KEY_FILE', 'ADMIN_TOKEN'
  ]
  t.same(readConfig({ ...LEAST, ...Object.fromEntries(names.map((name) => [name, ''])) }), readConfig(LEAST))
  t.equal(readConfig({ ...LEAST, OPS_PORT: '' }).ops, null)
})

t.test('fault 42: valid values are read', async (t) => {
  const secret = 's'.repeat(32)
  t.match(readConfig({ OPENAI_API_KEY_FILE: file('good', 'sk-canary\n') }).upstream.key, { file: join(folder, 'good') })
  t.equal(
    readConfig({ ...LEAST, OPENAI_BASE_URL: 'http://gateway.svc/v1/', OPENAI_ALLOW_HTTP: 'true' }).realtimePublicUrl,
    'http://gateway.svc/v1'
  )
  for (const base of [
    'http://localhost:1/v1', 'http://127.9.9.9/v1', 'http://[::1]:8080/v1', 'https://10.0.0.1/openai/v1'
  ]) t.equal(problemsOf({ ...LEAST, OPENAI_BASE_URL: base }).length, 0, base)
  t.same(
    [...readConfig({ ...LEAST, CORS_ORIGINS: ' https://a.test , http://localhost:3000,' }).origins as Set<string>],
    ['https://a.test', 'http://localhost:3000']
  )
  t.equal(readConfig({ ...LEAST, TRUST_PROXY: '2' }).trustProxy, 2)
  t.same(
    readConfig({ ...LEAST, TRUST_PROXY: '10.0.0.0/8, 2001:db8::/32,::1' }).trustProxy,
    ['10.0.0.0/8', '2001:db8::/32', '::1']
  )
  t.equal(readConfig({ ...LEAST, SAFETY_IDENTIFIER_SECRET: secret }).safetyIdentifierSecret, secret)
  t.equal(readConfig({ ...LEAST, ADMIN_TOKEN: secret }).adminToken, secret)
  t.equal(readConfig({ ...LEAST, ADMIN_TOKEN_FILE: file('admin', `${secret}\n`) }).adminToken, secret)
  t.equal(
    readConfig({ ...LEAST, SAFETY_IDENTIFIER_SECRET_FILE: file('safety', `${secret}\n`) }).safetyIdentifierSecret,
    secret
  )
  t.match(
    readConfig({ ...LEAST, PORT: '0', OPS_PORT: '0', HOST: '127.0.0.1', OPS_HOST: '::1' }),
    { listen: { host: '127.0.0.1', port: 0 }, ops: { host: '::1', port: 0 } }
  )
})

t.test('calls are created with a client secret where the key is sent as api-key, unless set otherwise', async (t) => {
  const callsApi = (env: Environment) => readConfig({ ...LEAST, ...env }).upstream.callsApi
  t.equal(callsApi({ OPENAI_AUTH_SCHEME: 'api-key' }), 'secret')
  t.equal(callsApi({ OPENAI_AUTH_SCHEME: 'api-key', OPENAI_CALLS_API: 'unified' }), 'unified')
  t.equal(callsApi({ OPENAI_CALLS_API: 'secret' }), 'secret')
})

t.test('fault 42: the Redis URL is taken apart, with any password', async (t) => {
  t.same(
    readConfig({ ...LEAST, REDIS_URL: 'redis://redis.svc' }).redis,
    { host: 'redis.svc', port: 6379, tls: false, username: '', password: '', database: 0 }
  )
  t.same(
    readConfig({ ...LEAST, REDIS_URL_FILE: file('valkey', 'rediss://ephemint:p%40ss@[::1]:6380/2\n') }).redis,
    { host: '::1', port: 6380, tls: true, username: 'ephemint', password: 'p@ss', database: 2 }
  )
})

t.test('field F27: a Redis URL that only other clients understand is refused with what to write instead', async (t) => {
  for (const [url, advice] of [
    ['unix:///run/canary.sock', /socket file cannot be used. Write redis:/],
    ['redis+unix:///run/canary.sock', /socket file/],
    ['redis-socket:///run/canary.sock', /socket file/],
    ['/run/canary.sock', /socket file/],
    ['rediss://canary.test/0?ssl_cert_reqs=none', /without a query.*REDIS_CA_FILE/],
    ['redis://canary.test:6379?password=canary', /without a query/],
    ['redis://canary-1.test:6379,canary-2.test:6379', /: write one host here.*redis\+cluster.*redis\+sentinel/],
    ['rediss://u:canary@canary-1.test,canary-2.test:6379/0', /: write one host here/],
    ['valkey://canary.test', /: write redis:\/\/ for plain TCP, rediss:\/\/ for TLS$/],
    ['tls://canary.test', /: write redis:/],
    ['canary.test:6379', /: write redis:/],
    ['redis://:can#ary@canary.test', /, with a password in percent-encoding$/]
  ] as const) {
    assertProblem(t, { REDIS_URL: url }, advice)
    assertProblem(t, { REDIS_URL: url }, /^REDIS_URL must be redis\[s]:\/\//)
    assertProblem(t, { REDIS_URL_FILE: file('redis-other', url) }, /^REDIS_URL_FILE must be redis\[s]:\/\//)
  }
})

t.test('a cluster and sentinels are read from one URL of all their hosts', async (t) => {
  const common = { tls: false, username: '', password: '', database: 0 }
  const rows: [url: string, address: object][] = [
    ['redis+cluster://a.test', { ...common, cluster: [{ host: 'a.test', port: 6379 }] }],
    [
      'rediss+cluster://ephemint:p%40%2Fs@a.test:7000,[::1]:7001,10.0.0.1/',
      {
        tls: true,
        username: 'ephemint',
        password: 'p@/s',
        database: 0,
        cluster: [{ host: 'a.test', port: 7000 }, { host: '::1', port: 7001 }, { host: '10.0.0.1', port: 6379 }]
      }
    ],
    [
      'redis+sentinel://a.test/mymaster',
      { ...common, sentinels: [{ host: 'a.test', port: 26379 }], primary: 'mymaster' }
    ],
    [
      'rediss+sentinel://:secret@a.test:5000,[::1]/my%20one/3',
      {
        tls: true,
        username: '',
        password: 'secret',
        database: 3,
        sentinels: [{ host: 'a.test', port: 5000 }, { host: '::1', port: 26379 }],
        primary: 'my one'
      }
    ]
  ]
  for (const [url, address] of rows) t.same(readConfig({ ...LEAST, REDIS_URL: url }).redis, address, url)
})

t.test('a URL of a cluster or of sentinels that is not understood is refused with what to write instead', async (t) => {
  const [cluster, sentinel] = ['must be redis[s]+cluster://[user:password@]host', 'must be redis[s]+sentinel://[user:']
  for (const [url, form, advice] of [
    ['redis-cluster://canary.test', cluster, /: write redis\+cluster:\/\/ for plain TCP, rediss\+cluster:\/\/ for/],
    ['REDIS+CLUSTER://canary.test', cluster, /: write redis\+cluster:/],
    ['redis+cluster://canary.test/1', cluster, /, without a database: a cluster has only one$/],
    ['redis+cluster://canary.test?canary', cluster, /, without a query/],
    ['redis+cluster://', cluster, /percent-encoding$/],
    ['redis+cluster://canary-1.test,', cluster, /percent-encoding$/],
    ['redis+cluster://canary-1.test,:7000', cluster, /percent-encoding$/],
    ['redis+cluster://canary-1.test,canary-2.test:99999', cluster, /percent-encoding$/],
    ['redis+cluster://u:canary@canary-1.test,u:canary@canary-2.test', cluster, /percent-encoding$/],
    ['redis+cluster://u:can%zzary@canary.test', cluster, /percent-encoding$/],
    ['redis-sentinel://canary.test:26379#canary', sentinel, /: write redis\+sentinel:\/\/ for plain TCP, rediss/],
    ['sentinel://canary-1.test:26379;sentinel://canary-2.test:26379', sentinel, /: write redis\+sentinel:/],
    ['redis+sentinel://canary.test', sentinel, /: behind the hosts write the name that the sentinels give/],
    ['redis+sentinel://canary.test/', sentinel, /: behind the hosts/],
    ['redis+sentinel://canary.test#canary', sentinel, /: behind the hosts/],
    ['redis+sentinel://canary.test?sentinelMasterId=canary', sentinel, /, without a query/],
    ['redis+sentinel://canary.test/canary/x', sentinel, /percent-encoding$/],
    ['rediss+sentinel://canary.test/can%zzary', sentinel, /percent-encoding$/]
  ] as const) {
    for (const [name, env] of [
      ['REDIS_URL', { REDIS_URL: url }], ['REDIS_URL_FILE', { REDIS_URL_FILE: file('redis-many', url) }]
    ] as const) {
      const [problem = ''] = problemsOf({ ...LEAST, ...env })
      t.ok(problem.startsWith(`${name} ${form}`), problem)
      assertProblem(t, env, advice)
    }
  }
})

t.test('field F27: REDIS_CA_FILE is a certificate in PEM, for TLS only', async (t) => {
  const { cert } = createAuthority()
  const good = file('ca.pem', `# ours\n${cert}\n${cert}`)
  const url = 'rediss://redis.test'
  for (const [env, problem] of [
    [{ REDIS_CA_FILE: join(folder, 'canary'), REDIS_URL: url }, /^REDIS_CA_FILE cannot be read: no such file or/],
    [{ REDIS_CA_FILE: folder, REDIS_URL: url }, /^REDIS_CA_FILE cannot be read: illegal operation on a directory$/],
    [{ REDIS_CA_FILE: file('none.pem', 'canary'), REDIS_URL: url }, /^REDIS_CA_FILE has no certificate in PEM$/],
    [
      { REDIS_CA_FILE: file('cut.pem', `${cert}${cert.replace(/\n.{20}/, '\n')}`), REDIS_URL: url },
      /^REDIS_CA_FILE has a certificate that cannot be parsed$/
    ],
    [{ REDIS_CA_FILE: good, REDIS_URL: 'redis://redis.test' }, /^REDIS_CA_FILE needs a REDIS_URL .* rediss$/],
    [{ REDIS_CA_FILE: good }, /^REDIS_CA_FILE needs a REDIS_URL that begins with rediss$/]
  ] as const) assertProblem(t, env, problem)
  t.match(
    readConfig({ ...LEAST, REDIS_URL: url, REDIS_CA_FILE: good }).redis,
    { tls: true, ca: `# ours\n${cert}\n${cert}` }
  )
  for (const url of ['rediss+cluster://a.test', 'rediss+sentinel://a.test/mymaster']) {
    t.match(readConfig({ ...LEAST, REDIS_URL: url, REDIS_CA_FILE: good }).redis, { tls: true, ca: /BEGIN/ })
  }
  t.equal(readConfig({ ...LEAST, REDIS_URL: url, REDIS_CA_FILE: '' }).redis?.ca, undefined)
})

t.test('field F25: two listeners at one place prevent the start', async (t) => {
  for (const env of [
    { PORT: '9090' }, { OPS_PORT: '8080' }, { PORT: '7000', OPS_PORT: '7000', HOST: '127.0.0.1', OPS_HOST: '127.0.0.1' }
  ]) assertProblem(t, env, /^OPS_PORT must not be PORT/)
  for (const env of [
    { PORT: '0', OPS_PORT: '0' }, { PORT: '9090', OPS_PORT: '' }, { PORT: '9090', HOST: '127.0.0.1', OPS_HOST: '::1' }
  ]) t.same(problemsOf({ ...LEAST, ...env }), [])
})

t.test('field F23: what is no proxy prevents the start, by the name of the variable that was read', async (t) => {
  for (const [value, problem] of [
    ['canary:3128', /must be the URL of a proxy, such as/],
    ['canary', /must be the URL/],
    ['socks5://canary.test:1080', /must be the URL/],
    ['http://canary.test/pac', /must be the URL/],
    ['http://canary.test/?canary', /must be the URL/],
    ['http://canary.test/#canary', /must be the URL/],
    ['http://u:can%zzary@canary.test', /is not percent-encoded$/],
    ['http://169.254.169.254:80', /cloud metadata/],
    ['https://[::ffff:169.254.169.254]', /cloud metadata/]
  ] as const) {
    for (const name of ['HTTPS_PROXY', 'HTTP_PROXY', 'https_proxy', 'http_proxy']) {
      assertProblem(t, { [name]: value }, problem)
      t.match(problemsOf({ ...LEAST, [name]: value })[0], new RegExp(`^${name} `))
    }
  }
  t.same(readConfig(LEAST).proxies, { https: null, http: null, exempt: [] })
  const env = { HTTPS_PROXY: 'http://u:p@a.test:1', http_proxy: 'https://b.test', NO_PROXY: 'A.test b' }
  t.match(
    readConfig({ ...LEAST, ...env }).proxies,
    { https: new URL('http://u:p@a.test:1'), http: new URL('https://b.test'), exempt: ['a.test', 'b'] }
  )
})

t.test('fault 42: the secret of safety identifiers can be read alone', async (t) => {
  t.throws(
    () => readSafetyIdentifierSecret({ SAFETY_IDENTIFIER_SECRET: 'canary' }),
    new ConfigError(['SAFETY_IDENTIFIER_SECRET must be 32 bytes or longer'])
  )
  t.equal(readSafetyIdentifierSecret({}), null)
  t.equal(readSafetyIdentifierSecret({ SAFETY_IDENTIFIER_SECRET: 's'.repeat(40) }), 's'.repeat(40))
})

t.test('fault 42: secrets that a policy file names are read from the environment or a file', async (t) => {
  const secrets = secretSource({ A: 'canary', EMPTY: '' }, folder)
  t.throws(() => secrets.env('NONE'), { message: 'names NONE, which is not set in the environment' })
  t.throws(() => secrets.env('EMPTY'), { message: 'names EMPTY, which is not set in the environment' })
  t.throws(() => secrets.file('canary'), { message: 'names a file that cannot be read: no such file or directory' })
  t.throws(() => secrets.file('a\0b'), { message: 'names a file that cannot be read: it is no usable path' })
  t.throws(() => secrets.file('empty'), { message: 'names a file that is empty' })
  t.equal(secrets.env('A'), 'canary')
  t.equal(secrets.file('good'), 'sk-canary')
  t.equal(secrets.file(join(folder, 'good')), 'sk-canary')
})

t.test('fault 42: a policy file is never read with a mistyped variable', async (t) => {
  t.match(policyEnvironment(
    {
      OPENAI_MINT_API: 'sessions',
      SAFETY_IDENTIFIER_SECRET: '',
      SAFETY_IDENTIFIER_SECRET_FILE: 'x',
      CORS_ORIGINS: 'https://a.test, https://b.test'
    },
    join(folder, 'p.yaml')
  ), { mintApi: 'sessions', hasSafetyIdentifierSecret: true, origins: new Set(['https://a.test', 'https://b.test']) })
  t.throws(
    () => policyEnvironment({ OPENAI_MINT_API: 'canary' }, 'p.yaml'),
    new ConfigError(['OPENAI_MINT_API must be one of auto, client_secrets, sessions'])
  )
  t.throws(
    () => policyEnvironment({ CORS_ORIGINS: 'https://a.test, null' }, 'p.yaml'),
    { message: /^CORS_ORIGINS entry 2 is not an exact origin/ }
  )
  t.match(
    policyEnvironment({ OPENAI_MINT_API: '' }, 'p.yaml'),
    { mintApi: 'auto', hasSafetyIdentifierSecret: false, origins: new Set() }
  )
  t.equal(policyEnvironment({}, join(folder, 'p.yaml')).secrets.file('good'), 'sk-canary')
})

// Every block between fences in README and docs is run, or held against what it shows. A new block needs a check: of
// `sh` in commands.test.ts, of any other language here.

import { execFile } from 'node:child_process'
import { globSync } from 'node:fs'
import { dirname } from 'node:path'
import t from 'tap'
import { parse, parseAllDocuments } from 'yaml'
import { ERROR_CODES } from '../../src/errors.ts'
import { isObject, type Json } from '../../src/json.ts'
import { createMetrics } from '../../src/records/metrics.ts'
import { ENDPOINT_RECIPES, RECIPES } from '../callers/recipes.ts'
import { OPS, startCalls } from '../calls/harness.ts'
import { CANARIES, POLICY, startApp } from '../support/app.ts'
import { callCommand } from '../support/command.ts'
import { UNCOUNTED } from '../support/processes.ts'
import { program } from '../support/programs.ts'
import { OFFER } from '../support/sdp.ts'
import { SCRIPTS } from './commands.ts'
import { type Block, BLOCKS, read, ROOT, shellLines } from './pages.ts'

const blocks = (language: string, contains = ''): readonly Block[] =>
  BLOCKS.filter((block) => block.language === language && block.text.includes(contains))
const only = (language: string, contains: string): string => {
  const found = blocks(language, contains)
  if (found.length !== 1) throw new Error(`${found.length} blocks of ${language} with ${contains}`)
  return (found[0] as Block).text
}

const SMALLEST = only('yaml', 'name: everyone')

function shell (line: string, cwd: string): Promise<string> {
  // Runs the script as npm does, but in a folder with the files that the page names.
  const script = (name: string) => (SCRIPTS[name] as string).replace('src/', `${ROOT}/src/`)
  const command = line.replace(/npm run -s ([\w-]+)(?: --)?/g, (_, name: string) => script(name))
  const PATH = `${dirname(process.execPath)}:${process.env.PATH}`
  const [env, ...before] = UNCOUNTED
  return new Promise((resolve) =>
    execFile(env, [...before, 'sh', '-c', command], { cwd, env: { PATH } }, (_error, out) => resolve(out)))
}

t.test('there is no block of a kind that is not checked', async (t) => {
  t.same([...new Set(BLOCKS.map(({ language }) => language))].sort(), [
    'caddyfile', 'console', 'haproxy', 'js', 'json', 'nginx', 'sh', 'text', 'yaml'
  ])
  t.ok(blocks('text').every(({ page }) => page === 'docs/architecture.md'), 'plain text is for diagrams')
})

t.test('code of clients is what the tests run, to the letter, and all of it is shown', async (t) => {
  const files = globSync('test/{browser,calls}/examples/*.js', { cwd: ROOT }).map(read)
  t.same(blocks('js').map(({ text }) => text).sort(), files.sort())
})

const EXAMPLE_HOST = 'https://mint.example.com'
const EXAMPLE_OPS = 'http://127.0.0.1:9090'

t.test('what a command prints is what the page shows', async (t) => {
  const dir = t.testdir({
    'ephemint.yaml': SMALLEST,
    'broken.yaml': `${SMALLEST}        max_output_tokens: { type: integer }\n        tools: { type: array }\n`
  })
  for (const { text, page } of blocks('console')) {
    await Promise.all([...text.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)].map(async ([, line = '', expected = '']) => {
      t.equal((await shell(line, dir)).trimEnd(), expected.trimEnd(), `${page}: ${line}`)
    }))
  }
})

const FILES: Record<string, string> = {
  'the smallest': SMALLEST,
  'a prompt': SMALLEST.replace('instructions: You are Ada., ', '') +
    `      prompts: [pmpt_68ab@2]\n${only('yaml', 'pmpt_68ab@2')}`,
  'calls only': SMALLEST.replace(/(?<=^policies:\n)[^]*/m, only('yaml', 'name: callers')),
  'agents in calls': SMALLEST.replace(/(?<=^policies:\n)[^]*/m, only('yaml', 'name: agents')),
  'aliases of models': SMALLEST + only('yaml', 'gpt-4o-realtime-preview:').replace(/^/gm, '      ').trimEnd()
}

t.test('every policy that is shown can be loaded', async (t) => {
  const dir = t.testdir(FILES)
  for (const name of Object.keys(FILES)) {
    const { code, out } = await callCommand('check-config', [`${dir}/${name}`])
    t.equal(code, 0, `${name}: ${out}`)
  }
})

t.test('the recipes are those that the tests of callers prove', async (t) => {
  const shown = [...RECIPES, ...ENDPOINT_RECIPES]
  t.equal(only('yaml', '# Auth0'), `callers:\n${shown.map(({ name, callers }) => `# ${name}${callers}`).join('')}`)
  const when = new Map(read('docs/callers.md').split('\n').flatMap((line) => {
    const [, name = '', conditions = ''] = /^\| ([^|]+) \| `(\{[^`]*\})` \|/.exec(line) ?? []
    return name === '' ? [] : [[name, parse(conditions) as Json] as const]
  }))
  const rowOf: Record<string, string> = {
    'Supabase, while it moves away from its JWT secret': 'Supabase',
    'Entra ID, several tenants': 'Entra ID',
    'An app with its own cookie sessions': 'your app'
  }
  const proven = shown.filter(({ when: expected }) => expected !== null)
  for (const { name, when: expected } of proven) t.same(when.get(rowOf[name] ?? name), expected, name)
  t.equal(when.size, new Set(proven.map(({ name }) => rowOf[name] ?? name)).size, 'and no other')
})

t.test('every recipe loads as it stands, with its condition, and without a warning', async (t) => {
  const env = { CORS_ORIGINS: 'https://app.example.com', SUPABASE_JWT_SECRET: 's'.repeat(40) }
  for (const { name, callers, when } of [...RECIPES, ...ENDPOINT_RECIPES]) {
    const realtime = { fixed: { model: 'gpt-realtime-2.1' } }
    const policy = { name: 'pro', when: when ?? 'any', limits: { day: 5 }, realtime }
    const dir = t.testdir({ 'ephemint.yaml': `callers:${callers}policies:\n- ${JSON.stringify(policy)}\n` })
    const { code, out } = await callCommand('check-config', [`${dir}/ephemint.yaml`], env)
    t.equal(code, 0, `${name}: ${out}`)
    t.equal(out.trim(), `${dir}/ephemint.yaml is valid`, name)
  }
})

t.test('the case that is shown holds for the example of a policy', async (t) => {
  const dir = t.testdir({ 'cases.yaml': only('yaml', 'expect:') })
  const { code, out } = await callCommand('check-config', ['ephemint.example.yaml', '--cases', `${dir}/cases.yaml`])
  t.equal(code, 0, out)
})

t.test('operate O7: lines for nginx and HAProxy are those of the files that the tests run', async (t) => {
  for (const [language, file] of [['nginx', 'deploy/nginx.conf'], ['haproxy', 'deploy/haproxy.cfg']] as const) {
    const known = read(file).split('\n').map((line) => line.trim())
    const shown = blocks(language).flatMap(({ text }) => text.trim().split('\n'))
    t.ok(shown.length >= 6)
    t.same(shown.filter((line) => !known.includes(line)), [], file)
  }
})

t.test('operate O7: lines for other gateways are YAML, and all of them check /readyz where they check', async (t) => {
  const shown = blocks('yaml').filter(({ page }) => page === 'docs/gateways.md')
  t.equal(shown.length, 6)
  for (const { text } of shown) {
    t.same(parseAllDocuments(text).flatMap(({ errors }) => errors), [])
    for (const [line] of text.matchAll(/^.*(health).*path.*$/gim)) t.match(line, '/readyz')
  }
})

t.test('the line for editors is that of the example', async (t) => {
  t.match(read('ephemint.example.yaml'), only('yaml', '$schema='))
})

t.test('alerts ask for metrics and codes that exist', async (t) => {
  const metrics = createMetrics()
  metrics.readFrom({
    isReady: () => true,
    build: { version: '', revision: null },
    upstream: () => ({ inFlight: 0, isBreakerOpen: false, concurrency: 1 }),
    keyAges: () => [],
    policy: () => ({ generation: 1, failedReloads: 0, isRefused: false, hash: '' }),
    limits: () => ({ isUp: true, isAlone: false, local: 0, notGivenBack: 0, dataLosses: 0 }),
    linesLost: () => ({})
  })
  metrics.calls.readFrom({ live: () => new Map(), hangUpsPending: () => 0 })
  const known = new Set([...(await metrics.text()).matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name))
  const { groups } = parse(read('deploy/prometheus/alerts.yaml'))
  for (const { rules } of groups as { rules: { alert: string, expr: string }[] }[]) {
    for (const { alert, expr } of rules) {
      const names = [...expr.matchAll(/ephemint_\w+/g)].map(([name]) => name.replace(/_bucket$/, ''))
      for (const name of names) t.ok(known.has(name), `${alert}: ${name}`)
      for (const [, codes = ''] of expr.matchAll(/code!?=~?"([^"]*)"/g)) {
        const isCode = (pattern: string) => ERROR_CODES.some((code) => new RegExp(`^${pattern}$`).test(code))
        // The code of a grant is empty.
        for (const pattern of codes.split('|').filter(Boolean)) t.ok(isCode(pattern), `${alert}: ${pattern}`)
      }
    }
  }
  const listed = new Set([...read('docs/operating.md').matchAll(/^\| `(ephemint_\w+)` \|/gm)].map(([, name]) => name))
  t.same(listed, new Set([...known].filter((name) => name?.startsWith('ephemint_'))), 'and the page lists every metric')
})

/** The member names at every depth, except below members whose names the caller or the policy chooses. */
function shapeOf (value: Json, own: readonly string[]): Json {
  if (!isObject(value)) return typeof value
  const members = Object.entries(value) as [string, Json][]
  return Object.fromEntries(members.map(([key, member]) => [key, own.includes(key) ? null : shapeOf(member, own)]))
}

t.test('answers and lines have the members that the pages show', async (t) => {
  const app = await startApp(t, { policy: POLICY.replace('minute: 50, day: 500', 'minute: 5') })
  const shown = (contains: string): Json => JSON.parse(only('json', contains))
  const minted = await app.mint('client_secrets')
  t.same(shapeOf(minted.body, ['session']), shapeOf(shown('"value"'), ['session']))
  t.same(Object.keys(app.auditLines()[0] as object), Object.keys(shown('"audit":1') as object))
  const headers = { authorization: `Bearer ${await app.token()}` }
  const { body } = await app.request('/v1/realtime/policy', { headers })
  const { realtime } = body.sessions as Record<string, Json>
  const own = ['allow', 'models']
  t.same(shapeOf({ ...body, sessions: { realtime } } as Json, own), shapeOf(shown('"sessions"'), own))
  t.equal(blocks('json').length, 4)
})

const CURL = program(['curl'], 'curl')

t.test('the commands of calls make, list, read and end one', { skip: CURL.skip }, async (t) => {
  const app = await startCalls(t, { calls: '{ concurrent: 2 }' })
  const dir = t.testdir({ 'offer.sdp': OFFER })
  const variables = { USER_TOKEN: await app.token(), CALL_ID: '' }
  const run = (line: string | undefined) => shell(
    Object.entries(variables).map(([name, value]) => `${name}=${value}; `).join('') +
      line?.replace(EXAMPLE_HOST, app.url), dir
  )
  const [alone, form, list, one, hangUp, ...more] = shellLines('docs/calls.md')
  t.same(more, [])
  const [, location = ''] = /^HTTP\S+ 201 [^]*^location: (\S+)/im.exec(await run(alone)) ?? []
  variables.CALL_ID = location.split('/').at(-1) as string
  t.match(await run(form), /^HTTP\S+ 201 [^]*^x-call-seconds: 600\r$/im)
  t.match(app.upstream.creations[1]?.body, { audio: { output: { voice: 'cedar' } } })
  t.equal(JSON.parse(await run(list)).data.length, 2)
  t.match(JSON.parse(await run(one)), { id: variables.CALL_ID, status: 'live' })
  const ended = JSON.parse(await run(hangUp))
  t.match(ended, { id: variables.CALL_ID, status: 'ended', end_reason: 'client' })
  t.same(shapeOf({ ...ended, end_reason: null }, []), shapeOf(JSON.parse(only('json', 'realtime.call')), []))
})

t.test('the commands of administration show and end calls, and take a replica out', { skip: CURL.skip }, async (t) => {
  const app = await startCalls(t, { env: OPS })
  const claims = { sub: 'bob' }
  const [path] = [(await app.begin()).headers.get('location'), await app.begin({ claims })]
  const variables = { ADMIN_TOKEN: CANARIES.ADMIN_TOKEN, CALL_ID: path?.split('/').at(-1) }
  const opsUrl = app.logLines().find(({ msg }) => msg === 'listening')?.ops_url as string
  const answers: Json[] = []
  for (const line of shellLines('docs/operating.md', '$ADMIN_TOKEN')) {
    const set = Object.entries(variables).map(([name, value]) => `${name}=${value}; `).join('')
    answers.push(JSON.parse(await shell(set + line.replace(EXAMPLE_OPS, opsUrl), '.')))
  }
  t.match(answers, [
    { data: [{ id: variables.CALL_ID, policy: 'pro' }, { policy: 'pro' }] },
    { id: variables.CALL_ID, status: 'ended', end_reason: 'operator' },
    { matched: 1, ended: 1 }, { ready: true }, { ready: false }
  ])
  t.match((await app.request('/readyz')).body, { waiting_for: ['rotation'] })
})

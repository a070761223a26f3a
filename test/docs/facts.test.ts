// The pages list all that exists and nothing else: variables, codes, routes, keys of the policy file, quoted log lines.

import { globSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import t from 'tap'
import { parse } from 'yaml'
import { CallerEntry } from '../../src/callers/schema.ts'
import { readConfig } from '../../src/config/environment.ts'
import { ApiError, ERROR_CODES } from '../../src/errors.ts'
import { PAGES, prose, read, ROOT, section, tableRows } from './pages.ts'

const SOURCE = globSync('src/**/*.ts', { cwd: ROOT }).map(read).join('\n')
const quoted = (text = ''): string[] => [...text.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code)
const sorted = (names: Iterable<string>): string[] => [...new Set(names)].sort()

t.test('configuration.md lists the variables of .env.example, and their defaults', async (t) => {
  const rows = tableRows(read('docs/configuration.md'))
  const names = rows.flatMap(([name]) => quoted(name))
  const inExample = [...read('.env.example').matchAll(/^#? ?([A-Z][A-Z_]+)=/gm)].map(([, name = '']) => name)
  t.same(sorted(names), sorted(inExample))
  for (const [name, otherwise] of rows) {
    const [variable = ''] = quoted(name)
    const [value = ''] = quoted(otherwise)
    if (value === '' || value === 'OPENAI_BASE_URL') continue
    t.same(readConfig({ OPENAI_API_KEY: 'sk', [variable]: value }), readConfig({ OPENAI_API_KEY: 'sk' }), variable)
  }
})

t.test('connecting.md lists every error code with its status', async (t) => {
  const listed = new Map(tableRows(section('docs/connecting.md', 'Errors')).flatMap(([statuses = '', codes]) =>
    quoted(codes).map((code) => [code, statuses.split(', ').map(Number)])))
  t.same(sorted(listed.keys()), sorted(ERROR_CODES))
  for (const code of ERROR_CODES) t.ok(listed.get(code)?.includes(new ApiError(code).statusCode), code)
})

t.test('a code that a page names with a status has that status', async (t) => {
  for (const page of PAGES) {
    for (const [whole, status, code = ''] of prose(page).matchAll(/\b([45]\d\d) `([a-z_]+)`/g)) {
      const known = ERROR_CODES.find((one) => one === code)
      t.ok(known !== undefined && new ApiError(known).statusCode === Number(status), `${page}: ${whole}`)
    }
  }
})

t.test('log lines and reasons that operators are to look for are written by the source', async (t) => {
  for (const page of PAGES) {
    const lines = [...prose(page).matchAll(/\b(?:log|log line|audit) `([^`]+)`/g)]
    for (const [, line = ''] of lines) t.match(SOURCE, line, `${page}: ${line}`)
  }
})

t.test('the rights in Redis are those that a test shows to be enough', async (t) => {
  const [, rights = ''] = /`ACL SETUSER mint on >… (.*?)`/.exec(read('docs/deploying.md')) ?? []
  const test = read(globSync('test/**/redis-damage.test.ts', { cwd: ROOT })[0] as string)
  t.ok(rights.length > 0)
  for (const right of rights.split(' ')) t.match(test, `'${right}'`)
})

t.test('the routes are those that the app has', async (t) => {
  const rows = tableRows(section('docs/connecting.md', 'Routes'))
  const listed = rows.flatMap(([route]) => quoted(route)).map((route) => route.split(' ')[1] ?? '')
  for (const route of listed) t.match(SOURCE, `'${route}'`)
  for (const [, route = ''] of SOURCE.matchAll(/url: '(\/v1\/[^']+)'/g)) t.ok(listed.includes(route), route)
})

type Schema = { properties?: Record<string, Schema>, items?: Schema }

function at (schema: Schema, ...path: string[]): Schema {
  return path.reduce<Schema>((node, key) => (key === '[]' ? node.items : node.properties?.[key]) ?? {}, schema)
}

t.test('policy.md and callers.md explain every key of the policy file', async (t) => {
  const file = JSON.parse(read('deploy/ephemint.schema.json')) as Schema
  const explains = (page: string, heading: string, schema: Schema): void => {
    const text = section(page, heading)
    const keys = Object.keys(schema.properties ?? {})
    t.ok(keys.length > 0 || heading === '`guest`', heading)
    const named = quoted(text).flatMap((code) => code.split(/[^a-z_]+/))
    t.same(keys.filter((key) => !named.includes(key)), [], `${heading}: keys that are not explained`)
    const first = tableRows(text).flatMap(([key]) => quoted(key)).map((key) => key.split(/[:.]/)[0] ?? '')
    t.same(first.filter((key) => !keys.includes(key)), [], `${heading}: keys that do not exist`)
  }
  explains('docs/policy.md', 'Top level', file)
  explains('docs/policy.md', 'Policies', at(file, 'policies', '[]'))
  explains('docs/policy.md', 'Kinds of session', at(file, 'policies', '[]', 'realtime'))
  explains('docs/policy.md', 'Brokered calls', at(file, 'policies', '[]', 'realtime', 'calls'))
  for (const entry of ['jwt', 'forward', 'introspection', 'gateway', 'guest']) {
    explains('docs/callers.md', `\`${entry}\``, at(file, 'callers', '[]', entry))
  }
})

t.test('ephemint.example.yaml shows every key of callers, and what it comments out is valid', async (t) => {
  const text = read('ephemint.example.yaml')
  const kinds = at(JSON.parse(read('deploy/ephemint.schema.json')), 'callers', '[]').properties ?? {}
  const keys = Object.values(kinds).flatMap(({ properties = {} }) => Object.keys(properties))
  t.same(keys.filter((key) => !key.endsWith('_file') && !new RegExp(`\\b${key}:`).test(text)), [])
  const isEntry = new Ajv2020({ strict: false }).compile(CallerEntry)
  const callers = text.slice(text.indexOf('\ncallers:'), text.indexOf('\nprompts:'))
  const examples = [...callers.matchAll(/^ {2}# (- .+)$/gm)].map(([, line = '']) => parse(line)[0])
  t.ok(examples.length > 6)
  for (const example of examples) t.ok(isEntry(example), JSON.stringify(example))
  const inJwt = [...callers.matchAll(/^ {6}# (\w+: .+)$/gm)].map(([, line = '']) => parse(line))
  const jwt = Object.assign({ issuer: 'https://auth.example.com/' }, ...inJwt)
  t.ok(isEntry({ jwt }), JSON.stringify(jwt))
})

// Fault 44: the key is replaced on disk, well or badly, while mints go on.

import { execFileSync } from 'node:child_process'
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { readConfig } from '../../src/config/environment.ts'
import { createUpstreamClient } from '../../src/upstream/client.ts'
import { deadlineIn } from '../../src/upstream/deadline.ts'
import { openKey } from '../../src/upstream/key.ts'
import { until } from '../support/until.ts'
import { failure, GA, json, startUpstream } from '../support/upstream.ts'

const OLD = 'sk-old-key'
const NEW = 'sk-new-key'
/** These tests wait for file polls, so they run in parallel. */
t.jobs = 8

async function startWithKeyFile (
  t: Test, options: { folder?: string, file?: string, env?: Record<string, string> } = {}
) {
  const folder = options.folder ?? t.testdir({})
  const file = options.file ?? join(folder, 'key')
  if (options.file === undefined) writeFileSync(file, `${OLD}\n`)
  const upstream = await startUpstream(t)
  const { upstream: config } = readConfig({ OPENAI_API_KEY_FILE: file, OPENAI_BASE_URL: upstream.url, ...options.env })
  const lines: string[] = []
  const log = Object.fromEntries(['info', 'warn', 'error'].map(
    (level) => [level, (_facts: object, text: string) => { lines.push(`${level}: ${text}`) }]
  ))
  log.debug = () => {}
  const key = openKey(config, log as never)
  const client = createUpstreamClient(config, { key, log: log as never })
  t.teardown(() => {
    key.close()
    client.close()
  })
  const call = () => client.request({
    path: '/realtime/client_secrets',
    body: '{}',
    isRepeatable: true,
    safetyIdentifier: 'ada',
    requestId: 'r',
    deadline: deadlineIn(5000)
  })
  const sent = () => upstream.requests.map(({ headers }) => headers.authorization)
  return {
    file, folder, upstream, key, call, sent, lines, alarms: () => lines.filter((line) => line.startsWith('error'))
  }
}

const LOST: [name: string, lose: (file: string) => void][] = [
  ['is emptied', (file) => writeFileSync(file, '')],
  ['holds a newline alone', (file) => writeFileSync(file, '\n')],
  ['holds a comment behind the key', (file) => writeFileSync(file, `${NEW} # new`)],
  ['holds two keys', (file) => writeFileSync(file, `${OLD}\n${NEW}\n`)],
  ['holds quotation marks around the key', (file) => writeFileSync(file, `"${NEW}"\n`)],
  ['holds a line of an environment file', (file) => writeFileSync(file, `OPENAI_API_KEY=${NEW}\n`)],
  ['holds an escaped line end', (file) => writeFileSync(file, `${NEW}\\n`)],
  ['is deleted', (file) => rmSync(file)],
  ['becomes a folder', (file) => { rmSync(file); mkdirSync(file) }],
  ['becomes a symlink to nowhere', (file) => { rmSync(file); symlinkSync('nowhere', file) }],
  ['becomes a pipe without a writer', (file) => { rmSync(file); execFileSync('mkfifo', [file]) }]
]

for (const [name, lose] of LOST) {
  t.test(`fault 44, operate O5: a key file that ${name} keeps the old key and raises an alarm, once`, {
    buffered: true
  }, async (t) => {
    const { file, call, sent, alarms, lines } = await startWithKeyFile(t)
    lose(file)
    await until('the alarm', () => alarms().length > 0)
    await call()
    t.equal(sent().at(-1), `Bearer ${OLD}`)

    rmSync(file, { recursive: true, force: true })
    writeFileSync(file, `${NEW}\n`)
    await until('the new key', () => lines.some((line) => line.startsWith('info')))
    await call()
    t.equal(sent().at(-1), `Bearer ${NEW}`)
    t.equal(alarms().length, 1)
    t.notMatch(lines.join(), /sk-/, 'and says no key')
  })
}

t.test('fault 44: a new key is used within two seconds, without its line end', { buffered: true }, async (t) => {
  const { file, key, call, sent } = await startWithKeyFile(t)
  writeFileSync(file, `${NEW}\r\n`)
  const writtenAt = performance.now()
  await until('the new key', () => key.headers().authorization === `Bearer ${NEW}`)
  t.ok(performance.now() - writtenAt < 2000)
  await call()
  t.equal(sent().at(-1), `Bearer ${NEW}`)
})

t.test('fault 44: a symlink that is swapped, as Kubernetes does, is followed', { buffered: true }, async (t) => {
  const folder = t.testdir({ '..one': { key: OLD }, '..two': { key: `${NEW}\n` } })
  symlinkSync('..one', join(folder, '..data'))
  symlinkSync('..data/key', join(folder, 'key'))
  const { key } = await startWithKeyFile(t, { folder, file: join(folder, 'key') })
  t.equal(key.headers().authorization, `Bearer ${OLD}`)
  symlinkSync('..two', join(folder, '..data_tmp'))
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
  rmSync(join(folder, '..one'), { recursive: true })
  await until('the new key', () => key.headers().authorization === `Bearer ${NEW}`)
})

t.test('fault 44: the header of the scheme carries the new key', { buffered: true }, async (t) => {
  const { file, key } = await startWithKeyFile(t, { env: { OPENAI_AUTH_SCHEME: 'api-key' } })
  writeFileSync(file, `${NEW}\n`)
  await until('the new key', () => key.headers()['api-key'] === NEW)
})

t.test('fault 44: a mint in flight keeps the key that it started with', { buffered: true }, async (t) => {
  const { file, upstream, key, call, sent } = await startWithKeyFile(t)
  let answer = () => {}
  upstream.answer(GA, (received, response) => { answer = () => json(200, {})(received, response) })
  const minting = call()
  await upstream.arrived(1)
  writeFileSync(file, `${NEW}\n`)
  await until('the new key', () => key.headers().authorization === `Bearer ${NEW}`)
  answer()
  t.equal((await minting).status, 200)
  t.same(sent(), [`Bearer ${OLD}`])
})

t.test('fault 11, fault 44: a rejected key that is still the one in the file is an alarm without a retry', {
  buffered: true
}, async (t) => {
  const { upstream, call, sent, alarms } = await startWithKeyFile(t)
  upstream.answer(GA, failure(401, 'invalid_api_key'))
  t.equal((await call()).status, 401)
  t.same(sent(), [`Bearer ${OLD}`])
  t.same(alarms(), ['error: upstream rejects the key'])
})

t.test('fault 11, fault 44: if upstream rejects the old key and the new one, there is one retry and an alarm', {
  buffered: true
}, async (t) => {
  const { file, upstream, call, sent, alarms } = await startWithKeyFile(t)
  upstream.answer(GA, failure(401, 'invalid_api_key'))
  writeFileSync(file, `${NEW}\n`)
  t.equal((await call()).status, 401)
  t.same(sent(), [`Bearer ${OLD}`, `Bearer ${NEW}`])
  t.same(alarms(), ['error: upstream rejects the key'])
})

t.test('fault 11, fault 44: a rejected key is replaced at once by the new one in the file, without an alarm', {
  buffered: true
}, async (t) => {
  const { file, upstream, call, sent, alarms } = await startWithKeyFile(t)
  upstream.answer(GA, (received, response) => received.headers.authorization === `Bearer ${NEW}`
    ? json(200, {})(received, response)
    : failure(401, 'invalid_api_key')(received, response))
  writeFileSync(file, `${NEW}\n`)
  const answers = await Promise.all(Array.from({ length: 5 }, call))
  t.same(answers.map(({ status }) => status), Array(5).fill(200))
  t.equal(sent().filter((header) => header === `Bearer ${OLD}`).length, 5)
  t.same(alarms(), [])
})

t.test('fault 44: an empty file at the time of a rejection keeps the old key', { buffered: true }, async (t) => {
  const { file, upstream, call, sent, alarms } = await startWithKeyFile(t)
  upstream.answer(GA, failure(401, 'invalid_api_key'))
  writeFileSync(file, '')
  t.equal((await call()).status, 401)
  t.same(sent(), [`Bearer ${OLD}`])
  t.match(alarms(), [/the old key stays/, /upstream rejects the key/])
})

t.test('fault 44: a half-written key file is not used', { buffered: true }, async (t) => {
  const { file, key } = await startWithKeyFile(t)
  const seen = new Set<unknown>()
  const looking = setInterval(() => seen.add(key.headers().authorization), 20)
  t.teardown(() => clearInterval(looking))
  writeFileSync(file, NEW.slice(0, 5))
  const writtenAt = performance.now()
  await until('two looks', () => performance.now() - writtenAt > 1500)
  writeFileSync(file, `${NEW}\n`)
  await until('the new key', () => key.headers().authorization === `Bearer ${NEW}`)
  t.same([...seen].filter((header) => header !== `Bearer ${NEW}`), [`Bearer ${OLD}`])
})

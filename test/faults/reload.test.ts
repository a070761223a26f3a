// Fault 43: the policy file changes while the service runs. It is reloaded as a whole or not at all.

import { execFileSync } from 'node:child_process'
import { appendFileSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createKeySets } from '../../src/callers/jwks.ts'
import { policyEnvironment } from '../../src/config/environment.ts'
import { createLogger } from '../../src/records/log.ts'
import { openRulebook } from '../../src/rulebook/rulebook.ts'
import { CANARIES, POLICY } from '../support/app.ts'
import { answers, startHostileIssuer } from '../support/hostile-issuer.ts'
import { keepLines } from '../support/lines.ts'
import { until } from '../support/until.ts'

/** The same policy under another name, to see which one is in force. */
const named = (name: string) => POLICY.replace('name: pro', `name: ${name}`)
const FIRST = named('first')
const SECOND = named('second')
const WITHIN_MS = 8000
/** These tests wait for file polls, so they run in parallel. */
t.jobs = 8

async function startReloading (t: Test, { text = FIRST, file, env = {} }: {
  text?: string, file?: string, env?: Record<string, string>
} = {}) {
  const path = file ?? join(t.testdir({}), 'ephemint.yaml')
  if (file === undefined) writeFileSync(path, text)
  const lines = keepLines()
  const log = createLogger('info', lines)
  const sources = { ...policyEnvironment({ ...CANARIES, ...env }, path), log, keySets: createKeySets({ log }) }
  const rulebook = openRulebook(path, sources)
  t.teardown(rulebook.close)
  await rulebook.start()
  const inForce = () => rulebook.current().policies.policies.at(-1)?.name
  return {
    path,
    rulebook,
    inForce,
    log: () => lines.kept.map((line) => JSON.parse(line)),
    taken: (name: string) =>
      until(`${name} to be in force`, () => inForce() === name, WITHIN_MS)
  }
}

const BAD: [name: string, spoil: (path: string) => void][] = [
  ['is emptied', (path) => writeFileSync(path, '')],
  ['is not YAML', (path) => writeFileSync(path, 'policies: [')],
  ['is cut off in the middle', (path) => writeFileSync(path, SECOND.slice(0, SECOND.indexOf('cedar')))],
  ['has an unknown key', (path) => writeFileSync(path, SECOND.replace('when:', 'whem:'))],
  ['names no policies', (path) => writeFileSync(path, SECOND.replace(/policies:[^]*/, 'policies: []'))],
  ['names no callers', (path) => writeFileSync(path, SECOND.replace(/callers:[^]*?policies:/, 'policies:'))],
  ['names a secret that is not there', (path) => writeFileSync(path, SECOND.replace('TOKEN_SECRET', 'NO_SUCH_SECRET'))],
  ['is deleted', (path) => rmSync(path)],
  ['becomes a folder', (path) => { rmSync(path); mkdirSync(path) }],
  ['becomes a symlink to nowhere', (path) => { rmSync(path); symlinkSync('nowhere', path) }],
  ['becomes a pipe without a writer', (path) => { rmSync(path); execFileSync('mkfifo', [path]) }]
]

for (const [name, spoil] of BAD) {
  t.test(`fault 43: a file that ${name} is logged once as an error, and the last good one stays in force`, {
    buffered: true
  }, async (t) => {
    const { path, rulebook, inForce, log, taken } = await startReloading(t)
    const before = rulebook.current()
    spoil(path)
    await until('the refusal', () => rulebook.failedReloads() === 1, WITHIN_MS)
    t.equal(rulebook.current(), before)
    t.equal(inForce(), 'first')
    t.ok(rulebook.isRefused())
    t.ok(log().some(({ level, msg }) => level === 'error' && msg.startsWith('policy file refused')))

    rmSync(path, { recursive: true, force: true })
    writeFileSync(path, SECOND)
    await taken('second')
    t.equal(rulebook.generation(), 2)
    t.equal(rulebook.failedReloads(), 1)
    t.notOk(rulebook.isRefused())
  })
}

t.test('fault 43: every problem of a refused file is reported without its values', { buffered: true }, async (t) => {
  const { path, rulebook, log } = await startReloading(t)
  writeFileSync(path, SECOND.replace('when:', 'whem:').replace('limits:', 'secrets: hunter2\n    limits:'))
  await until('the refusal', () => rulebook.failedReloads() === 1, WITHIN_MS)
  t.ok(log().filter(({ level }) => level === 'error').length >= 2)
  t.notMatch(JSON.stringify(log()), /hunter2/)
})

t.test('field F19: with a * in CORS_ORIGINS no file that accepts cookies is taken, at the start or later', {
  buffered: true
}, async (t) => {
  const origins = { CORS_ORIGINS: 'https://app-*.example.com' }
  const cookies = SECOND.replace('secret_env: TOKEN_SECRET', 'secret_env: TOKEN_SECRET, cookie: session')
  await t.rejects(startReloading(t, { text: cookies, env: origins }), { message: /CORS_ORIGINS must not have a \*/ })
  const { path, rulebook, inForce, log, taken } = await startReloading(t, { env: origins })
  writeFileSync(path, cookies)
  await until('the refusal', () => rulebook.failedReloads() === 1, WITHIN_MS)
  t.match(log().at(-1), { path: 'callers', msg: /^policy file refused: .*CORS_ORIGINS must not have a \*/ })
  t.equal(inForce(), 'first')
  t.notOk(rulebook.current().callers.usesCookies)
  writeFileSync(path, SECOND)
  await taken('second')
})

t.test('fault 43: a valid file is in force within seconds', { buffered: true }, async (t) => {
  const { path, rulebook, taken } = await startReloading(t)
  const before = rulebook.current()
  writeFileSync(path, SECOND)
  await taken('second')
  t.equal(before.policies.policies.at(-1)?.name, 'first', 'a request that has begun goes on with what it began with')
})

t.test('fault 43: a file that is renamed into place is reloaded', { buffered: true }, async (t) => {
  const { path, taken } = await startReloading(t)
  writeFileSync(`${path}.new`, SECOND)
  renameSync(`${path}.new`, path)
  await taken('second')
})

t.test('fault 43: a symlink that is swapped, as Kubernetes does, is followed', { buffered: true }, async (t) => {
  const folder = t.testdir({ '..one': { 'ephemint.yaml': FIRST }, '..two': { 'ephemint.yaml': SECOND } })
  symlinkSync('..one', join(folder, '..data'))
  symlinkSync('..data/ephemint.yaml', join(folder, 'ephemint.yaml'))
  const { taken, rulebook } = await startReloading(t, { file: join(folder, 'ephemint.yaml') })
  symlinkSync('..two', join(folder, '..data_tmp'))
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
  rmSync(join(folder, '..one'), { recursive: true })
  await taken('second')
  t.equal(rulebook.failedReloads(), 0)
})

t.test('fault 43: a file that is written piece by piece is read once it no longer changes', {
  buffered: true
}, async (t) => {
  const { path, rulebook, inForce, taken } = await startReloading(t)
  writeFileSync(path, '')
  const pieces = SECOND.match(/[^]{1,80}/g) as string[]
  const seen = new Set<unknown>()
  // Faster than the polls, so that no two polls see the same content before it is complete.
  const writing = setInterval(() => {
    seen.add(inForce())
    const piece = pieces.shift()
    if (piece !== undefined) appendFileSync(path, piece)
  }, 100)
  t.teardown(() => clearInterval(writing))
  await until('second to be in force', () => inForce() === 'second', 10_000)
  seen.delete('second')
  t.same([...seen], ['first'])
  t.equal(rulebook.failedReloads(), 0)
  await taken('second')
})

t.test('fault 43: a half-written file that is valid is not used', {
  buffered: true
}, async (t) => {
  const { path, rulebook, inForce, taken } = await startReloading(t)
  const withoutBlocked = SECOND.slice(0, SECOND.indexOf('\nblocked:'))
  writeFileSync(path, withoutBlocked)
  await until('two looks', afterTwoPolls())
  t.equal(inForce(), 'first')
  writeFileSync(path, SECOND)
  await taken('second')
  t.equal(rulebook.failedReloads(), 0)
})

t.test('fault 43: a file that is touched, or changed and changed back, is not reloaded', {
  buffered: true
}, async (t) => {
  const { path, rulebook, taken } = await startReloading(t)
  writeFileSync(path, FIRST)
  writeFileSync(path, SECOND)
  writeFileSync(path, FIRST)
  writeFileSync(`${path}.second`, SECOND)
  await until('two looks', afterTwoPolls())
  t.equal(rulebook.generation(), 1)
  renameSync(`${path}.second`, path)
  await taken('second')
  t.equal(rulebook.generation(), 2)
})

function afterTwoPolls (): () => boolean {
  const endsAt = performance.now() + 1500
  return () => performance.now() > endsAt
}

const withJwks = (text: string, jwks: string) => text.replace(/secret_env: \w+/, `jwks: '${jwks}'`)

t.test('fault 43: a reload keeps fetched keys and does not need the issuer', { buffered: true }, async (t) => {
  const { issuer, key } = await startIssuer(t)
  const { path, rulebook, taken } = await startReloading(t, { text: withJwks(FIRST, `${issuer.url}/jwks`) })
  const asked = issuer.requests.length
  t.equal(asked, 1)
  issuer.behave((response) => { response.destroy() })
  writeFileSync(path, withJwks(SECOND, `${issuer.url}/jwks`))
  await taken('second')
  t.equal(issuer.requests.length, asked, 'not fetched again')
  t.same(rulebook.current().callers.waitingFor(), [])
  t.ok(key)
})

t.test('fault 43: the keys of a new issuer are fetched before its file is in force', { buffered: true }, async (t) => {
  const { issuer } = await startIssuer(t)
  const { path, rulebook, taken } = await startReloading(t)
  writeFileSync(path, withJwks(SECOND, `${issuer.url}/jwks`))
  await taken('second')
  t.equal(issuer.requests.length, 1)
  t.same(rulebook.current().callers.waitingFor(), [])
})

async function startIssuer (t: Test) {
  const { createSigner } = await import('../callers/forge.ts')
  const key = createSigner('ES256')
  return { key, issuer: await startHostileIssuer(t, answers({ keys: [{ ...key.jwk, alg: 'ES256' }] })) }
}

// The service with all its parts: its log at the start, and what an operator can change while it runs.

import { hash } from 'node:crypto'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import packageJson from '../package.json' with { type: 'json' }
import { openLines } from '../src/records/lines.ts'
import { openService } from '../src/service.ts'
import { POLICY } from './support/app.ts'
import { keepLines } from './support/lines.ts'
import { makeFolder } from './support/processes.ts'
import { until } from './support/until.ts'
import { startUpstream } from './support/upstream.ts'

const ANY_PORTS = {
  HOST: '127.0.0.1', PORT: '0', OPS_HOST: '127.0.0.1', OPS_PORT: '0', DRAIN_SECONDS: '0', OPENAI_API_KEY: 'sk-test'
}

t.test('a service reports lost lines of both destinations, reopens its audit file, and stops', async (t) => {
  const upstream = await startUpstream(t)
  const folder = makeFolder(t)
  const audits = makeFolder(t)
  const policyFile = join(folder, 'ephemint.yaml')
  writeFileSync(policyFile, POLICY)
  const stdout = keepLines()
  const audit = await openLines(join(audits, 'audit.log'))
  const service = await openService({
    ...ANY_PORTS,
    OPENAI_BASE_URL: upstream.url,
    TOKEN_SECRET: 'x'.repeat(32),
    EPHEMINT_CONFIG: policyFile
  }, { lines: { stdout, audit } })
  t.match(stdout.kept.join(''), 'SAFETY_IDENTIFIER_SECRET is not set')

  const { opsUrl } = await service.listen()
  const metrics = await (await fetch(`${opsUrl}/metrics`)).text()
  t.match(metrics, 'ephemint_lines_lost_total{to="stdout"} 0')
  t.match(metrics, 'ephemint_lines_lost_total{to="audit_file"} 0')

  service.reopenAudit()
  service.flushNow()
  rmSync(audits, { recursive: true, maxRetries: 10 })
  const before = stdout.kept.length
  service.reopenAudit()
  await stdout.wrote(before + 1)
  t.match(stdout.kept.at(-1), 'audit file could not be reopened')
  await service.stop()
  await t.rejects(fetch(`${opsUrl}/livez`))
})

t.test('operate: version, revision and the policy in use are in the log, the metrics and at /version', async (t) => {
  const upstream = await startUpstream(t)
  const policyFile = join(makeFolder(t), 'ephemint.yaml')
  writeFileSync(policyFile, POLICY)
  const stdout = keepLines()
  const service = await openService({
    ...ANY_PORTS,
    OPENAI_BASE_URL: upstream.url.replace(/\/v1$/, ''),
    TOKEN_SECRET: 'canary-token-secret-'.repeat(2),
    ADMIN_TOKEN: 'canary-admin-token-'.repeat(2),
    SAFETY_IDENTIFIER_SECRET: `"${'canary-safety-'.repeat(3)}"`,
    OPENAI_API_KEY: 'sk-canary',
    CORS_ORIGIN: 'https://canary.test',
    EPHEMINT_REVISION: 'abc123',
    EPHEMINT_CONFIG: policyFile
  }, { lines: { stdout, audit: stdout } })
  const { opsUrl } = await service.listen()
  const version = async () => (await fetch(`${opsUrl}/version`)).json()
  const metrics = async () => (await fetch(`${opsUrl}/metrics`)).text()
  const lines = () => stdout.kept.map((line) => JSON.parse(line))
  const first = hash('sha256', POLICY)
  t.same(await version(), { version: packageJson.version, revision: 'abc123', policy_hash: first })
  t.match(await metrics(), `ephemint_build_info{version="${packageJson.version}",revision="abc123"} 1`)
  t.match(await metrics(), `ephemint_policy_info{hash="${first}"} 1`)
  t.match(lines().find(({ msg }) => msg === 'starting'), {
    version: packageJson.version, revision: 'abc123', policy_hash: first, upstream_timeout_ms: 10_000, log_level: 'info'
  })
  t.match(lines().find(({ variable }) => variable === 'CORS_ORIGIN'), { level: 'warn', meant: 'CORS_ORIGINS' })
  t.match(stdout.kept.join(''), 'OPENAI_BASE_URL has no version in its path')
  t.match(stdout.kept.join(''), 'SAFETY_IDENTIFIER_SECRET has quotation marks around it')
  t.notMatch(stdout.kept.join(''), 'canary', 'and no secret')

  const changed = `${POLICY}# changed\n`
  writeFileSync(policyFile, changed)
  await until('the reload', () => lines().some(({ msg }) => msg === 'policy file reloaded'))
  const second = hash('sha256', changed)
  t.match(lines().find(({ msg }) => msg === 'policy file reloaded'), { generation: 2, policy_hash: second })
  t.match(await version(), { policy_hash: second })
  await until('the metrics to be rendered again', async () => (await metrics()).includes(second))
  t.notMatch(await metrics(), first, 'one policy at a time')
  await service.stop()
})

t.test('operate: the level of the log follows LOG_LEVEL_FILE, and a file without one leaves it', async (t) => {
  const upstream = await startUpstream(t)
  const folder = makeFolder(t)
  const [policyFile, levelFile] = [join(folder, 'ephemint.yaml'), join(folder, 'level')]
  writeFileSync(policyFile, POLICY)
  writeFileSync(levelFile, 'warn')
  const stdout = keepLines()
  const service = await openService({
    ...ANY_PORTS,
    OPENAI_BASE_URL: upstream.url,
    TOKEN_SECRET: 'x'.repeat(32),
    LOG_LEVEL_FILE: levelFile,
    EPHEMINT_CONFIG: policyFile
  }, { lines: { stdout, audit: stdout } })
  await service.listen()
  const logged = (msg: string) => stdout.kept.map((line) => JSON.parse(line)).filter((line) => line.msg === msg)
  t.same(logged('listening'), [], 'warn at first')
  writeFileSync(levelFile, 'canary')
  const stays = 'LOG_LEVEL_FILE has no level: the old one stays'
  await until('the alarm', () => logged(stays).length === 1)
  t.notMatch(stdout.kept.join(''), 'canary')
  rmSync(levelFile)
  await until('the other alarm', () => logged(stays).length === 2)
  t.match(logged(stays)[1], { problem: 'cannot be read: no such file or directory' })
  t.equal(service.log.level, 'warn')
  writeFileSync(levelFile, 'debug\n')
  await until('the new level', () => logged('LOG_LEVEL_FILE was read').length === 1)
  service.log.debug({}, 'seen')
  t.equal(logged('seen').length, 1)
  writeFileSync(levelFile, 'error\n')
  await until('the quieter level', () => service.log.level === 'error')
  t.match(logged('LOG_LEVEL_FILE was read')[1], { log_level: 'error' }, 'logged at the old level')
  await service.stop()
})

t.test('a service says what it waits for, and is not ready until it is there', async (t) => {
  const upstream = await startUpstream(t)
  const policyFile = join(makeFolder(t), 'ephemint.yaml')
  writeFileSync(policyFile, POLICY.replace(', secret_env: TOKEN_SECRET', ', jwks: "http://127.0.0.1:1/jwks"'))
  const stdout = keepLines()
  let isDraining = false
  const service = await openService({
    ...ANY_PORTS,
    OPENAI_BASE_URL: upstream.url,
    REDIS_URL: 'redis://127.0.0.1:1',
    EPHEMINT_CONFIG: policyFile
  }, { lines: { stdout, audit: stdout }, isDraining: () => isDraining })
  const { url, opsUrl } = await service.listen()
  const messages = stdout.kept.map((line) => JSON.parse(line).msg)
  t.ok(messages.includes('waiting for the keys of an issuer'))
  t.ok(messages.includes('waiting for Redis'))
  const ready = async (at: string | undefined) => {
    const answer = await fetch(`${at}/readyz`)
    return [answer.status, await answer.json()]
  }
  t.match(await ready(url), [503, { waiting_for: ['identity', 'limits'] }])
  t.match(await ready(opsUrl), [503, { waiting_for: ['identity', 'limits'] }])
  isDraining = true
  t.match(await ready(opsUrl), [503, { waiting_for: ['drain'] }])
  t.notMatch(await (await fetch(`${opsUrl}/metrics`)).text(), 'audit_file')
  await service.stop()
})

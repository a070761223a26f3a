// The service as its parts are joined: what it says at the start, and what an operator may ask of it while it runs.

import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openLines } from '../src/records/lines.ts'
import { openService } from '../src/service.ts'
import { POLICY } from './support/app.ts'
import { keepLines } from './support/lines.ts'
import { makeFolder } from './support/processes.ts'
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
  rmSync(audits, { recursive: true })
  const before = stdout.kept.length
  service.reopenAudit()
  await stdout.wrote(before + 1)
  t.match(stdout.kept.at(-1), 'audit file could not be reopened')
  await service.stop()
  await t.rejects(fetch(`${opsUrl}/livez`))
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

// Fault 45, invariant I5: no audit line, no secret.

import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createAudit, type MintEntry } from '../../src/records/audit.ts'
import { startCountingUpstream } from '../support/counting.ts'
import { keepLines, MINT_ENTRY } from '../support/lines.ts'
import { makePipe } from '../support/pipe.ts'
import { type Service, startService, type TimedAnswer, tokenOf } from '../support/service.ts'
import { until } from '../support/until.ts'

t.jobs = 3
/** The service waits for a line for a second. */
const REFUSED_WITHIN_MS = 1900
const AT_ONCE_MS = 900

function assertRefused (t: Test, { status, code, headers, body }: TimedAnswer): void {
  t.equal(status, 503)
  t.equal(code, 'audit_unavailable')
  t.match(headers.get('retry-after'), /^[1-9]\d*$/)
  t.notMatch(JSON.stringify(body), /ek_/)
}

/** Asserts: every mint is refused in time, the process lives, and upstream is not asked once the fault is known. */
async function assertFailsClosed (t: Test, service: Service, minted: readonly string[]): Promise<void> {
  const first = await service.mint()
  assertRefused(t, first)
  t.ok(first.tookMs < REFUSED_WITHIN_MS, `${first.tookMs} ms`)
  const before = minted.length
  for (let i = 0; i < 3; i++) {
    const next = await service.mint()
    assertRefused(t, next)
    t.ok(next.tookMs < AT_ONCE_MS, `${next.tookMs} ms`)
  }
  t.ok(minted.length <= before + 1, 'upstream is not asked for secrets that cannot be audited')
  const live = await service.ask('/livez')
  t.equal(live.status, 200)
  t.ok(live.tookMs < AT_ONCE_MS, `${live.tookMs} ms`)
  t.equal((await service.mint({ headers: {} })).status, 401, 'a refusal does not depend on its line')
}

t.test('fault 45: an audit pipe without a reader fails closed and recovers', { buffered: true }, async (t) => {
  const upstream = await startCountingUpstream(t, 0)
  const pipe = makePipe(t)
  const service = await startService(t, { upstreamUrl: upstream.url, env: { AUDIT_FILE: pipe.path } })
  t.equal((await service.mint()).status, 200)
  pipe.read()
  pipe.fill()
  await assertFailsClosed(t, service, upstream.minted)
  let text = ''
  await until('mints to be granted again', async () => {
    text += pipe.read()
    return (await service.mint()).status === 200
  })
  await until('the audit line of the first mint', () => {
    text += pipe.read()
    return text.includes('mint.undelivered')
  })
  const lines = text.trim().split('\n').map((line) => JSON.parse(line))
  const late = lines.filter(({ event }) => event === 'mint.granted')[0]
  t.match(
    lines.filter(({ request_id: id }) => id === late.request_id).map(({ event }) => event).sort(),
    ['mint.granted', 'mint.refused', 'mint.undelivered']
  )
})

t.test('fault 45: a full stdout fails closed and does not delay the exit', { buffered: true }, async (t) => {
  const upstream = await startCountingUpstream(t, 0)
  const pipe = makePipe(t)
  const service = await startService(t, { upstreamUrl: upstream.url, stdout: pipe.fd })
  t.equal((await service.mint()).status, 200)
  pipe.fill()
  await assertFailsClosed(t, service, upstream.minted)
  service.kill('SIGTERM')
  const { code, afterMs } = await service.exited
  t.equal(code, 0)
  t.ok(afterMs < 5000, `${afterMs} ms`)
})

t.test('fault 45: a stdout whose reader has gone fails closed', { buffered: true }, async (t) => {
  const upstream = await startCountingUpstream(t, 0)
  const service = await startService(t, { upstreamUrl: upstream.url, isCounted: true })
  t.equal((await service.mint()).status, 200)
  service.child.stdout?.destroy()
  await assertFailsClosed(t, service, upstream.minted)
  service.kill('SIGTERM')
  t.equal((await service.exited).code, 0)
})

t.test('fault 45: a full disk fails closed', { buffered: true }, async (t) => {
  const upstream = await startCountingUpstream(t, 0)
  const service = await startService(t, { upstreamUrl: upstream.url, env: { AUDIT_FILE: '/dev/full' } })
  await assertFailsClosed(t, service, upstream.minted)
})

t.test('fault 45: a full disk costs no quota', { buffered: true }, async (t) => {
  const upstream = await startCountingUpstream(t, 0)
  const service = await startService(t, { upstreamUrl: upstream.url, env: { AUDIT_FILE: '/dev/full' } })
  assertRefused(t, await service.mint())
  const { body } = await service.ask('/v1/realtime/policy', { headers: { authorization: `Bearer ${await tokenOf()}` } })
  t.match(body, { limits: { minute: { limit: 50, remaining: 50 } } })
})

t.test('fault 45: a rotated file is reopened, on its own and by SIGHUP', { buffered: true }, async (t) => {
  const upstream = await startCountingUpstream(t, 0)
  const path = join(t.testdir({}), 'audit.log')
  const service = await startService(t, { upstreamUrl: upstream.url, env: { AUDIT_FILE: path } })
  t.equal((await service.mint()).status, 200)
  renameSync(path, `${path}.1`)
  await until('the file to be reopened', () => existsSync(path), 3000)
  t.equal((await service.mint()).status, 200)
  renameSync(path, `${path}.2`)
  service.kill('SIGHUP')
  await until('the file to be reopened by SIGHUP', () => existsSync(path), 3000)
  t.equal((await service.mint()).status, 200)
  for (const name of [`${path}.1`, `${path}.2`, path]) {
    t.equal(readFileSync(name, 'utf8').trimEnd().split('\n').length, 1, name)
  }
  renameSync(path, `${path}.3`)
  mkdirSync(path)
  const fault = () => service.log.find(({ msg }) => msg === 'audit file could not be reopened')
  await until('the log to say that it cannot be', () => fault() !== undefined, 3000)
  t.match(fault(), { level: 'error', err: { code: 'EISDIR' } })
})

t.test('fault 45: the deadline covers upstream and the audit line together', { buffered: true }, async (t) => {
  const upstream = await startCountingUpstream(t, 1300)
  const pipe = makePipe(t)
  const service = await startService(
    t, { upstreamUrl: upstream.url, env: { AUDIT_FILE: pipe.path, UPSTREAM_TIMEOUT_MS: '1600' } }
  )
  pipe.fill()
  const answer = await service.mint()
  assertRefused(t, answer)
  t.ok(answer.tookMs < 2200, `${answer.tookMs} ms, and one of the two takes 1.3 s, the other one a second`)
})

const decision = (code: MintEntry['code']): MintEntry => ({ ...MINT_ENTRY, code, reason: null })

t.test('I5: anonymous refusals are ten lines a second per code, then a count', { buffered: true }, async (t) => {
  const lines = keepLines()
  const audit = createAudit(lines)
  for (let i = 0; i < 1000; i++) audit.recordBounded('mint.refused', decision('invalid_credentials'))
  for (let i = 0; i < 11; i++) audit.recordBounded('mint.refused', decision('origin_not_allowed'))
  for (let i = 0; i < 10; i++) audit.recordBounded('mint.refused', decision('rate_limit_exceeded'))
  t.equal(lines.kept.length, 30)
  audit.close()
  t.same(lines.kept.slice(30).map((line) => JSON.parse(line)).map(
    ({ event, code, count }) => ({ event, code, count })
  ), [
    { event: 'mint.refused', code: 'invalid_credentials', count: 990 },
    { event: 'mint.refused', code: 'origin_not_allowed', count: 1 }
  ])
})

t.test('I5: a flood over sockets is aggregated, and every refusal is counted', { buffered: true }, async (t) => {
  const upstream = await startCountingUpstream(t, 0)
  const service = await startService(t, { upstreamUrl: upstream.url })
  for (let i = 0; i < 10; i++) {
    const answers = await Promise.all(Array.from({ length: 50 }, () => service.mint({ headers: {} })))
    t.ok(answers.every(({ status }) => status === 401))
  }
  service.kill('SIGTERM')
  await service.exited
  const refused = service.audit.filter(({ event }) => event === 'mint.refused')
  t.ok(refused.length < 300, `${refused.length} lines`)
  t.equal(refused.reduce((sum, { count }) => sum + (typeof count === 'number' ? count : 1), 0), 500)
})

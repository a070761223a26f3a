// Attack F5: an uncaught error drains the process, and its output has no secret.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { CANARIES } from '../support/app.ts'
import { startCountingUpstream } from '../support/counting.ts'
import { startService } from '../support/service.ts'
import { until } from '../support/until.ts'

t.jobs = 3

/** Preloaded. SIGWINCH has no other listener. */
const crashBy = (statement: string) => `data:text/javascript,process.on('SIGWINCH', () => { ${statement} })`
const leaking = 'Object.assign(new Error(process.env.OPENAI_API_KEY), { headers: process.env })'

for (const [name, statement] of [
  ['an exception', `throw ${leaking}`],
  ['a rejection', `Promise.reject(${leaking})`],
  ['an exception that is no error', 'throw process.env.OPENAI_API_KEY']
] as const) {
  t.test(`F5: ${name} that is not caught drains the process, exits with 1, and prints no secret`, async (t) => {
    const upstream = await startCountingUpstream(t, 1000)
    const service = await startService(t, { upstreamUrl: upstream.url, args: ['--import', crashBy(statement)] })
    const minting = service.mint()
    await until('the mint to be in flight', () => upstream.asked() === 1)
    service.kill('SIGWINCH')
    await until('the failure to be output', () => service.log.some(({ msg }) => msg === 'failed'))
    t.equal((await minting).status, 200, 'what was in flight is finished')
    t.equal((await service.exited).code, 1)
    const output = service.stderr() + JSON.stringify([service.log, service.audit])
    for (const secret of [...Object.values(CANARIES), ...upstream.minted]) t.notOk(output.includes(secret))
  })
}

t.test('F5: a diagnostic report of Node.js has no secret of the environment', async (t) => {
  const upstream = await startCountingUpstream(t, 0)
  const folder = t.testdir({})
  const service = await startService(
    t, { upstreamUrl: upstream.url, args: ['--report-on-signal', `--report-directory=${folder}`] }
  )
  t.equal((await service.mint()).status, 200)
  service.kill('SIGUSR2')
  const report = await until('the report', () =>
    readdirSync(folder).map((name) => readFileSync(join(folder, name), 'utf8')).find((text) => /\n}\s*$/.test(text)))
  t.match(JSON.parse(report), { header: { trigger: 'Signal' } })
  for (const secret of [...Object.values(CANARIES), ...upstream.minted]) t.notOk(report.includes(secret))
})

t.test('F5: a second failure during the drain exits at once', async (t) => {
  const upstream = await startCountingUpstream(t, 0)
  const service = await startService(
    t, { upstreamUrl: upstream.url, env: { DRAIN_SECONDS: '5' }, args: ['--import', crashBy(`throw ${leaking}`)] }
  )
  service.kill('SIGWINCH')
  await until('the failure to be output', () => service.log.some(({ msg }) => msg === 'failed'))
  service.kill('SIGWINCH')
  const { code, afterMs } = await service.exited
  t.equal(code, 1)
  t.ok(afterMs < 4000, `${afterMs} ms, and a drain takes five seconds`)
  t.notOk(service.stderr().includes(CANARIES.OPENAI_API_KEY))
})

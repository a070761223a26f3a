// Fault 15: a slow upstream holds a bounded number of mints; others do not wait.

import t from 'tap'
import { lastDecision, remainingOf, startBehindProxy } from '../support/behind-proxy.ts'
import { until } from '../support/until.ts'

const CONCURRENCY = 4
const AT_ONCE_MS = 300

t.test('fault 15: mints beyond UPSTREAM_CONCURRENCY are 503 at once and cost no quota', async (t) => {
  const { app, proxy, upstream } = await startBehindProxy(t, { env: { UPSTREAM_CONCURRENCY: String(CONCURRENCY) } })
  t.equal((await app.mint('client_secrets')).status, 200)
  const before = await remainingOf(app)
  await proxy.inject({ slow: 4000 })
  const held = Array.from({ length: CONCURRENCY }, () => app.mint('client_secrets'))
  await until('upstream to be busy', () => upstream.requests.length === CONCURRENCY + 1)

  const took: number[] = []
  for (let i = 0; i < 20; i++) {
    const startedAt = performance.now()
    const answer = await app.mint('client_secrets')
    took.push(performance.now() - startedAt)
    t.equal(answer.status, 503)
    t.equal(answer.headers.get('retry-after'), '1')
    t.same(lastDecision(app), { event: 'mint.refused', code: 'overloaded', reason: 'upstream_concurrency' })
  }
  took.sort((a, b) => a - b)
  // The median, because other load on this machine may delay single requests.
  t.ok(took[Math.floor(took.length / 2)] as number < AT_ONCE_MS, `${took.map(Math.round)} ms`)
  t.same((await Promise.all(held)).map(({ status }) => status), Array(CONCURRENCY).fill(200))
  t.equal(await remainingOf(app), before - CONCURRENCY)
  await proxy.inject('pass')
  t.equal((await app.mint('client_secrets')).status, 200)
})

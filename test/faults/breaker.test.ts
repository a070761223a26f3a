// An upstream that is down is asked no more than a probe, and one that is back is used without a restart.
// Runs alone: a probe is due by the clock.

import t, { type Test } from 'tap'
import { ApiError } from '../../src/errors.ts'
import { createBreaker } from '../../src/upstream/breaker.ts'
import type { Answer } from '../../src/upstream/attempt.ts'
import { lastDecision, startBehindProxy } from '../fakes/behind-proxy.ts'
import { until } from '../fakes/until.ts'

const FAILURES = 10
const PROBE_AFTER_MS = 2000
const well: Answer = { status: 200, requestId: null, retryAfterMs: null, body: {} }
const down: Answer = { ...well, status: 500 }

function createTested () {
  const clock = { ms: 0 }
  const told: string[] = []
  const log = { error: (_facts: object, message: string) => told.push(message), warn: (_facts: object, message: string) => told.push(message) }
  const breaker = createBreaker(log as never, () => clock.ms)
  let asked = 0
  const ask = async (outcome: Answer | ApiError | Promise<Answer>) => breaker(async () => {
    asked++
    return outcome
  })
  return { clock, told, ask, asked: () => asked }
}

async function open (ask: (outcome: Answer) => Promise<unknown>): Promise<void> {
  for (let i = 0; i < FAILURES; i++) await ask(down)
}

function assertShed (t: Test, outcome: unknown): void {
  t.match(outcome, { code: 'upstream_unavailable', reason: 'breaker_open', retryAfterSeconds: 2, mayHaveMinted: false })
}

t.test('fault 1: an open breaker asks nothing of upstream before it is time to probe', async (t) => {
  const { clock, told, ask, asked } = createTested()
  await open(ask)
  clock.ms = PROBE_AFTER_MS - 1
  assertShed(t, await ask(well))
  t.equal(asked(), FAILURES)
  t.equal(told.length, 1, 'says so once')
})

t.test('fault 1: while a probe is under way, nobody waits for it', async (t) => {
  const { clock, ask, asked } = createTested()
  await open(ask)
  clock.ms = PROBE_AFTER_MS
  const { promise, resolve } = Promise.withResolvers<Answer>()
  const probe = ask(promise)
  assertShed(t, await ask(well))
  t.equal(asked(), FAILURES + 1)
  resolve(well)
  t.same(await probe, well)
  t.same(await ask(well), well, 'closed by a probe that succeeded')
})

t.test('fault 1: a probe that fails opens it anew, and for as long', async (t) => {
  const { clock, ask, asked } = createTested()
  await open(ask)
  clock.ms = PROBE_AFTER_MS
  t.same(await ask(down), down)
  clock.ms = 2 * PROBE_AFTER_MS - 1
  assertShed(t, await ask(well))
  clock.ms = 2 * PROBE_AFTER_MS
  t.same(await ask(well), well)
  t.equal(asked(), FAILURES + 2)
})

t.test('fault 41: a wall clock that is set back or forward neither holds it open nor closes it', async (t) => {
  const { clock, ask } = createTested()
  const { now } = Date
  let stepMs = 0
  t.intercept(Date, 'now', { value: () => now() + stepMs })
  await open(ask)
  stepMs = 600_000
  assertShed(t, await ask(well))
  stepMs = -600_000
  clock.ms = PROBE_AFTER_MS
  t.same(await ask(well), well)
})

t.test('fault 1: what is not the fault of upstream as a whole does not open it', async (t) => {
  for (const status of [400, 401, 404, 429]) {
    const { ask, asked } = createTested()
    for (let i = 0; i < 3 * FAILURES; i++) await ask({ ...well, status })
    t.equal(asked(), 3 * FAILURES, String(status))
  }
})

t.test('fault 1: a success in between starts the run of failures anew', async (t) => {
  const { ask, asked } = createTested()
  for (let i = 0; i < FAILURES - 1; i++) await ask(down)
  await ask(well)
  for (let i = 0; i < FAILURES - 1; i++) await ask(down)
  t.same(await ask(well), well)
  t.equal(asked(), 2 * FAILURES)
})

t.test('fault 1: an upstream that is gone is asked no more, while the service stays ready, then probed, then used again', async (t) => {
  const { app, proxy, upstream } = await startBehindProxy(t)
  await proxy.inject('refuse')
  await until('the breaker to open', async () => {
    t.equal((await app.mint('client_secrets')).status, 503)
    return lastDecision(app).reason === 'breaker_open'
  })
  t.same(app.attempts.filter((outcome) => outcome === 'econnrefused').length, FAILURES)
  t.equal((await app.request('/readyz')).status, 200)
  await proxy.inject('pass')
  const answer = await app.mint('client_secrets')
  t.equal(answer.status, 503, 'not asked before it is time')
  t.equal(answer.headers.get('retry-after'), '2')
  t.equal(upstream.requests.length, 0)

  const openedAt = performance.now()
  await until('the probe to succeed', async () => (await app.mint('client_secrets')).status === 200)
  t.ok(performance.now() - openedAt < PROBE_AFTER_MS + 1000)
  t.equal(upstream.requests.length, 1, 'one probe')
  t.equal((await app.mint('client_secrets')).status, 200)
})

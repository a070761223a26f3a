// While upstream is down only probes are sent, and it is used again without a restart.

import t, { type Test } from 'tap'
import { ApiError } from '../../src/errors.ts'
import type { UpstreamAnswer } from '../../src/upstream/attempt.ts'
import { createUpstreamBreaker } from '../../src/upstream/outage.ts'
import { startApp } from '../support/app.ts'
import { lastDecision, startBehindProxy } from '../support/behind-proxy.ts'
import { until } from '../support/until.ts'
import { failure, GA } from '../support/upstream.ts'

const FAILURES = 10
const OF_ONE_CALLER = 3
const PROBE_AFTER_MS = 2000
const well: UpstreamAnswer = {
  status: 200, requestId: null, retryAfterMs: null, location: null, date: null, text: '{}', body: {}
}
const down: UpstreamAnswer = { ...well, status: 500 }
const refused = new ApiError('upstream_unavailable', { reason: 'econnrefused' })

function createTested () {
  const clock = { ms: 0 }
  const logged: string[] = []
  const log = {
    error: (_facts: object, message: string) => logged.push(message),
    warn: (_facts: object, message: string) => logged.push(message)
  }
  const breaker = createUpstreamBreaker(log as never, () => clock.ms)
  let asked = 0
  /** Each request is of a new caller, unless one is named. */
  const ask = async (outcome: UpstreamAnswer | ApiError | Promise<UpstreamAnswer>, caller = `caller-${asked}`) =>
    breaker.ask(async () => {
      asked++
      return outcome
    }, caller)
  return { clock, logged, ask, asked: () => asked, isOpen: breaker.isOpen }
}

async function open (ask: (outcome: UpstreamAnswer, caller: string) => Promise<unknown>): Promise<void> {
  for (let i = 0; i < FAILURES; i++) await ask(down, `failed-${i}`)
}

function assertShed (t: Test, outcome: unknown): void {
  t.match(outcome, {
    code: 'upstream_unavailable', reason: 'breaker_open', retryAfterSeconds: 2, mayHaveSucceeded: false
  })
}

t.test('fault 1: an open breaker sends nothing before the probe is due', async (t) => {
  const { clock, logged, ask, asked } = createTested()
  await open(ask)
  clock.ms = PROBE_AFTER_MS - 1
  assertShed(t, await ask(well))
  t.equal(asked(), FAILURES)
  t.equal(logged.length, 1, 'says so once')
})

t.test('fault 1: no request waits for a probe', async (t) => {
  const { clock, ask, asked } = createTested()
  await open(ask)
  clock.ms = PROBE_AFTER_MS
  const { promise, resolve } = Promise.withResolvers<UpstreamAnswer>()
  const probe = ask(promise)
  assertShed(t, await ask(well))
  t.equal(asked(), FAILURES + 1)
  resolve(well)
  t.same(await probe, well)
  t.same(await ask(well), well, 'closed by a probe that succeeded')
})

t.test('fault 1: a failed probe opens the breaker for the same time again', async (t) => {
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

t.test('fault 41: a step of the wall clock does not affect the breaker', async (t) => {
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

t.test('fault 1: 4xx answers do not open the breaker', async (t) => {
  for (const status of [400, 401, 404, 429]) {
    const { ask, asked } = createTested()
    for (let i = 0; i < 3 * FAILURES; i++) await ask({ ...well, status })
    t.equal(asked(), 3 * FAILURES, String(status))
  }
})

t.test('fault 1: a success resets the count of failures', async (t) => {
  const { ask, asked } = createTested()
  for (let i = 0; i < FAILURES - 1; i++) await ask(down)
  await ask(well)
  for (let i = 0; i < FAILURES - 1; i++) await ask(down)
  t.same(await ask(well), well)
  t.equal(asked(), 2 * FAILURES)
})

t.test('edge M4: failures of a single caller never open the breaker', async (t) => {
  const { ask, asked, isOpen } = createTested()
  for (let i = 0; i < 10 * FAILURES; i++) await ask(down, 'poisoned')
  for (let i = 0; i < FAILURES - OF_ONE_CALLER - 1; i++) await ask(down, 'other')
  t.equal(asked(), 11 * FAILURES - OF_ONE_CALLER - 1)
  t.notOk(isOpen(), 'nor do those of two')
  t.same(await ask(well, 'third'), well)
})

t.test('edge M4: a few failures of each of several callers open the breaker', async (t) => {
  const { ask, asked, isOpen } = createTested()
  for (const caller of ['a', 'b', 'c', 'd']) for (let i = 0; i < OF_ONE_CALLER; i++) await ask(down, caller)
  t.ok(isOpen())
  t.equal(asked(), FAILURES)
})

t.test('edge M4: connection failures open the breaker, even those of a single caller', async (t) => {
  const outages = [
    refused, new ApiError('upstream_timeout', { reason: 'connect_timeout' }),
    new ApiError('upstream_error', { reason: 'tls' })
  ]
  for (const outage of outages) {
    const { clock, ask, asked, isOpen } = createTested()
    for (let i = 0; i < FAILURES; i++) await ask(outage, 'ada')
    assertShed(t, await ask(well, 'ada'))
    t.equal(asked(), FAILURES)
    clock.ms = PROBE_AFTER_MS
    await ask(well, 'ada')
    t.notOk(isOpen(), 'the caller is not blamed')
  }
  for (const reason of ['deadline', 'connection_reset', 'answer_cut', 'unreadable']) {
    const { ask, isOpen } = createTested()
    for (let i = 0; i < 2 * FAILURES; i++) await ask(new ApiError('upstream_error', { reason }), 'ada')
    t.notOk(isOpen(), reason)
  }
})

t.test('edge M4: a caller whose probe failed does not keep the breaker open for others', async (t) => {
  const { clock, ask, isOpen } = createTested()
  for (let i = 0; i < FAILURES; i++) await ask(refused)
  clock.ms = PROBE_AFTER_MS
  await ask(down, 'poisoned')
  clock.ms += PROBE_AFTER_MS
  assertShed(t, await ask(well, 'poisoned'))
  clock.ms += PROBE_AFTER_MS
  const { promise, resolve } = Promise.withResolvers<UpstreamAnswer>()
  const hanging = ask(promise, 'poisoned')
  assertShed(t, await ask(well, 'poisoned'))
  t.same(await ask(well, 'good'), well, 'does not wait for the end of that probe')
  t.notOk(isOpen())
  resolve(down)
  await hanging
  t.notOk(isOpen())
})

t.test('edge M4: if every caller has failed before, their requests are still probes, at a lower rate', async (t) => {
  const { clock, ask, isOpen } = createTested()
  await open(ask)
  clock.ms = 2 * PROBE_AFTER_MS - 1
  assertShed(t, await ask(well, 'failed-1'))
  clock.ms = 2 * PROBE_AFTER_MS
  t.same(await ask(down, 'failed-1'), down)
  assertShed(t, await ask(well, 'failed-2'))
  clock.ms = 4 * PROBE_AFTER_MS
  t.same(await ask(well, 'failed-2'), well)
  t.notOk(isOpen())
})

t.test('edge M4: requests sent before the breaker opened neither close nor reopen it', async (t) => {
  const { clock, ask, isOpen } = createTested()
  const early = Array.from({ length: 2 * FAILURES }, () => Promise.withResolvers<UpstreamAnswer>())
  const asked = early.map(({ promise }, i) => ask(promise, `early-${i}`))
  await open(ask)
  early[0]?.resolve(well)
  await asked[0]
  t.ok(isOpen())
  clock.ms = PROBE_AFTER_MS
  await ask(well)
  for (const { resolve } of early) resolve(down)
  await Promise.all(asked)
  t.notOk(isOpen())
})

t.test('edge M4: an internal error ends a probe and does not count against upstream', async (t) => {
  const { clock, ask, isOpen } = createTested()
  await open(ask)
  clock.ms = PROBE_AFTER_MS
  await t.rejects(ask(Promise.reject(new TypeError('ours'))), { message: 'ours' })
  t.ok(isOpen())
  t.same(await ask(well), well)
})

t.test('edge M4: one caller\'s value that upstream answers with 500 refuses no other caller', async (t) => {
  const app = await startApp(t)
  app.upstream.answer(GA, failure(500))
  for (let i = 0; i < 6; i++) t.equal((await app.mint('client_secrets')).status, 502)
  t.equal(app.attempts.filter((outcome) => outcome === '500').length, 12, 'asked each time, and tried again')
  app.upstream.reset(GA)
  t.equal((await app.mint(
    'client_secrets', undefined, { authorization: `Bearer ${await app.token({ sub: 'grace' })}` }
  )).status, 200)
})

t.test('fault 1: an upstream that is down is only probed, the service stays ready, and mints resume', async (t) => {
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

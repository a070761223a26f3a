// Network faults between the service and a healthy upstream.
// Runs alone: answers are held to a deadline in milliseconds.

import dns from 'node:dns'
import t, { type Test } from 'tap'
import { CONNECT_TIMEOUT_MS } from '../../src/outbound/connect.ts'
import { type Answer, type App, startApp } from '../support/app.ts'
import { type BehindProxy, lastDecision, remainingOf, startBehindProxy } from '../support/behind-proxy.ts'
import { startBlackHole, startSilence } from '../support/black-hole.ts'
import type { Fault } from '../support/fault-proxy.ts'
import { until } from '../support/until.ts'
import { GA, hang, reset, startUpstream } from '../support/upstream.ts'

t.jobs = 4

const DEADLINE_MS = 600
const GRACE_MS = 250
/** Mints that start together share a deadline, so it may be this much early. */
const EARLY_MS = 70
/** The lateness of undici's timers. */
const LATE_MS = 1500
/** An immediate answer is faster than this on any machine. */
const PROMPT_MS = 1000

const env = { UPSTREAM_TIMEOUT_MS: String(DEADLINE_MS) }

type Timed = Answer & { tookMs: number, code: unknown }

async function timed (ask: () => Promise<Answer>): Promise<Timed> {
  const startedAt = performance.now()
  const answer = await ask()
  return {
    ...answer, tookMs: performance.now() - startedAt, code: (answer.body.error as { code?: string } | undefined)?.code
  }
}

async function startConnected (t: Test): Promise<BehindProxy> {
  const behind = await startBehindProxy(t, { env })
  t.equal((await behind.app.mint('client_secrets')).status, 200)
  return behind
}

async function assertRecovered (t: Test, { app, proxy }: BehindProxy): Promise<void> {
  await proxy.inject('pass')
  t.equal((await app.mint('client_secrets')).status, 200, 'recovers without a restart')
}

t.test('fault 1: an upstream that refuses connections is 503 within a second, and the service stays ready', {
  buffered: true
}, async (t) => {
  const behind = await startConnected(t)
  const { app, proxy } = behind
  const before = await remainingOf(app)
  await proxy.inject('refuse')
  const answer = await timed(() => app.mint('client_secrets'))
  t.equal(answer.status, 503)
  t.equal(answer.code, 'upstream_unavailable')
  t.match(answer.headers.get('retry-after'), /^[1-9]\d*$/)
  t.ok(answer.tookMs < PROMPT_MS, `${answer.tookMs} ms`)
  t.same(lastDecision(app), { event: 'mint.refused', code: 'upstream_unavailable', reason: 'econnrefused' })
  t.same(app.attempts.slice(1), ['econnrefused', 'retry', 'econnrefused'])
  t.equal(await remainingOf(app), before, 'given back')
  t.equal((await app.request('/readyz')).status, 200)
  await assertRecovered(t, behind)
})

type Done = (error: Error | null, addresses?: { address: string, family: number }[]) => void

/** Scripts the lookup of `upstream.test` until `recover`; other names are resolved as usual. */
function resolveTo (t: Test, answer: (done: Done) => void) {
  const { lookup } = dns
  let asked = 0
  let isKnown = false
  t.intercept(dns, 'lookup', {
    value: (name: string, options: dns.LookupOptions, done: Done) => {
      if (name !== 'upstream.test') return lookup(name, options, done as never)
      asked++
      return isKnown ? done(null, [{ address: '127.0.0.1', family: 4 }]) : answer(done)
    }
  })
  return { asked: () => asked, recover: () => { isKnown = true } }
}

async function startNamed (t: Test): Promise<App> {
  const upstream = await startUpstream(t)
  return startApp(t, {
    upstream, env: { OPENAI_BASE_URL: upstream.url.replace('127.0.0.1', 'upstream.test'), OPENAI_ALLOW_HTTP: 'true' }
  })
}

function assertUnreachable (
  t: Test, app: App, { status, headers, tookMs }: Timed, reason: string, withinMs: number
): void {
  t.equal(status, 503)
  t.match(headers.get('retry-after'), /^[1-9]\d*$/)
  t.ok(tookMs < withinMs, `${tookMs} ms`)
  t.same(lastDecision(app), { event: 'mint.refused', code: 'upstream_unavailable', reason })
}

for (const [name, code] of [
  ['does not exist', 'ENOTFOUND'], ['cannot be looked up', 'EAI_AGAIN'], ['fails to be looked up', 'EAI_FAIL']
] as const) {
  t.test(`fault 2: a name that ${name} is 503 at once, and the next mint looks it up again`, {
    buffered: false
  }, async (t) => {
    const { recover } = resolveTo(t, (done) => done(Object.assign(new Error(), { code })))
    const app = await startNamed(t)
    assertUnreachable(t, app, await timed(() => app.mint('client_secrets')), code.toLowerCase(), PROMPT_MS)
    recover()
    t.equal((await app.mint('client_secrets')).status, 200)
  })
}

t.test('fault 2: a silent name server is 503 within the connect timeout, with one lookup at a time', {
  buffered: false
}, async (t) => {
  const silent: Done[] = []
  const { asked, recover } = resolveTo(t, (done) => silent.push(done))
  const app = await startNamed(t)
  const answers = await Promise.all(Array.from({ length: 5 }, () => timed(() => app.mint('client_secrets'))))
  for (const answer of answers) assertUnreachable(t, app, answer, 'eai_again', CONNECT_TIMEOUT_MS)
  t.equal(asked(), 1, 'each lookup holds a thread')
  recover()
  for (const done of silent) done(Object.assign(new Error(), { code: 'EAI_AGAIN' }))
  t.equal((await app.mint('client_secrets')).status, 200)
})

t.test('fault 3: an upstream that drops every SYN is 504 at the connect timeout or an earlier deadline', {
  buffered: true
}, async (t) => {
  const { url, resume } = await startBlackHole(t)
  const rows: [base: string, ms: number, timeoutMs: string][] = [
    [url, CONNECT_TIMEOUT_MS, '5000'], [url.replace('http:', 'https:'), CONNECT_TIMEOUT_MS, '5000'],
    [url, DEADLINE_MS, String(DEADLINE_MS)]
  ]
  const [app] = await Promise.all(rows.map(async ([base, ms, timeoutMs]) => {
    const app = await startApp(t, { env: { OPENAI_BASE_URL: base, UPSTREAM_TIMEOUT_MS: timeoutMs } })
    await assertConnectTimeout(t, app, ms)
    return app
  }))
  resume()
  await until('a mint', async () => (await app?.mint('client_secrets'))?.status === 200)
})

t.test('fault 3, fault 4: an upstream that is silent during the TLS handshake is 504 at the connect timeout', {
  buffered: true
}, async (t) => {
  const { port } = await startSilence(t)
  const app = await startApp(t, { env: { OPENAI_BASE_URL: `https://127.0.0.1:${port}/v1` } })
  await assertConnectTimeout(t, app, CONNECT_TIMEOUT_MS)
})

async function assertConnectTimeout (t: Test, app: App, ms: number): Promise<void> {
  const before = await remainingOf(app)
  for (const { status, tookMs } of await Promise.all(
    Array.from({ length: 3 }, () => timed(() => app.mint('client_secrets')))
  )) {
    t.equal(status, 504)
    t.ok(tookMs > ms - EARLY_MS && tookMs < ms + (ms === DEADLINE_MS ? GRACE_MS : LATE_MS), `${tookMs} ms`)
  }
  // A request that was never sent cannot have minted.
  t.same(
    lastDecision(app),
    { event: 'mint.refused', code: 'upstream_timeout', reason: ms === DEADLINE_MS ? 'deadline' : 'connect_timeout' }
  )
  t.equal(await remainingOf(app), before, 'given back')
}

const UNTIL_DEADLINE: [name: string, fault: Fault][] = [
  ['fault 5: an upstream that hangs before its headers', 'hang'],
  ['fault 6: an answer that drips in', { drip: 50 }],
  ['fault 6: an answer at 400 bytes per second', { limit: 400 }],
  ['fault 6: an answer that is late', { slow: DEADLINE_MS * 2 }]
]

for (const [name, fault] of UNTIL_DEADLINE) {
  t.test(`${name} is 504 at the deadline, unknown, and given back`, { buffered: true }, async (t) => {
    const behind = await startConnected(t)
    const { app, proxy } = behind
    const before = await remainingOf(app)
    await proxy.inject(fault)
    const exchanges = proxy.exchanges()
    const answer = await timed(() => app.mint('client_secrets'))
    t.equal(answer.status, 504)
    t.equal(answer.code, 'upstream_timeout')
    t.ok(answer.tookMs >= DEADLINE_MS - EARLY_MS && answer.tookMs < DEADLINE_MS + GRACE_MS, `${answer.tookMs} ms`)
    t.same(lastDecision(app), { event: 'mint.unknown', code: 'upstream_timeout', reason: 'deadline' })
    t.equal(proxy.exchanges(), exchanges + 1, 'no retry')
    t.equal(await remainingOf(app), before, 'given back')
    await assertRecovered(t, behind)
  })
}

const NO_RETRY: [name: string, fault: Fault, reason: string][] = [
  ['fault 8: an answer that is cut in its body', { cut: 500 }, 'answer_cut'],
  ['G11, fault 13: bytes that are not HTTP', 'garbage', 'unreadable']
]

for (const [name, fault, reason] of NO_RETRY) {
  t.test(`${name} is 502 without a retry, unknown, and given back`, { buffered: true }, async (t) => {
    const behind = await startConnected(t)
    const { app, proxy } = behind
    const [before, exchanges] = [await remainingOf(app), proxy.exchanges()]
    await proxy.inject(fault)
    const answer = await timed(() => app.mint('client_secrets'))
    t.equal(answer.status, 502)
    t.equal(answer.code, 'upstream_error')
    t.same(lastDecision(app), { event: 'mint.unknown', code: 'upstream_error', reason })
    t.equal(proxy.exchanges(), exchanges + 1)
    t.equal(await remainingOf(app), before, 'given back')
    await assertRecovered(t, behind)
  })
}

for (const [name, fault] of [['reset', 'reset'], ['cut', { cut: 9 }]] as [string, Fault][]) {
  t.test(`G19, fault 7: a connection that is ${name} before the headers is retried once, then 502`, {
    buffered: true
  }, async (t) => {
    const behind = await startConnected(t)
    const { app, proxy } = behind
    const [before, exchanges] = [await remainingOf(app), proxy.exchanges()]
    await proxy.inject(fault)
    const answer = await timed(() => app.mint('client_secrets'))
    t.equal(answer.status, 502)
    t.ok(answer.tookMs < DEADLINE_MS + GRACE_MS, `${answer.tookMs} ms`)
    t.equal(proxy.exchanges(), exchanges + 2)
    t.same(app.attempts.slice(1), ['connection_reset', 'retry', 'connection_reset'])
    t.same(lastDecision(app), { event: 'mint.unknown', code: 'upstream_error', reason: 'connection_reset' })
    t.equal(await remainingOf(app), before, 'given back')

    await proxy.inject(fault, 1)
    t.equal((await app.mint('client_secrets')).status, 200, 'the second attempt may succeed')
    t.equal(await remainingOf(app), before - 1, 'and is counted once')
    await assertRecovered(t, behind)
  })
}

t.test('G14, G19, fault 7: a retry that hangs ends at the same deadline', { buffered: true }, async (t) => {
  const app = await startApp(t, { env })
  app.upstream.answer(GA, reset(), hang)
  const answer = await timed(() => app.mint('client_secrets'))
  t.equal(answer.status, 504)
  t.same(app.attempts, ['connection_reset', 'retry', 'deadline'])
  t.equal(lastDecision(app).event, 'mint.unknown')
  t.ok(answer.tookMs < DEADLINE_MS + GRACE_MS, `${answer.tookMs} ms`)
})

t.test('fault 14: one connection in ten that is reset, and 200 ms of latency, cost no mint', {
  buffered: true
}, async (t) => {
  const { app, proxy } = await startBehindProxy(t, { env: { UPSTREAM_TIMEOUT_MS: '5000' } })
  await proxy.inject({ slow: 200 })
  const statuses: number[] = []
  for (let round = 0; round < 3; round++) {
    const batch = Array.from({ length: 9 }, () => app.mint('client_secrets'))
    statuses.push(...(await Promise.all(batch)).map(({ status }) => status))
    await proxy.inject('reset', 1)
    statuses.push((await app.mint('client_secrets')).status)
    await proxy.inject({ slow: 200 })
  }
  t.same(statuses, Array(30).fill(200))
})

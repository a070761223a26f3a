// What upstream's network does, injected between the service and an upstream that is well.

import dns from 'node:dns'
import t, { type Test } from 'tap'
import { startApp, type App, type Answer } from '../fakes/app.ts'
import { lastDecision, remainingOf, startBehindProxy, type BehindProxy } from '../fakes/behind-proxy.ts'
import { startBlackHole } from '../fakes/black-hole.ts'
import type { Fault } from '../fakes/fault-proxy.ts'

t.jobs = 4

const DEADLINE_MS = 600
const GRACE_MS = 250
/** Mints that begin together share a deadline. */
const EARLY_MS = 70
/** No prompt answer takes this long, on whatever machine this runs. */
const PROMPT_MS = 1000

const env = { UPSTREAM_TIMEOUT_MS: String(DEADLINE_MS) }

async function timed (ask: () => Promise<Answer>): Promise<Answer & { tookMs: number, code: unknown }> {
  const startedAt = performance.now()
  const answer = await ask()
  return { ...answer, tookMs: performance.now() - startedAt, code: (answer.body.error as { code?: string } | undefined)?.code }
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

t.test('fault 1: an upstream that refuses connections is 503 within a second, and the service stays ready', { buffered: true }, async (t) => {
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
  t.equal(await remainingOf(app), before, 'given back')
  t.equal((await app.request('/readyz')).status, 200)
  await assertRecovered(t, behind)
})

type Done = (error: Error) => void

/** What the resolver says of `upstream.test`; of other names it says the truth. */
function resolveTo (t: Test, answer: (done: Done) => void): void {
  const { lookup } = dns
  const told = (name: string, options: dns.LookupOptions, done: Done) => name === 'upstream.test' ? answer(done) : lookup(name, options, done as never)
  t.intercept(dns, 'lookup', { value: told })
}

for (const [name, code] of [['does not exist', 'ENOTFOUND'], ['cannot be looked up', 'EAI_AGAIN']] as const) {
  t.test(`fault 2: a name that ${name} is 503 at once`, { buffered: false }, async (t) => {
    resolveTo(t, (done) => done(Object.assign(new Error(), { code })))
    const app = await startApp(t, { env: { ...env, OPENAI_BASE_URL: 'https://upstream.test/v1' } })
    const answer = await timed(() => app.mint('client_secrets'))
    t.equal(answer.status, 503)
    t.ok(answer.tookMs < PROMPT_MS, `${answer.tookMs} ms`)
    t.equal(lastDecision(app).reason, code.toLowerCase())
  })
}

t.test('fault 2: a name server that does not answer is 504 at the connect timeout, and nothing was minted', { buffered: false }, async (t) => {
  resolveTo(t, () => {})
  const app = await startApp(t, { env: { OPENAI_BASE_URL: 'https://upstream.test/v1' } })
  const answer = await timed(() => app.mint('client_secrets'))
  assertConnectTimeout(t, app, answer)
})

t.test('fault 3: an upstream that drops every SYN is 504 at the connect timeout, and nothing was minted', { buffered: true }, async (t) => {
  const { url } = await startBlackHole(t)
  const app = await startApp(t, { env: { OPENAI_BASE_URL: url } })
  const answer = await timed(() => app.mint('client_secrets'))
  assertConnectTimeout(t, app, answer)
})

function assertConnectTimeout (t: Test, app: App, { status, tookMs }: { status: number, tookMs: number }): void {
  t.equal(status, 504)
  t.ok(tookMs > 2000 && tookMs < 4500, `${tookMs} ms`)
  t.same(lastDecision(app), { event: 'mint.refused', code: 'upstream_timeout', reason: 'connect_timeout' })
}

const UNTIL_DEADLINE: [name: string, fault: Fault][] = [
  ['fault 5: an upstream that hangs before its headers', 'hang'],
  ['fault 6: an answer that drips in', { drip: 50 }],
  ['fault 6: an answer with a tenth of a modem', { limit: 400 }],
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
  ['fault 13: bytes that are no HTTP', 'garbage', 'unreadable']
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
  t.test(`fault 7: a connection that is ${name} before the headers is retried once, then 502`, { buffered: true }, async (t) => {
    const behind = await startConnected(t)
    const { app, proxy } = behind
    const [before, exchanges] = [await remainingOf(app), proxy.exchanges()]
    await proxy.inject(fault)
    const answer = await timed(() => app.mint('client_secrets'))
    t.equal(answer.status, 502)
    t.equal(proxy.exchanges(), exchanges + 2)
    t.same(lastDecision(app), { event: 'mint.unknown', code: 'upstream_error', reason: 'connection_reset' })
    t.equal(await remainingOf(app), before, 'given back')

    await proxy.inject(fault, 1)
    t.equal((await app.mint('client_secrets')).status, 200, 'the second attempt may succeed')
    t.equal(await remainingOf(app), before - 1, 'and is counted once')
    await assertRecovered(t, behind)
  })
}

t.test('a retry that has hung is over at the same deadline', { buffered: true }, async (t) => {
  const { app, proxy } = await startConnected(t)
  await proxy.inject('reset', 1)
  const minting = timed(() => app.mint('client_secrets'))
  await proxy.inject('hang')
  const answer = await minting
  t.equal(answer.status, 504)
  t.ok(answer.tookMs < DEADLINE_MS + GRACE_MS, `${answer.tookMs} ms`)
})

t.test('fault 14: one connection in ten that is reset, and 200 ms of latency, cost nobody a mint', { buffered: true }, async (t) => {
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

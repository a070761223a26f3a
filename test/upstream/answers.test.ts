// Whatever upstream answers: nothing of it is handed on, what was taken is given back, and what may have been minted is written down.

import t from 'tap'
import { startApp, type App } from '../fakes/app.ts'
import { LATE, REFUSED, UNUSABLE, type Hostile } from '../fakes/hostile.ts'
import { failure, GA, startUpstream } from '../fakes/upstream.ts'
import type { Test } from 'tap'

const STATUS: Record<string, number> = { upstream_rejected: 502, upstream_error: 502, upstream_unavailable: 503, upstream_timeout: 504, upstream_rate_limited: 429 }

async function hold (t: Test, app: App, { name, reply, code, event, attempts }: Hostile): Promise<void> {
  // Between two failures upstream answers well, as far as its circuit breaker is concerned.
  app.upstream.answer(GA, failure(400))
  await app.mint('client_secrets')
  app.upstream.answer(GA, reply)
  const before = app.upstream.requests.length
  const { status, body } = await app.mint('client_secrets')
  t.match({ status, code: (body.error as { code: string }).code }, { status: STATUS[code], code }, name)
  t.equal(app.upstream.requests.length - before, attempts, `${name}: attempts`)
  t.match(app.auditLines().at(-1), { event, code, reason: String }, name)
}

t.test('an answer that is not a mint is 502', async (t) => {
  const app = await startApp(t)
  for (const row of UNUSABLE) await hold(t, app, row)
  app.upstream.reset(GA)
  t.equal((await app.mint('client_secrets')).headers.get('ratelimit-remaining'), '49', 'all were given back')
})

t.test('what upstream refuses is our fault, its limit, or its outage', async (t) => {
  const app = await startApp(t)
  for (const row of REFUSED) await hold(t, app, row)
  app.upstream.reset(GA)
  t.equal((await app.mint('client_secrets')).headers.get('ratelimit-remaining'), '49')
})

t.test('what comes too late is 504, and the connection is given up', async (t) => {
  const app = await startApp(t, { env: { UPSTREAM_TIMEOUT_MS: '200' } })
  for (const row of LATE) {
    await hold(t, app, row)
    await app.upstream.requests.at(-1)?.ended
  }
})

t.test('the key is sent to no other host', async (t) => {
  const other = await startUpstream(t)
  const app = await startApp(t)
  for (const status of [301, 302, 307, 308]) {
    app.upstream.answer(GA, (_received, response) => response.writeHead(status, { location: `${other.url}/realtime/client_secrets` }).end())
    t.equal((await app.mint('client_secrets')).status, 502)
  }
  t.equal(app.upstream.requests.length, 4, 'once each')
  t.equal(other.requests.length, 0)
})

t.test('Retry-After is told between 1 and 60 seconds, and x-should-retry where no retry can help', async (t) => {
  // Short enough for no retry to fit.
  const env = { UPSTREAM_TIMEOUT_MS: '900' }
  const date = new Date(Date.now() + 30_000).toUTCString()
  const rows: [headers: Record<string, string>, expected: RegExp][] = [
    [{ 'retry-after': '45' }, /^45$/],
    [{ 'retry-after': '1000000000' }, /^60$/],
    [{ 'retry-after': '-5' }, /^1$/],
    [{ 'retry-after': 'soon' }, /^1$/],
    [{ 'retry-after': date }, /^(30|29|28|27)$/],
    [{ 'retry-after': 'Thu, 01 Jan 1970 00:00:00 GMT' }, /^1$/],
    [{ 'retry-after-ms': '20500', 'retry-after': '45' }, /^21$/],
    [{ 'retry-after-ms': 'x', 'retry-after': '45' }, /^45$/]
  ]
  for (const [headers, expected] of rows) {
    for (const [status, code] of [[429, 'upstream_rate_limited'], [503, 'upstream_unavailable']] as const) {
      // Each its own: what one is told to wait, all wait.
      const app = await startApp(t, { env })
      app.upstream.answer(GA, failure(status, null, { headers }))
      const answer = await app.mint('client_secrets')
      t.equal(answer.status, status, JSON.stringify(headers))
      t.match(answer.body.error, { code })
      t.match(answer.headers.get('retry-after'), expected)
      t.equal(answer.headers.get('x-should-retry'), null)
    }
  }
  const app = await startApp(t, { env })
  for (const reply of [failure(429, 'insufficient_quota'), failure(401)]) {
    app.upstream.answer(GA, reply)
    const { headers } = await app.mint('client_secrets')
    t.equal(headers.get('x-should-retry'), 'false')
    t.equal(headers.get('retry-after'), null)
  }
})

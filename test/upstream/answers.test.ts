// Bad answers of upstream: nothing of them is passed on, limits are given back, and possible mints are audited.

import t, { type Test } from 'tap'
import { type App, POLICY, startApp } from '../support/app.ts'
import { type Hostile, LATE, REFUSED_BY_LAW, UNUSABLE_BY_LAW } from '../support/hostile.ts'
import { failure, GA, inSeconds, json, startUpstream } from '../support/upstream.ts'

const STATUS: Record<string, number> = {
  upstream_rejected: 502,
  upstream_error: 502,
  upstream_unavailable: 503,
  upstream_timeout: 504,
  upstream_rate_limited: 429
}
const DEADLINE_MS = 200
/** test/faults/network.test.ts measures it. */
const GRACE_MS = 1000

async function hold (t: Test, app: App, { name, reply, code, event, attempts }: Hostile): Promise<number> {
  // Between two failures upstream answers well, as far as its circuit breaker is concerned.
  app.upstream.answer(GA, failure(400))
  await app.mint('client_secrets')
  app.upstream.answer(GA, reply)
  const [before, counted] = [app.upstream.requests.length, app.attempts.length]
  const startedAt = performance.now()
  const { status, body } = await app.mint('client_secrets')
  const tookMs = performance.now() - startedAt
  t.match({ status, code: (body.error as { code: string }).code }, { status: STATUS[code], code }, name)
  t.equal(app.upstream.requests.length - before, attempts, `${name}: attempts`)
  t.equal(app.attempts.length - counted, 2 * attempts - 1, 'each is counted, and the retry')
  t.match(app.auditLines().at(-1), { event, code, reason: String }, name)
  await app.upstream.requests.at(-1)?.ended
  return tookMs
}

for (const [law, rows] of Object.entries({ ...UNUSABLE_BY_LAW, ...REFUSED_BY_LAW })) {
  t.test(law, async (t) => {
    // No caller is refunded more mints in a window than the window holds.
    const app = await startApp(t, { policy: POLICY.replace('minute: 50', 'minute: 500') })
    for (const row of rows) await hold(t, app, row)
    app.upstream.reset(GA)
    t.equal(
      (await app.mint('client_secrets')).headers.get('ratelimit-remaining'),
      '499',
      'all were given back, and it mints again'
    )
  })
}

t.test('G14, fault 5, fault 6: an answer that hangs, drips or does not end is 504 at the deadline', async (t) => {
  const app = await startApp(t, { env: { UPSTREAM_TIMEOUT_MS: String(DEADLINE_MS) } })
  for (const row of LATE) {
    const tookMs = await hold(t, app, row)
    t.ok(tookMs < DEADLINE_MS + GRACE_MS, `${row.name}: ${tookMs} ms`)
  }
  app.upstream.reset(GA)
  t.equal((await app.mint('client_secrets')).headers.get('ratelimit-remaining'), '49')
})

t.test('G2: the key is sent to no other host, and to its own once', async (t) => {
  const other = await startUpstream(t)
  const app = await startApp(t)
  for (const location of [`${other.url}/realtime/client_secrets`, `${app.upstream.url}/realtime/client_secrets`]) {
    for (const status of [301, 302, 307, 308]) {
      app.upstream.answer(GA, (_received, response) => response.writeHead(status, { location }).end())
      t.equal((await app.mint('client_secrets')).status, 502)
    }
  }
  t.equal(app.upstream.requests.length, 8, 'once each')
  t.equal(other.requests.length, 0)
})

t.test('G15: no header of upstream is handed on', async (t) => {
  const app = await startApp(t)
  const headers: Record<string, string> = Object.fromEntries([
    'Set-Cookie=a=canary', 'Cache-Control=public, max-age=60', 'Expires=canary', 'Age=7', 'ETag=canary',
    'Vary=canary', 'Location=https://evil.test/canary', 'Link=</canary>',
    'Access-Control-Allow-Origin=*', 'Access-Control-Allow-Credentials=true',
    'Access-Control-Expose-Headers=canary', 'X-Canary=canary', 'Alt-Svc=canary', 'OpenAI-Version=canary',
    'X-RateLimit-Limit-Requests=7', 'X-Should-Retry=true', 'Strict-Transport-Security=canary',
    'WWW-Authenticate=canary', 'Content-Type=text/html'
  ].map((line) => line.split(/=(.*)/, 2) as [string, string]))
  const mint = () => app.mint('client_secrets')
  const plain = await mint()
  app.upstream.secrets.push('ek_canary_headers')
  app.upstream.answer(
    GA, json(200, { value: 'ek_canary_headers', expires_at: inSeconds(60), session: { type: 'realtime' } }, headers)
  )
  const minted = await mint()
  t.equal(minted.status, 200)
  t.same([...minted.headers.keys()], [...plain.headers.keys()])
  for (const name of ['vary', 'content-type', 'cache-control']) {
    t.equal(minted.headers.get(name), plain.headers.get(name))
  }
  app.upstream.answer(GA, failure(400, null, { headers }))
  t.notMatch([...(await mint()).headers.keys()].join(), /link|etag|expires|location|alt-svc|allow-origin|strict/)
})

t.test('G18, fault 10: Retry-After is from 1 to 60 s, and x-should-retry false where no retry can help', async (t) => {
  // Short enough for no retry to fit.
  const env = { UPSTREAM_TIMEOUT_MS: '900' }
  const inHalfAMinute = { get 'retry-after' () { return new Date(Date.now() + 30_000).toUTCString() } }
  const rows: [headers: Record<string, string>, expected: RegExp][] = [
    [{ 'retry-after': '5' }, /^5$/],
    [{ 'retry-after': '45' }, /^45$/],
    ...['61', '1000000000', 'Fri, 31 Dec 9999 23:59:59 GMT'].map(
      (after): [Record<string, string>, RegExp] => [{ 'retry-after': after }, /^60$/]
    ),
    ...['1e9', '-5', '', 'soon', 'NaN', '5, 10', '9'.repeat(400), 'Thu, 01 Jan 1970 00:00:00 GMT'].map(
      (after): [Record<string, string>, RegExp] => [{ 'retry-after': after }, /^1$/]
    ),
    [inHalfAMinute, /^(30|29)$/],
    [{ 'retry-after-ms': '20500', 'retry-after': '45' }, /^21$/],
    [{ 'retry-after-ms': 'x', 'retry-after': '45' }, /^45$/]
  ]
  const rejecting = await startApp(t, { env })
  const upstream = await startUpstream(t)
  for (const [headers, expected] of rows) {
    for (const [status, code] of [[429, 'upstream_rate_limited'], [503, 'upstream_unavailable']] as const) {
      // The pause of a 429 holds for all callers.
      const app = status === 429 ? await startApp(t, { env, upstream }) : rejecting
      app.upstream.answer(GA, failure(status, null, { headers: { ...headers } }), failure(400))
      const answer = await app.mint('client_secrets')
      t.equal(answer.status, status, JSON.stringify(headers))
      t.match(answer.body.error, { code })
      t.match(answer.headers.get('retry-after'), expected)
      t.equal(answer.headers.get('x-should-retry'), null)
      if (status === 503) await app.mint('client_secrets')
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

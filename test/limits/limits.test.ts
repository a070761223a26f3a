// Limits as a caller sees them.

import t from 'tap'
import { createMemoryStore } from '../../src/limits/memory.ts'
import { CALLERS, ORIGIN, POLICY, startApp } from '../support/app.ts'
import { failure, GA, json } from '../support/upstream.ts'

const limited = (limits: string) => POLICY.replace('limits: { minute: 50, day: 500 }', `limits: ${limits}`)

t.test('beyond the limit it is 429, with the window to wait for and no upstream call', async (t) => {
  const rows = [
    ['{ minute: 1 }', 'minute', /^(60|59)$/, null],
    ['{ hour: 1 }', 'hour', /^(3600|3599)$/, 'false'],
    ['{ day: 1 }', 'day', /^(86400|86399)$/, 'false'],
    ['{ minute: 1, day: 1 }', 'day', /^(86400|86399)$/, 'false'],
    ['{ minute: 9, total: { day: 1 } }', 'total_day', /^(86400|86399)$/, 'false'],
    ['{ minute: 9, total: { minute: 1 } }', 'total_minute', /^(60|59)$/, null]
  ] as const
  for (const [limits, reason, wait, shouldRetry] of rows) {
    const app = await startApp(t, { policy: limited(limits) })
    t.equal((await app.mint('client_secrets')).status, 200)
    const { status, headers, body } = await app.mint('client_secrets')
    t.equal(status, 429, limits)
    t.match(body.error, { code: 'rate_limit_exceeded', type: 'rate_limit_error', param: null })
    t.match(headers.get('retry-after'), wait)
    t.equal(headers.get('x-should-retry'), shouldRetry)
    t.match(app.auditLines().at(-1), { event: 'mint.refused', policy: 'pro', kind: 'realtime', reason })
  }
})

t.test('the headers are those of the caller\'s tightest window, on a 429 too', async (t) => {
  const app = await startApp(t, { policy: limited('{ minute: 5, day: 2, total: { day: 1000 } }') })
  for (const [status, remaining] of [[200, '1'], [200, '0'], [429, '0']] as const) {
    const { status: answered, headers } = await app.mint('client_secrets')
    t.equal(answered, status)
    t.equal(headers.get('ratelimit-limit'), '2')
    t.equal(headers.get('ratelimit-remaining'), remaining)
    t.match(headers.get('ratelimit-reset'), /^863\d\d|86400$/)
  }
})

t.test('without limits, or with a total alone, an answer has no headers about them', async (t) => {
  for (const limits of ['none', '{ total: { day: 5 } }']) {
    const app = await startApp(t, { policy: limited(limits) })
    const { status, headers } = await app.mint('client_secrets')
    t.equal(status, 200)
    for (const name of ['limit', 'remaining', 'reset']) t.equal(headers.get(`ratelimit-${name}`), null)
  }
})

t.test('E11: a refused request costs nothing, and a failed mint is given back', async (t) => {
  const app = await startApp(t, { policy: limited('{ day: 2, total: { day: 2 } }') })
  for (let i = 0; i < 2; i++) {
    t.equal((await app.mint('client_secrets', [])).status, 400)
    t.equal((await app.mint('client_secrets', { session: { model: 'other' } })).status, 403)
    app.upstream.answer(GA, failure(401))
    t.equal((await app.mint('client_secrets')).status, 502)
  }
  app.upstream.reset(GA)
  t.equal((await app.mint('client_secrets')).headers.get('ratelimit-remaining'), '1')
})

t.test('edge L2: a value that upstream refuses with a 400 of the client\'s own costs one', async (t) => {
  const app = await startApp(t, { policy: limited('{ minute: 5 }') })
  app.upstream.answer(GA, failure(400, 'invalid_value', { param: 'session.audio.output.voice' }))
  const answers = []
  const body = { session: { audio: { output: { voice: 'cedar' } } } }
  for (let i = 0; i < 8; i++) answers.push(await app.mint('client_secrets', body))
  t.same(answers.map(({ status }) => status), [400, 400, 400, 400, 400, 429, 429, 429])
  t.match(answers[0]?.body.error, { code: 'invalid_request', param: 'session.audio.output.voice' })
  t.equal(app.upstream.requests.length, 5)
})

t.test('edge M4: who fails again and again gets as many back as the window holds, and then pays', async (t) => {
  const app = await startApp(t, { policy: limited('{ minute: 3, day: 100, total: { day: 3 } }') })
  for (const [i, failing] of [failure(401), failure(400), json(201, {})].entries()) {
    const as = async (name: string) => ({ authorization: `Bearer ${await app.token({ sub: `${name} ${i}` })}` })
    const [ada, bob] = [await as('ada'), await as('bob')]
    app.upstream.requests.length = 0
    app.upstream.answer(GA, failing)
    const statuses = []
    for (let i = 0; i < 8; i++) statuses.push((await app.mint('client_secrets', {}, ada)).status)
    t.same(statuses, [502, 502, 502, 502, 502, 502, 429, 429])
    t.equal(app.upstream.requests.length, 6)
    app.upstream.reset(GA)
    t.equal((await app.mint('client_secrets', {}, bob)).status, 200, 'and takes nothing from the total')
  }
})

t.test('edge M4: a mint for which upstream was not asked costs nothing, however often', async (t) => {
  const app = await startApp(t, { policy: limited('{ minute: 2 }'), env: { UPSTREAM_TIMEOUT_MS: '500' } })
  app.upstream.answer(GA, failure(429, null, { headers: { 'retry-after': '60' } }))
  for (let i = 0; i < 8; i++) {
    const { body, headers } = await app.mint('client_secrets')
    t.match(body.error, { code: 'upstream_rate_limited' })
    t.equal(headers.get('ratelimit-remaining'), '1')
  }
  t.equal(app.upstream.requests.length, 1)
})

t.test('E5, E7: all routes and kinds and tokens of a caller count together, and no other caller\'s', async (t) => {
  const app = await startApp(t, { policy: limited('{ day: 4 }') })
  for (const route of ['sessions', 'transcription_sessions', 'client_secrets', 'translations/client_secrets']) {
    t.equal((await app.mint(route, {}, { authorization: `Bearer ${await app.token({ jti: route })}` })).status, 200)
  }
  t.equal((await app.mint('sessions')).status, 429)
  for (const sub of ['Ada', 'ada.', 'bob', 'adá', 'ada\u0301']) {
    t.equal((await app.mint('sessions', {}, { authorization: `Bearer ${await app.token({ sub })}` })).status, 200, sub)
  }
})

t.test('E5: a subject in another case, with a point or in another form of Unicode is another caller', async (t) => {
  const app = await startApp(t, { policy: limited('{ day: 1 }') })
  for (const sub of ['ada', 'Ada', 'ada.', 'ad\u00e1', 'ada\u0301', '\uff41da']) {
    const as = { authorization: `Bearer ${await app.token({ sub })}` }
    t.equal((await app.mint('sessions', {}, as)).status, 200, sub)
    t.equal((await app.mint('sessions', {}, as)).status, 429, sub)
  }
})

t.test('E7, E8: tokens and cookies of one issuer count together, a subject of another issuer for itself', async (t) => {
  const other = `${CALLERS.replace('secret_env: TOKEN_SECRET', 'secret_env: TOKEN_SECRET, cookie: session').trimEnd()}
  - jwt: { issuer: 'https://other.test/', audience: voice, secret_env: TOKEN_SECRET }
`
  const app = await startApp(t, { policy: limited('{ day: 2 }').replace(CALLERS, other) })
  const bearer = async (claims: object) => ({ authorization: `Bearer ${await app.token({ ...claims })}` })
  const cookie = { authorization: undefined, cookie: `session=${await app.token()}`, origin: ORIGIN }
  const statuses = []
  for (const sent of [await bearer({ jti: '1' }), cookie, await bearer({ jti: '2' }), cookie]) {
    statuses.push((await app.mint('client_secrets', {}, sent)).status)
  }
  t.same(statuses, [200, 200, 429, 429])
  const { status, headers } = await app.mint('client_secrets', {}, await bearer({ iss: 'https://other.test/' }))
  t.same([status, headers.get('ratelimit-remaining')], [200, '1'])
})

t.test('a total is shared by all callers of the policy', async (t) => {
  const app = await startApp(t, { policy: limited('{ day: 9, total: { day: 3 } }') })
  const statuses = []
  for (const sub of ['a', 'b', 'c', 'd']) {
    statuses.push((await app.mint('sessions', {}, { authorization: `Bearer ${await app.token({ sub })}` })).status)
  }
  t.same(statuses, [200, 200, 200, 429])
})

t.test('E9: a parallel burst gets exactly the limit', async (t) => {
  const app = await startApp(t, { policy: limited('{ minute: 10 }') })
  const answers = await Promise.all(Array.from({ length: 100 }, () => app.mint('client_secrets')))
  t.equal(answers.filter(({ status }) => status === 200).length, 10)
  t.equal(answers.filter(({ status }) => status === 429).length, 90)
  t.equal(app.upstream.requests.length, 10)
})

t.test('a store that is full of exhausted callers is 503', async (t) => {
  const app = await startApp(t, { policy: limited('{ day: 1 }'), limits: createMemoryStore({ maxEntries: 1 }) })
  t.equal((await app.mint('client_secrets')).status, 200)
  const { status, headers, body } = await app.mint(
    'client_secrets', {}, { authorization: `Bearer ${await app.token({ sub: 'bob' })}` }
  )
  t.equal(status, 503)
  t.match(body.error, { code: 'limits_unavailable' })
  t.equal(headers.get('retry-after'), '60')
})

// Administration at the listener for operations, by its token only.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { readConfig } from '../../src/config/environment.ts'
import { type CallsApp, OPS, startCalls } from '../calls/harness.ts'
import { CANARIES } from '../support/app.ts'
import { audioTurn } from '../support/call-events.ts'
import { confirm } from '../support/call-replies.ts'
import { until } from '../support/until.ts'
import { failure, hang } from '../support/upstream.ts'

const TOKEN = CANARIES.ADMIN_TOKEN
const UNKNOWN = 'rtc_AAAAAAAAAAAAAAAAAAAAAA'
const OTHER = `
  - { name: free, when: { plan: free }, limits: none, realtime: { fixed: { model: gpt-realtime-2.1 }, calls: {} } }`

async function startAdmin (t: Test, users: readonly string[] = []): Promise<CallsApp> {
  const app = await startCalls(t, { env: OPS, more: OTHER })
  // A call that is live at the stop would keep the listener open: the clock stands still.
  t.teardown(() => app.operate('/calls/hangup', { all: true }))
  for (const user of users) {
    const [sub, plan = 'pro'] = user.split(':')
    t.equal((await app.begin({ claims: { sub: sub as string, plan } })).status, 201)
  }
  return app
}

async function idOf (app: CallsApp, sub: string, plan = 'pro'): Promise<string> {
  const { body } = await app.get('/v1/realtime/calls', { sub, plan })
  return (body.data as [{ id: string }])[0].id
}

const ROUTES = [
  ['/calls'], [`/calls/${UNKNOWN}/hangup`, {}], ['/calls/hangup', { all: true }], ['/rotation'],
  ['/rotation', { ready: false }]
] as const

t.test('admin: without ADMIN_TOKEN there are no such routes, and never on the public port', async (t) => {
  const without = await startCalls(t, { env: { ...OPS, ADMIN_TOKEN: '' } })
  const app = await startAdmin(t)
  for (const [path, body] of ROUTES) {
    t.match(await without.operate(path, body), { status: 404, body: { error: { code: 'not_found' } } }, path)
    const method = body === undefined ? 'GET' : 'POST'
    t.equal((await app.request(path, { method, headers: { authorization: `Bearer ${TOKEN}` } })).status, 404, path)
  }
})

t.test('admin: any other token is 401 before the body is read, and does nothing', async (t) => {
  const app = await startAdmin(t, ['ada'])
  for (const authorization of [
    undefined, 'Bearer', 'Bearer ', TOKEN, `Basic ${TOKEN}`, `Bearer ${TOKEN}x`, `Bearer ${TOKEN.slice(0, -1)}`,
    `Bearer ${TOKEN.toUpperCase()}`, `Bearer ${TOKEN}, Bearer ${TOKEN}`, `Bearer ${CANARIES.OPENAI_API_KEY}`,
    `Bearer ${await app.token()}`
  ]) {
    const headers: Record<string, string> = authorization === undefined ? {} : { authorization }
    for (const [path, body] of [...ROUTES, ['/calls/hangup', 'x'.repeat(100_000)]] as const) {
      const answer = await app.operate(path, body, headers)
      t.match(answer, { status: 401, body: { error: { code: 'invalid_credentials' } } }, `${path} ${authorization}`)
      t.equal(answer.headers.get('www-authenticate'), 'Bearer')
    }
  }
  t.match(await app.operate('/rotation'), { body: { ready: true } })
  t.equal(app.upstream.live(), 1)
})

t.test('H13: a token that is missing, wrong or elsewhere than in the header ends nothing', async (t) => {
  const app = await startAdmin(t, ['ada'])
  const elsewhere = [
    `/calls?token=${TOKEN}`, `/calls?access_token=${TOKEN}`, `/calls?authorization=Bearer%20${TOKEN}`,
    `/calls?policy=pro&ADMIN_TOKEN=${TOKEN}`, `/rotation?access_token=${TOKEN}`
  ]
  for (const path of elsewhere) t.match(await app.operate(path, undefined, {}), { status: 401 }, path)
  const fields: Record<string, string>[] = [
    { cookie: `ADMIN_TOKEN=${TOKEN}` }, { 'x-admin-token': TOKEN }, { 'proxy-authorization': `Bearer ${TOKEN}` },
    { authorization: `Basic ${Buffer.from(`admin:${TOKEN}`).toString('base64')}` }, { authorization: `Token ${TOKEN}` },
    { 'x-forwarded-for': '127.0.0.1', forwarded: 'for=127.0.0.1' }, { 'x-original-url': '/metrics' }
  ]
  for (const headers of fields) {
    const answer = await app.operate('/calls/hangup', { all: true, token: TOKEN, access_token: TOKEN }, headers)
    t.match(answer, { status: 401 }, JSON.stringify(Object.keys(headers)))
  }
  t.equal(app.upstream.live(), 1)
  t.match(await app.operate('/rotation'), { body: { ready: true } })
})

t.test('H13: on the public port there is nothing, whatever the token', async (t) => {
  const app = await startAdmin(t, ['ada'])
  const id = await idOf(app, 'ada')
  for (const path of [
    '/calls', '/calls/hangup', `/calls/${id}/hangup`, '/rotation', '/admin/calls', '/v1/calls', '/v1/rotation',
    '/%63alls', '//calls', '/v1/../calls', '/calls/', '/CALLS'
  ]) {
    for (const method of ['GET', 'POST']) {
      const { status } = await app.request(path, { method, headers: { authorization: `Bearer ${TOKEN}` } })
      t.equal(status, 404, `${method} ${path}`)
    }
  }
  const hangUp = await app.request(`/v1/realtime/calls/${id}/hangup`, {
    method: 'POST', headers: { authorization: `Bearer ${TOKEN}` }
  })
  t.equal(hangUp.status, 401, 'it is no user\'s token')
  t.equal(app.upstream.live(), 1)
})

t.test('H13: a short token, or one that no header can carry, refuses the start by name', (t) => {
  const env = { OPENAI_API_KEY: 'sk', EPHEMINT_CONFIG: 'x.yaml' }
  const long = 'x'.repeat(40)
  for (const token of ['x', 'short', 'x'.repeat(31), `${long} y`, `${long}\n${long}`, `${long}\0`, 'ü'.repeat(32)]) {
    t.throws(() => readConfig({ ...env, ADMIN_TOKEN: token }), /^ADMIN_TOKEN must be 32 bytes or longer/m)
  }
  t.equal(readConfig({ ...env, ADMIN_TOKEN: 'x'.repeat(32) }).adminToken, 'x'.repeat(32))
  t.end()
})

t.test('H13: tokens are compared as digests of one length, in constant time', async (t) => {
  t.match(readFileSync(join(import.meta.dirname, '../../src/routes/admin.ts'), 'utf8'), 'timingSafeEqual(digest(')
  const app = await startAdmin(t)
  const answers = new Set<string>()
  for (const wrong of [
    'x', TOKEN.slice(0, 1), TOKEN.slice(0, -1), `${TOKEN}x`, TOKEN.replace(/.$/, '?'), TOKEN.replace(/^./, '?'),
    TOKEN.toUpperCase(), 'x'.repeat(8000)
  ]) {
    const { status, text } = await app.operate('/calls', undefined, { authorization: `Bearer ${wrong}` })
    answers.add(`${status} ${text}`)
  }
  t.equal(answers.size, 1, 'one answer for all')
  t.match([...answers][0], /^401 /)
})

t.test('admin: the scheme of the token is accepted in any case', async (t) => {
  const app = await startAdmin(t)
  t.equal((await app.operate('/calls', undefined, { authorization: `bearer ${TOKEN}` })).status, 200)
})

t.test('admin: the live calls of all callers, by policy and by safety identifier', async (t) => {
  const app = await startAdmin(t, ['ada', 'bob', 'eve:free'])
  app.upstream.calls[0]?.push(...audioTurn())
  const list = async (query = '') => (await app.operate(`/calls${query}`)).body.data as any[]
  await until('the turn to be counted', async () => (await list())[0].usage.responses === 1)
  const [ada, bob, eve] = await list()
  t.match(ada, {
    id: await idOf(app, 'ada'),
    object: 'realtime.call',
    status: 'live',
    end_reason: null,
    policy: 'pro',
    kind: 'realtime',
    safety_identifier: /^[0-9a-f]{64}$/,
    usage: { responses: 1, output: { audio: 61 } }
  })
  t.notMatch(JSON.stringify(ada), /u2_|"ada"/, 'neither OpenAI\'s id nor the subject')
  const idsOf = async (query: string) => (await list(query)).map(({ id }) => id)
  t.same(await idsOf('?policy=pro'), [ada.id, bob.id])
  t.same(await idsOf('?policy=free'), [eve.id])
  t.same(await idsOf(`?safety_identifier=${bob.safety_identifier}`), [bob.id])
  t.same(await idsOf(`?policy=free&safety_identifier=${bob.safety_identifier}`), [])
  for (const query of ['?policy=', '?policy=pro&policy=free', '?plan=pro', '?all=true', '?policy']) {
    t.match(await app.operate(`/calls${query}`), { status: 400, body: { error: { code: 'invalid_request' } } }, query)
  }
})

t.test('admin: a call is hung up by its id, once, with reason operator', async (t) => {
  const app = await startAdmin(t, ['ada', 'bob'])
  const path = `/calls/${await idOf(app, 'ada')}/hangup`
  t.equal((await app.operate(path, { all: true })).status, 400)
  t.equal((await app.operate(path, [])).status, 400)
  t.match(await app.operate(`/calls/${UNKNOWN}/hangup`, {}), { status: 404, body: { error: { code: 'not_found' } } })
  t.equal(app.upstream.live(), 2)
  const ended = { status: 200, body: { status: 'ended', end_reason: 'operator', policy: 'pro' } }
  t.match(await app.operate(path, {}), ended)
  t.match(await app.operate(path, {}), ended, 'also where it has ended')
  t.match(app.lines('call.ended'), [{ reason: 'operator', started: true, complete: true, hangup_confirmed: true }])
  t.equal(app.upstream.hangUps.length, 1)
  t.equal(app.upstream.live(), 1)
  t.equal((await app.begin({ claims: { sub: 'ada' } })).status, 201, 'the place is free')
})

t.test('admin: calls are hung up by safety identifier, by policy, or all of them', async (t) => {
  const app = await startAdmin(t, ['ada', 'bob', 'eve:free', 'joe:free', 'kim'])
  const [{ safety_identifier: ada }] = (await app.operate('/calls')).body.data as [{ safety_identifier: string }]
  for (const [body, matched] of [
    [{ safety_identifier: ada }, 1], [{ safety_identifier: ada }, 0], [{ policy: 'free' }, 2], [{ policy: 'none' }, 0],
    [{ all: true }, 2], [{ all: true }, 0]
  ] as const) {
    t.match(await app.operate('/calls/hangup', body), { status: 200, body: { matched, ended: matched } })
  }
  t.same(app.lines('call.ended').map(({ reason }) => reason), Array(5).fill('operator'))
  t.equal(app.upstream.live(), 0)
})

t.test('admin: a body that says anything but one of these ends no call', async (t) => {
  const app = await startAdmin(t, ['ada'])
  for (const body of [
    {}, [], null, 'all', { all: false }, { all: 'true' }, { all: 1 }, { all: true, policy: 'pro' }, { policy: '' },
    { policy: null }, { policy: ['pro'] }, { policy: 'pro', safety_identifier: 'x' }, { subject: 'ada' },
    { id: UNKNOWN }
  ]) {
    t.equal((await app.operate('/calls/hangup', body)).status, 400, JSON.stringify(body))
  }
  const opsUrl = app.logLines().find(({ msg }) => msg === 'listening')?.ops_url as string
  const init = { method: 'POST', headers: { authorization: `Bearer ${TOKEN}` } }
  t.equal((await fetch(`${opsUrl}/calls/hangup`, init)).status, 400, 'no body')
  t.equal((await fetch(`${opsUrl}/calls/hangup`, { ...init, body: 'all=true' })).status, 415)
  t.equal(app.upstream.live(), 1)
})

t.test('admin: a hang-up that is not confirmed is answered after 5 s, and goes on', async (t) => {
  const app = await startAdmin(t, ['ada', 'bob'])
  app.upstream.onHangUp(confirm, hang, confirm)
  const answer = app.operate('/calls/hangup', { all: true })
  await until('both to be asked for', () => app.upstream.hangUps.length === 2)
  await app.wrote('call.ended')
  app.clock.pass(5000)
  t.match(await answer, { status: 200, body: { matched: 2, ended: 1 } })
  t.match((await app.operate('/calls')).body.data, [{ status: 'ending', end_reason: 'operator' }])
  await app.clock.expire(1000)
  await app.wrote('call.ended', 2)
})

t.test('call: an operator begins a hang-up that fails again, never faster than one a second', async (t) => {
  const app = await startAdmin(t, ['ada'])
  const path = `/calls/${await idOf(app, 'ada')}/hangup`
  app.upstream.onHangUp(failure(500), failure(500), failure(500), confirm)
  const { id } = app.upstream.calls[0] as { id: string }
  const failed = async (times: number) => {
    await app.upstream.hungUp(id, times)
    await app.settle()
  }
  const first = app.hangUp(`/v1/realtime${path}`.replace('/hangup', ''), {}, { sub: 'ada' })
  await failed(1)
  app.clock.pass(1000)
  await failed(2)
  // The next attempt is due after 5 s, whether the caller or an operator asks.
  const answers = [app.operate(path, {}), app.operate(path, {}), app.operate('/calls/hangup', { all: true })]
  await app.settle()
  app.clock.pass(999)
  t.equal(app.upstream.hangUps.length, 2)
  app.clock.pass(1)
  await failed(3)
  app.clock.pass(1000)
  for (const answer of [first, ...answers]) t.equal((await answer).status, 200)
  t.equal(app.upstream.hangUps.length, 4)
  t.match(app.lines('call.ended'), [{ reason: 'client', hangup_confirmed: true }], 'the first reason wins')
})

t.test('admin: a replica is taken out of rotation, still serves, and comes back', async (t) => {
  const app = await startAdmin(t)
  const look = async () => [await app.request('/readyz'), await app.operate('/readyz', undefined, {})].map(
    ({ status, body }) => [status, body.waiting_for])
  t.match(await app.operate('/rotation'), { status: 200, body: { ready: true } })
  for (const body of [{}, { ready: 'false' }, { ready: 0 }, { ready: false, all: true }, [false], null]) {
    t.equal((await app.operate('/rotation', body)).status, 400, JSON.stringify(body))
  }
  t.same(await look(), [[200, []], [200, []]])

  t.match(await app.operate('/rotation', { ready: false }), { status: 200, body: { ready: false } })
  t.match(await app.operate('/rotation'), { body: { ready: false } })
  t.same(await look(), [[503, ['rotation']], [503, ['rotation']]])
  t.match((await app.operate('/metrics', undefined, {})).text, 'ephemint_ready 0')
  t.equal((await app.begin()).status, 201)
  t.equal((await app.request('/livez')).status, 200)

  t.match(await app.operate('/rotation', { ready: true }), { body: { ready: true } })
  t.same(await look(), [[200, []], [200, []]])
  const written = app.logLines().map(({ msg }) => msg)
  t.ok(written.includes('taken out of rotation by an operator') && written.includes('put into rotation by an operator'))
})

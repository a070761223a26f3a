// An upstream whose events are false, and callers whose credential does not last as long as their call.

import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { readItem } from '../../src/realtime/call-items.ts'
import {
  errorEvent, itemAdded, outputItemAdded, responseCreated, responseDone, transcribed, usageOf
} from '../support/call-events.ts'
import { accept } from '../support/call-replies.ts'
import { until } from '../support/until.ts'
import type { Call } from '../support/upstream-call.ts'
import { type CallsApp, policyOf, startCalls } from './harness.ts'

const BOB = { sub: 'bob' }

type Two = Readonly<{ app: CallsApp, ada: Call, bob: Call, path: string, bobIsUntouched: () => Promise<void> }>

/** Begins Ada's call, whose events are hostile, and Bob's, which they must not affect. */
async function startTwo (t: Test): Promise<Two> {
  const app = await startCalls(t)
  const path = (await app.begin()).headers.get('location') as string
  const bobs = (await app.begin({ claims: BOB })).headers.get('location') as string
  const [ada, bob] = app.upstream.calls as [Call, Call]
  await bob.next('session.update')
  const before = (await app.get(bobs, BOB)).body
  return {
    app,
    ada,
    bob,
    path,
    bobIsUntouched: async () => {
      t.same((await app.get(bobs, BOB)).body, before)
      t.equal(bob.received.length, 1, 'only the first read was sent')
      t.equal(app.upstream.hangUps.filter(({ callId }) => callId === bob.id).length, 0)
      t.equal(app.upstream.attaches.filter(({ callId }) => callId === bob.id).length, 1)
      t.equal((await app.hangUp(bobs, {}, BOB)).status, 200)
    }
  }
}

/** Resolves once the events pushed before have been handled. */
async function seen ({ app, ada, path }: Two): Promise<void> {
  const { responses } = (await app.get(path)).body.usage as { responses: number }
  ada.push(responseDone(`seen_${responses}`, usageOf({})))
  await until('the events to be seen', async () =>
    ((await app.get(path)).body.usage as { responses: number }).responses > responses)
}

t.test('H11: events that reach for a prototype do nothing, to this call or another', async (t) => {
  const two = await startTwo(t)
  const { app, ada, path, bobIsUntouched } = two
  const hostile = '{"polluted":"yes","is":"session","expires_at":1,"plan":"pro"}'
  for (const key of ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'valueOf']) {
    for (const frame of [
      `{"type":"${key}"}`, `{"type":"session.updated","${key}":${hostile}}`, `{"${key}":{"type":"response.done"}}`,
      `{"type":"response.done","response":{"${key}":{"id":"x"},"id":"${key}","usage":{"${key}":${hostile}}}}`,
      `{"type":"response.created","response":{"id":"${key}"}}`, `{"type":"response.done","response":"${key}"}`,
      `{"type":"error","error":{"${key}":${hostile},"code":"${key}","event_id":"${key}"}}`,
      `{"type":"conversation.item.added","item":{"${key}":${hostile},"id":"${key}"}}`,
      `{"type":"conversation.item.input_audio_transcription.completed","item_id":"${key}","usage":{"${key}":1}}`
    ]) ada.pushRaw(frame)
  }
  await seen(two)
  t.equal(({} as Record<string, unknown>).polluted, undefined)
  t.match((await app.get(path)).body, { status: 'live' })
  t.equal(app.upstream.attaches.length, 2, 'no sideband was lost')
  await bobIsUntouched()
})

t.test('H11: huge numbers, and numbers that are none, count as nothing and move no timer', async (t) => {
  const two = await startTwo(t)
  const { app, ada, path, bobIsUntouched } = two
  const { ends_at: endsAt } = (await app.get(path)).body
  for (const huge of ['1e308', '1e999', '-1e999', '9007199254740993', '-1', '1.5e300', '"1e9"', '[1]', '{}', 'true']) {
    const [usage, id] = [`{"input_tokens":${huge},"output_tokens":${huge}}`, `resp_${huge.replaceAll('"', '')}`]
    ada.pushRaw(`{"type":"response.done","response":{"id":"${id}","status":"completed","usage":${usage}}}`)
    ada.pushRaw(`{"type":"session.updated","session":{"id":"${ada.session().id}","expires_at":${huge}}}`)
    ada.pushRaw(`{"type":"rate_limits.updated","rate_limits":[{"reset_seconds":${huge}}]}`)
    ada.pushRaw('{"type":"conversation.item.input_audio_transcription.completed","item_id":' +
      `"${id}","usage":{"type":"duration","seconds":${huge}}}`)
    ada.pushRaw(`{"type":"input_audio_buffer.speech_started","audio_start_ms":${huge}}`)
    ada.pushRaw(`{"type":"input_audio_buffer.speech_stopped","audio_end_ms":${huge}}`)
  }
  await seen(two)
  t.match((await app.get(path)).body, {
    status: 'live',
    ends_at: endsAt,
    usage: { responses: 11, input_tokens: 0, output_tokens: 0, transcription: { seconds: 0 } }
  })
  await app.hangUp(path)
  t.match(app.lines('call.ended'), [{ complete: false, usage: { input_tokens: 0 } }])
  await bobIsUntouched()
})

t.test('H11: ids of another call, in any event, reach no other call', async (t) => {
  const two = await startTwo(t)
  const { ada, bob, bobIsUntouched } = two
  const bobs = String(bob.session().id)
  ada.push(
    { ...responseCreated('resp_bob'), call_id: bob.id, session_id: bobs }, responseDone('resp_bob'),
    { ...errorEvent('call_id_not_found', 'ephemint_1'), call_id: bob.id }, errorEvent('session_expired', bobs),
    { ...itemAdded({ id: 'item_bob', call_id: bob.id }), session: { id: bobs } }, transcribed('item_bob'),
    { type: 'session.closed', call_id: bob.id, session: { id: bobs } }, { type: 'call.ended', call_id: bob.id }
  )
  await seen(two)
  t.match((await two.app.get(two.path)).body, { status: 'live', usage: { responses: 2 } })
  await bobIsUntouched()
})

t.test('H11: a session.updated of another session is ignored: it ends, prolongs and joins nothing', async (t) => {
  const two = await startTwo(t)
  const { app, ada, bob, path, bobIsUntouched } = two
  const { ends_at: endsAt } = (await app.get(path)).body
  const soon = Math.floor(Date.now() / 1000) + 90
  for (const id of [bob.session().id, 'sess_none', '', null, 7, [ada.session().id], undefined]) {
    ada.push({ type: 'session.updated', session: { ...ada.session(), id, expires_at: soon } as never })
  }
  ada.push({ type: 'session.updated', session: null }, { type: 'session.updated', session: [] })
  ada.push({ type: 'session.updated', session: String(bob.session().id) })
  await seen(two)
  t.match((await app.get(path)).body, { status: 'live', ends_at: endsAt, end_reason: null })
  t.equal(ada.received.length, 1, 'nothing is corrected by it')
  ada.push({ type: 'session.updated', session: { ...ada.session(), expires_at: soon } })
  await seen(two)
  t.ok(Number((await app.get(path)).body.ends_at) < Number(endsAt), 'its own counts')
  await bobIsUntouched()
})

t.test('H11: a Location that names the call of another is none: that call is not touched', async (t) => {
  const two = await startTwo(t)
  const { app, bob, bobIsUntouched } = two
  app.upstream.onCreate(accept({ location: `/v1/realtime/calls/${bob.id}` }), accept())
  const eve = { sub: 'eve' }
  t.match(await app.begin({ claims: eve }), { status: 502, body: { error: { code: 'upstream_error' } } })
  t.match(app.lines('call.unknown'), [{ upstream_call_id: null, code: 'upstream_error' }])
  t.same(app.upstream.hangUps, [])
  await bobIsUntouched()
  app.clock.pass(60_000)
  app.upstream.onCreate(accept({ location: `/v1/realtime/calls/${app.upstream.calls.at(-1)?.id}` }))
  t.equal((await app.begin({ claims: eve })).status, 201, 'the id of none that lives')
})

t.test('H11: ids of a megabyte are not kept, and no more than 10,000 ids', async (t) => {
  const two = await startTwo(t)
  const { app, ada, path, bobIsUntouched } = two
  const long = 'x'.repeat(1024 * 1024)
  ada.push(responseCreated(long), responseDone(long), transcribed(long), errorEvent(long, long))
  ada.push(itemAdded({ id: long, role: long }), outputItemAdded({ id: long, call_id: long }))
  await seen(two)
  t.match(readItem({ id: long, type: 'function_call', role: long, name: long, call_id: long }), {
    id: null, role: null, callId: null, tool: { name: null }
  })
  t.match((await app.get(path)).body, { status: 'live', usage: { responses: 1 } })
  for (let i = 0; i < 10_100; i++) {
    ada.push(responseDone(`r${i}`, null))
    if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  await until('the last to be counted', async () =>
    ((await app.get(path)).body.usage as { responses: number }).responses === 10_000)
  await app.hangUp(path)
  t.match(app.lines('call.ended'), [{ complete: false, reason: 'client' }])
  await bobIsUntouched()
})

t.test('H12: a token that expires ends no call; its caller comes back with another', async (t) => {
  const app = await startCalls(t, { calls: '{ max_seconds: 3600, idle_seconds: 3600 }' })
  // The last seconds of those that clocks may differ by.
  const exp = Math.floor(Date.now() / 1000) - 26
  const path = (await app.begin({ claims: { exp } })).headers.get('location') as string
  await until('the token to expire', async () => (await app.get(path, { exp })).status === 401)
  t.equal((await app.hangUp(path, {}, { exp })).status, 401)
  await app.pass(1_200_000)
  t.match((await app.get(path)).body, { status: 'live', seconds: 1200 })
  t.equal(app.upstream.hangUps.length, 0)
  t.match((await app.hangUp(path)).body, { status: 'ended', end_reason: 'client' })
})

/** An authorization server that knows one token, until that is revoked. */
async function startAuthorization (t: Test) {
  let active = true
  const server = createServer((_request, response) => {
    response.setHeader('content-type', 'application/json')
    // The service asks again once this has passed.
    const exp = Math.floor(Date.now() / 1000) + 2
    response.end(JSON.stringify(active ? { active, sub: 'ada', plan: 'pro', exp } : { active }))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/introspect`
  return { url, revoke: () => { active = false } }
}

t.test('H12: a token that is revoked ends no call, and opens no other; a block ends it', async (t) => {
  const { url, revoke } = await startAuthorization(t)
  const callers = (policy: string) => policy.replace(/callers:\n.*\n/, `callers:
  - introspection: { issuer: 'https://auth.test/', url: '${url}', client_id: mint, client_secret_env: TOKEN_SECRET }
`)
  const app = await startCalls(t, { policy: callers(policyOf()), calls: '{ idle_seconds: 600 }' })
  const headers = { authorization: 'Bearer an-opaque-token-of-ada' }
  const path = (await app.begin({ headers })).headers.get('location') as string
  const ask = () => fetch(app.url + path, { headers })
  t.equal((await ask()).status, 200)
  revoke()
  await until('the token to be no credential any more', async () => (await ask()).status === 401)
  t.equal((await app.begin({ headers })).status, 401)
  t.equal(app.upstream.live(), 1, 'the call goes on')
  await app.swapPolicy(callers(policyOf({ blocked: '[{ subject: ada }]' })))
  t.match(await app.wrote('call.ended'), [{ reason: 'blocked' }])
  t.equal(app.upstream.live(), 0)
})

const withOthers = (policy: string) => policy.replace('policies:', `policies:
  - { name: others, when: { plan: free }, limits: { day: 5 }, realtime: { fixed: { model: gpt }, calls: {} } }`)
const DENIED = '  - { name: no, when: { plan: pro }, deny: true }'

for (const [name, change] of [
  ['by subject', policyOf({ blocked: '[{ subject: ada }]' })],
  ['by issuer and subject', policyOf({ blocked: "[{ issuer: 'https://auth.test/', subject: ada }]" })],
  ['by a policy that denies', policyOf().replace('policies:', `policies:\n${DENIED}`)],
  ['by no policy that fits', policyOf().replace('plan: pro', 'plan: other')],
  ['by a policy without calls', policyOf().replace('calls: {}', '')]
] as const) {
  t.test(`H12: a user who is blocked during the call, ${name}, is hung up; others are not`, async (t) => {
    const app = await startCalls(t, { policy: withOthers(policyOf()) })
    const free = { sub: 'eve', plan: 'free' }
    const path = (await app.begin()).headers.get('location') as string
    const other = (await app.begin({ claims: free })).headers.get('location') as string
    await app.swapPolicy(withOthers(change))
    t.match(await app.wrote('call.ended'), [{ reason: 'blocked', started: true, hangup_confirmed: true }])
    t.notOk(app.upstream.calls[0]?.isLive())
    t.match((await app.get(other, free)).body, { status: 'live' })
    t.match(await app.get(path), { status: name === 'by a policy without calls' ? 200 : 403 })
  })
}

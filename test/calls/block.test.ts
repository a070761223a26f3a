// A change of the policy file reaches the calls that run: what ends them, what shortens them, what does not touch them.

import { writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { systemClock } from '../../src/clock.ts'
import { itemAdded, responseCreated } from '../support/call-events.ts'
import { until } from '../support/until.ts'
import type { Call } from '../support/upstream-call.ts'
import { type CallsApp, type CallsOptions, policyOf, startCalls } from './harness.ts'

const WITHIN_MS = 2000
const POLICY = policyOf()
const ADA = /^ {2}- name: pro\n/m

type Live = Readonly<{ app: CallsApp, path: string, call: Call }>

async function startCall (t: Test, options: CallsOptions = {}): Promise<Live> {
  const app = await startCalls(t, options)
  const path = (await app.begin()).headers.get('location') as string
  return { app, path, call: app.upstream.calls[0] as Call }
}

for (const [name, policy, code] of [
  ['the caller is blocked', policyOf({ blocked: '[{ subject: ada }]' }), 'caller_blocked'],
  ['the caller is blocked by safety identifier', null, 'caller_blocked'],
  ['its policy goes away', POLICY.replace(/when: \{ plan: pro }/, 'when: { plan: other }'), 'no_policy'],
  ['another policy denies the caller',
    POLICY.replace(ADA, '  - { name: denied, when: { sub: ada }, deny: true }\n$&'), 'no_policy'],
  ['its policy has no calls any more', POLICY.replace('calls: {}', ''), 'policy_violation'],
  ['a policy without calls comes before it',
    POLICY.replace(ADA, '  - { name: first, when: { sub: ada }, limits: none, realtime: {} }\n$&'), 'policy_violation']
] as const) {
  t.test(`fault 55: ${name}: its call is hung up within 2 s, in real time`, async (t) => {
    const { app, call } = await startCall(t, { clock: systemClock })
    const { subject } = app.lines('call.started')[0] as { subject: string }
    t.equal((await app.begin({ claims: { sub: 'bob' } })).status, 201)
    // The service waits only a moment for a cancelled response that is never done.
    if (name === 'the caller is blocked') call.push(responseCreated('resp_1'))
    const startedAt = performance.now()
    const changed = app.swapPolicy(policy ?? policyOf({ blocked: `[{ safety_identifier: ${subject} }]` }))
    await app.upstream.hungUp(call.id)
    const tookMs = performance.now() - startedAt
    t.ok(tookMs < WITHIN_MS, `${tookMs} ms`)
    await changed
    const goesOn = !['its policy goes away', 'its policy has no calls any more'].includes(name)
    const ended = await app.wrote('call.ended', goesOn ? 1 : 2)
    const line = ended.find((one) => one.subject === subject)
    t.match(line, { reason: 'blocked', started: true, hangup_confirmed: true })
    t.match(await app.begin(), { status: 403, body: { error: { code } } })
    t.equal(app.upstream.live(), goesOn ? 1 : 0)
  })
}

t.test('call: a file that does not load ends no call', async (t) => {
  const { app, path } = await startCall(t)
  writeFileSync(app.policyFile, `${POLICY}nonsense: true\n`)
  await until('it to be refused', () => app.logLines().some(({ msg }) => String(msg).startsWith('policy file refused')))
  t.match(await app.get(path), { body: { status: 'live' } })
})

t.test('call: a shorter max_seconds takes effect on a call that runs', async (t) => {
  const { app, path } = await startCall(t, { calls: '{ max_seconds: 600 }' })
  await app.swapPolicy(policyOf({ calls: '{ max_seconds: 100 }' }))
  const { created_at: createdAt, ends_at: endsAt } = (await app.get(path)).body as Record<string, number>
  t.equal(endsAt as number - (createdAt as number), 100)
  await app.swapPolicy(policyOf({ calls: '{ max_seconds: 600 }' }))
  t.equal((await app.get(path)).body.ends_at, endsAt, 'a longer one does not')
})

t.test('call: a call that has lasted longer than the new max_seconds ends at once', async (t) => {
  const { app } = await startCall(t, { calls: '{ max_seconds: 600, idle_seconds: 600 }' })
  await app.pass(100_000)
  await app.swapPolicy(policyOf({ calls: '{ max_seconds: 60 }' }))
  t.match(await app.wrote('call.ended'), [{ reason: 'max_duration', seconds: 100 }])
})

t.test('call: a shorter idle_seconds takes effect on a call that runs, counted from its last activity', async (t) => {
  const { app, path, call } = await startCall(t, { calls: '{ idle_seconds: 300 }' })
  call.push(itemAdded())
  await app.settle()
  await app.pass(20_000)
  await app.swapPolicy(policyOf({ calls: '{ idle_seconds: 30 }' }))
  await app.pass(9999)
  t.match(await app.get(path), { body: { status: 'live' } })
  await app.pass(1)
  t.match(await app.wrote('call.ended'), [{ reason: 'idle', seconds: 30 }])
})

t.test('call: a changed fixed, and whatever else the policy says of a session, does not touch it', async (t) => {
  const { app, path, call } = await startCall(t)
  await app.swapPolicy(POLICY.replace('You are Ada.', 'You are Bob.').replace('[marin, cedar]', '[ash]')
    .replace('minute: 500', 'minute: 1'))
  t.match(await app.get(path), { body: { status: 'live', end_reason: null } })
  t.equal(call.received.length, 1, 'only the first read was sent')
  t.equal(call.session().instructions, 'You are Ada.')
})

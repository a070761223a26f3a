// The exact number of places for calls, and a new call that replaces an old one.

import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { createPlaces, type Place, type PlaceRequest } from '../../src/calls/place.ts'
import { createMemoryStore } from '../../src/limits/memory.ts'
import { accept, confirm, held } from '../support/call-replies.ts'
import type { CallRequest } from '../support/calls-upstream.ts'
import { times } from '../support/times.ts'
import { failure, hang } from '../support/upstream.ts'
import { type CallsApp, OPS, policyOf, startCalls } from './harness.ts'

const many = async <T>(count: number, ask: (n: number) => Promise<T>) =>
  Promise.all(Array.from({ length: count }, (_, n) => ask(n)))

t.test('call: concurrent is exact while 200 ask at once', async (t) => {
  const app = await startCalls(t, { calls: '{ concurrent: 3 }' })
  const answers = await many(200, () => app.begin())
  t.equal(answers.filter(({ status }) => status === 201).length, 3)
  for (const { status, headers, body } of answers) {
    if (status === 201) continue
    t.match([status, body], [409, { error: { code: 'call_in_progress' } }])
    t.equal(headers.get('x-should-retry'), 'false')
  }
  t.equal(app.upstream.creations.length, 3, 'no other reached upstream')
})

t.test('call: total is exact while 200 callers ask at once, and 503 tells when to ask again', async (t) => {
  const app = await startCalls(t, { calls: '{ total: 7 }' })
  const answers = await many(200, (n) => app.begin({ claims: { sub: `user-${n}` } }))
  t.equal(answers.filter(({ status }) => status === 201).length, 7)
  const refused = answers.find(({ status }) => status !== 201)
  t.match(refused, { status: 503, body: { error: { code: 'calls_full' } } })
  t.match(refused?.headers.get('retry-after'), /^\d+$/)
  t.match(app.lines('call.refused').at(-1), { reason: 'total' })
  t.equal(app.upstream.calls.length, 7)
})

t.test('call: a process at its CALLS_MAX says calls_full', async (t) => {
  const app = await startCalls(t, { env: { CALLS_MAX: '1' } })
  const answer = await app.begin()
  t.equal(answer.status, 201)
  t.match(await app.begin({ claims: { sub: 'bob' } }), { status: 503, body: { error: { code: 'calls_full' } } })
  t.match(app.lines('call.refused'), [{ reason: 'calls_max' }])
  t.equal((await app.get('/readyz')).status, 200, 'it mints, and its calls go on')
  await app.hangUp(answer.headers.get('location') as string)
  t.equal((await app.begin({ claims: { sub: 'bob' } })).status, 201)
})

t.test('call: the caller\'s place is refused before the policy\'s, and both before the windows', async (t) => {
  const app = await startCalls(t, { calls: '{ total: 1 }', limits: '{ minute: 1 }' })
  t.equal((await app.begin()).status, 201)
  t.match(await app.begin(), { status: 409 })
  t.match(await app.begin({ claims: { sub: 'bob' } }), { status: 503 })
  await app.hangUp(((await app.get('/v1/realtime/calls')).body.data as { id: string }[])
    .map(({ id }) => `/v1/realtime/calls/${id}`)[0] as string)
  t.match(await app.begin(), { status: 429, body: { error: { code: 'rate_limit_exceeded' } } })
  t.match(app.lines('call.refused').at(-1), { reason: 'minute' })
  t.equal((await app.begin({ claims: { sub: 'bob' } })).status, 201)
})

const REPLACE = {
  calls: '{ when_full: replace, max_seconds: 600 }', limits: '{ minute: 9, call_seconds: { hour: 600 } }'
}

t.test('call: replace: the old call is hung up for the new one, which has its seconds', async (t) => {
  const app = await startCalls(t, REPLACE)
  const first = await app.begin()
  app.clock.pass(10_000)
  const second = await app.begin()
  t.equal(second.status, 201)
  t.equal(second.headers.get('x-call-seconds'), '590')
  t.match(app.lines('call.ended'), [{ reason: 'replaced', seconds: 10, hangup_confirmed: true }])
  t.equal(app.upstream.maxLive(), 1, 'never two at a time')
  t.match(await app.get(first.headers.get('location') as string), { body: { end_reason: 'replaced' } })
  t.match(await app.limits(), { call_seconds: { hour: { remaining: 0 } } })
})

t.test('call: replace: if anything refuses, the old call is untouched', async (t) => {
  const app = await startCalls(t, { ...REPLACE, limits: '{ minute: 1 }' })
  const first = await app.begin()
  t.match(await app.begin(), { status: 429 })
  t.match(await app.get(first.headers.get('location') as string), { body: { status: 'live' } })
  t.equal(app.upstream.hangUps.length, 0)
  t.match(await app.begin({ offer: 'v=1' }), { status: 400 })
  t.match(await app.get(first.headers.get('location') as string), { body: { status: 'live' } })
})

t.test('call: replace: an audit that cannot be written leaves the old call untouched', async (t) => {
  const app = await startCalls(t, REPLACE)
  const first = await app.begin()
  app.audit.stick()
  t.match(await app.begin(), { status: 503, body: { error: { code: 'audit_unavailable' } } })
  app.audit.recover()
  t.match(await app.get(first.headers.get('location') as string), { body: { status: 'live' } })
  t.equal(app.upstream.hangUps.length, 0)
  t.match(await app.limits(), { minute: { remaining: 8 }, call_seconds: { hour: { remaining: 0 } } })
})

t.test('call: replace: a client that goes before its limits are taken leaves the old call untouched', async (t) => {
  const memory = createMemoryStore()
  const [reserving, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  let reservations = 0
  const app = await startCalls(t, {
    ...REPLACE,
    store: {
      ...memory,
      reserve: async (reservation) => {
        if (reservations++ > 0) {
          reserving.resolve()
          await gate.promise
        }
        return memory.reserve(reservation)
      }
    }
  })
  const first = await app.begin()
  const controller = new AbortController()
  const gone = app.begin({ signal: controller.signal }).catch(() => null)
  await reserving.promise
  controller.abort()
  await gone
  await app.disconnected(1)
  gate.resolve()
  t.match(await app.wrote('call.refused'), [{ reason: 'client_gone' }])
  t.match(await app.get(first.headers.get('location') as string), { body: { status: 'live' } })
  t.equal(app.upstream.hangUps.length, 0)
  t.match(await app.limits(), { minute: { remaining: 8 }, call_seconds: { hour: { remaining: 0 } } })
})

t.test('call: replace: a second request meanwhile is 409, and after 5 s all is given back', async (t) => {
  const app = await startCalls(t, REPLACE)
  const first = await app.begin()
  app.upstream.onHangUp(failure(500), hang, confirm)
  const second = app.begin()
  await app.upstream.hungUp(app.upstream.calls[0]?.id as string)
  t.match(await app.begin(), { status: 409 })
  app.clock.pass(1000)
  await app.upstream.hungUp(app.upstream.calls[0]?.id as string, 2)
  app.clock.pass(4000)
  t.match(await second, { status: 409, body: { error: { code: 'call_in_progress' } } })
  t.equal(app.upstream.creations.length, 1)
  t.match(await app.limits(), { minute: { remaining: 8 }, call_seconds: { hour: { remaining: 0 } } })
  t.match(await app.get(first.headers.get('location') as string), { body: { status: 'ending' } })
  app.clock.pass(1000)
  await app.clock.expire(5000)
  t.match(await app.wrote('call.ended'), [{ reason: 'replaced' }], 'it kept being hung up')
  t.equal((await app.begin()).status, 201)
})

t.test('call: replace: calls that are being created are not replaced', async (t) => {
  const app = await startCalls(t, REPLACE)
  const create = held<CallRequest>(accept())
  app.upstream.onCreate(create.reply)
  const first = app.begin()
  await app.upstream.asked(1)
  t.match(await app.begin(), { status: 409 })
  create.release()
  t.equal((await first).status, 201)
})

t.test('call: replace: the client that goes while it waits gives all back', async (t) => {
  const app = await startCalls(t, REPLACE)
  await app.begin()
  app.upstream.onHangUp(hang, confirm)
  const controller = new AbortController()
  const gone = app.begin({ signal: controller.signal }).catch(() => null)
  await app.upstream.hungUp(app.upstream.calls[0]?.id as string)
  controller.abort()
  await gone
  t.match(await app.wrote('call.refused'), [{ reason: 'client_gone' }])
  t.match(await app.limits(), { minute: { remaining: 8 } })
  await app.clock.expire(5000)
  await app.clock.expire(1000)
  await app.wrote('call.ended')
  t.equal((await app.begin()).status, 201)
})

for (const [name, wish, status] of [
  ['a block', (app: CallsApp) => app.swapPolicy(policyOf({ ...REPLACE, blocked: '[{ subject: ada }]' })), 403],
  ['an operator', (app: CallsApp) => app.operate('/calls/hangup', { all: true }), 403],
  ['a stop', (app: CallsApp) => app.stop(), 503]
] as const) {
  t.test(`call: replace: ${name} while it waits ends both, and nothing is taken or created`, async (t) => {
    const app = await startCalls(t, { ...REPLACE, env: OPS })
    await app.begin()
    app.upstream.onHangUp(failure(500), confirm)
    const second = app.begin()
    await app.upstream.hungUp(app.upstream.calls[0]?.id as string)
    const wished = wish(app)
    t.equal((await second).status, status)
    await app.clock.expire(1000)
    await wished
    t.match(await app.wrote('call.ended'), [{ reason: 'replaced', hangup_confirmed: true }])
    t.equal(app.upstream.creations.length, 1)
    t.equal(app.upstream.live(), 0)
  })
}

t.test('call: replace: the seconds of two policies and the place of a caller whose policy changed', async (t) => {
  const app = await startCalls(t, { calls: '{ concurrent: 2, when_full: replace }' })
  await app.begin()
  await app.begin()
  await app.swapPolicy(policyOf({ calls: '{ concurrent: 1, when_full: replace }' }))
  t.match(await app.begin(), { status: 409 }, 'replacing one would leave two')
})

const request = fc.record({
  caller: fc.constantFrom('ada', 'bob'),
  policy: fc.constantFrom('pro', 'free'),
  concurrent: fc.integer({ min: 1, max: 3 }),
  whenFull: fc.constantFrom('refuse' as const, 'replace' as const),
  total: fc.option(fc.integer({ min: 1, max: 4 }))
})
const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('take' as const), request }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('release' as const), which: fc.nat(5) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('offer' as const), which: fc.nat(5) }) }
)

type Known = PlaceRequest & { place: Place, isOffered: boolean, heir: Known | null, isHeir: boolean }

t.test('call: places: calls that take, wait, pass on and release places are counted as by one simple model', (t) => {
  fc.assert(fc.property(fc.array(step, { maxLength: 40 }), fc.integer({ min: 1, max: 5 }), (steps, max) => {
    const places = createPlaces(max)
    let known: Known[] = []
    let next = 0
    for (const step of steps) {
      if (step.do !== 'take') {
        const found = known[step.which]
        if (found === undefined) continue
        if (step.do === 'offer') {
          if (found.isHeir) continue
          found.isOffered = true
          found.place.offer()
          continue
        }
        found.place.release()
        found.place.release()
        known = known.filter((one) => one !== found)
        for (const one of known) if (one.heir === found) one.heir = null
        if (found.heir !== null) found.heir.isHeir = false
        continue
      }
      const asked = { ...step.request, call: `call_${next++}` }
      const own = known.filter(({ isHeir, caller }) => !isHeir && caller === asked.caller)
      const old = own.length < asked.concurrent
        ? null
        : asked.whenFull === 'replace' && own.length === asked.concurrent && own.every(({ heir }) => heir === null)
          ? own.find(({ isOffered }) => isOffered)
          : undefined
      // A place that a new call waits for counts once in the total of each policy.
      const ofPolicy = known.filter(({ policy, isHeir, call }) => policy === asked.policy &&
        !(isHeir && known.some(({ heir, policy }) => heir?.call === call && policy === asked.policy))).length -
        (old?.policy === asked.policy ? 1 : 0)
      const inUse = known.filter(({ isHeir }) => !isHeir).length - (old ? 1 : 0)
      const expected = old === undefined
        ? 'call_in_progress'
        : ofPolicy >= (asked.total ?? Infinity) || inUse >= max ? 'calls_full' : (old?.call ?? null)
      let got: string | null
      try {
        const place = places.take(asked)
        got = place.replaces
        const taken = { ...asked, place, isOffered: false, heir: null, isHeir: got !== null }
        known.push(taken)
        if (old) old.heir = taken
      } catch (error) {
        got = (error as { code: string }).code
      }
      assert.equal(got, expected)
      assert.equal(places.taken(), known.filter(({ isHeir }) => !isHeir).length)
    }
    for (const { place } of known) place.release()
    assert.equal(places.taken(), 0)
  }), { numRuns: times(300) })
  t.end()
})

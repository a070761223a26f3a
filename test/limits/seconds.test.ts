// Seconds of calls: reserved when a call begins, given back when it ends, in both stores as one simple model says.

import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import {
  type Bucket, LEAST_CALL_SECONDS, type LimitStore, type Reservation, type Reserved, secondsBucketsOf, WINDOW_MS,
  type WindowName
} from '../../src/limits/limits.ts'
import { createMemoryStore } from '../../src/limits/memory.ts'
import { letTimePass, NO_REDIS, startRedis } from '../support/redis.ts'
import { times } from '../support/times.ts'
import { connectStore, openStore } from './store.ts'

const STEP_MS = 10_000
const MOST = 60

type Window = { endsAt: number, count: number }
type Held = { seconds: number, parts: Window[] }

/** The model, which is simpler than either store: it keeps what each reservation took from each window. */
function createModel () {
  const windows = new Map<string, Window>()
  const partsOf = (at: number, buckets: readonly Bucket[]) => buckets.flatMap(({ key, windows: limits }) =>
    (Object.entries(limits) as [WindowName, number][]).map(([window, limit]) => {
      const name = `${key} ${window}`
      const found = windows.get(name)
      const open = found !== undefined && found.endsAt > at && found.count > 0
        ? found
        : { endsAt: at + WINDOW_MS[window], count: 0 }
      return { name, limit, open }
    }))
  return {
    reserve: (at: number, { buckets, seconds, most, least, credit }: ModelReservation): Held | null => {
      const [mints, reserved] = [partsOf(at, buckets), partsOf(at, seconds)]
      const left = reserved.map(({ limit, open }) =>
        limit - open.count + (credit?.parts.includes(open) === true ? credit.unused : 0))
      const taken = Math.min(most, ...left)
      if (taken < least || mints.some(({ limit, open }) => open.count >= limit)) return null
      for (const [parts, amount] of [[mints, 1], [reserved, taken]] as const) {
        for (const { name, open } of parts) {
          open.count += amount
          windows.set(name, open)
        }
      }
      return { seconds: taken, parts: reserved.map(({ open }) => open) }
    },
    giveBack: (at: number, { parts }: Held, seconds: number) => {
      for (const part of parts) if (part.endsAt > at) part.count = Math.max(0, part.count - seconds)
    },
    left: (at: number, buckets: readonly Bucket[]) =>
      partsOf(at, buckets).map(({ limit, open }) => Math.max(0, limit - open.count))
  }
}

type ModelReservation = Omit<Reservation, 'credit'> &
  Readonly<{ credit: Readonly<{ parts: readonly Window[], unused: number }> | null }>

const seconds = fc.record(
  { hour: fc.integer({ min: 5, max: 150 }), day: fc.integer({ min: 5, max: 300 }) }, { requiredKeys: [] }
)
const mints = fc.record({ minute: fc.integer({ min: 1, max: 4 }) }, { requiredKeys: [] })
const limits = fc.record({ own: seconds, total: seconds, mints })
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('begin' as const), who: fc.constantFrom('ada', 'bob') }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('end' as const), which: fc.nat(3), used: fc.nat(MOST) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('replace' as const), which: fc.nat(3), used: fc.nat(MOST) })
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), steps: fc.constantFrom(1, 6, 360, 8640) }) }
)

type Call = { who: string, reserved: Reserved, held: Held }
type Sequence = Readonly<{ limits: { own: Bucket['windows'], total: Bucket['windows'], mints: Bucket['windows'] } }>

/** Runs one sequence on a store and on the model, and compares both after each step. */
async function agree (
  { limits: { own, total, mints } }: Sequence,
  steps: readonly (typeof step extends fc.Arbitrary<infer Step> ? Step : never)[],
  store: LimitStore,
  pass: (ms: number) => Promise<void>
): Promise<void> {
  const model = createModel()
  const calls: Call[] = []
  let now = 0
  const bucketsOf = (who: string) => ({
    buckets: [{ key: `caller:${who}`, windows: mints }].filter(isLimited),
    seconds: [{ key: `caller-seconds:${who}`, windows: own }, { key: 'policy-seconds:pro', windows: total }].filter(
      isLimited
    )
  })
  const begin = async (who: string, old?: { call: Call, unused: number }) => {
    const request = { ...bucketsOf(who), most: MOST, least: LEAST_CALL_SECONDS }
    const credit = old === undefined ? null : { slots: old.call.reserved.slots, seconds: old.unused }
    const reserved = await store.reserve({ ...request, credit })
    const held = model.reserve(now, {
      ...request, credit: old === undefined ? null : { parts: old.call.held.parts, unused: old.unused }
    })
    assert.equal(reserved.taken, held !== null)
    assert.equal(reserved.seconds, held?.seconds ?? 0)
    if (held !== null) calls.push({ who, reserved, held })
    return held !== null
  }
  const end = async ({ reserved, held }: Call, unused: number) => {
    await store.giveSecondsBack(reserved.slots, unused)
    model.giveBack(now, held, unused)
  }
  for (const next of steps) {
    if (next.do === 'wait') {
      now += next.steps * STEP_MS
      await pass(next.steps * STEP_MS)
    } else if (next.do === 'begin') {
      await begin(next.who)
    } else {
      const call = calls[next.which]
      if (call === undefined) continue
      const unused = Math.max(0, call.reserved.seconds - next.used)
      if (next.do === 'replace' && !await begin(call.who, { call, unused })) continue
      calls.splice(calls.indexOf(call), 1)
      await end(call, unused)
    }
    for (const who of ['ada', 'bob']) {
      const { buckets, seconds } = bucketsOf(who)
      const all = [...buckets, ...seconds]
      assert.deepEqual((await store.peek(all)).map(({ remaining }) => remaining), model.left(now, all))
    }
  }
}

function isLimited ({ windows }: Bucket): boolean {
  return Object.keys(windows).length > 0
}

t.test('seconds are reserved, credited and given back in memory as the model does', async (t) => {
  await fc.assert(fc.asyncProperty(limits, fc.array(step, { maxLength: 40 }), async (limits, steps) => {
    let now = 0
    await agree({ limits }, steps, createMemoryStore({ now: () => now }), async (ms) => { now += ms })
  }), { numRuns: times(200) })
  t.pass()
})

t.test('seconds are reserved, credited and given back in Redis as the model does', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const shared = await connectStore(t, redis)
  await fc.assert(fc.asyncProperty(limits, fc.array(step, { maxLength: 25 }), async (limits, steps) => {
    await letTimePass(redis.control, 2 * WINDOW_MS.day)
    await agree({ limits }, steps, shared, (ms) => letTimePass(redis.control, ms))
  }), { numRuns: times(15) })
  t.same(shared.messages().filter((message) => message.startsWith('Redis is lost')), [])
})

t.test('below the least number of seconds nothing is taken, and the window that refuses is named', async (t) => {
  const store = createMemoryStore()
  const request = {
    buckets: [{ key: 'caller:ada', windows: { minute: 5 } }],
    seconds: [{ key: 'caller-seconds:ada', windows: { hour: 64, day: 1000 } }],
    most: MOST,
    least: LEAST_CALL_SECONDS,
    credit: null
  }
  t.match(await store.reserve(request), { taken: true, seconds: 60, windows: [{ remaining: 4 }] })
  const refused = await store.reserve(request)
  await refused.giveBack()
  await refused.refund()
  t.match(refused, {
    taken: false,
    seconds: 0,
    windows: [
      { remaining: 4 }
    ],
    secondsWindows: [{ window: 'hour', remaining: 4 }, {}],
    slots: []
  })
})

t.test('what a reservation took is given back whole where the call did not begin', async (t) => {
  const store = createMemoryStore()
  const request = {
    buckets: [{ key: 'caller:ada', windows: { minute: 5 } }],
    seconds: [{ key: 'caller-seconds:ada', windows: { hour: 100 } }],
    most: MOST,
    least: LEAST_CALL_SECONDS,
    credit: null
  }
  const all = [...request.buckets, ...request.seconds]
  for (const how of ['giveBack', 'refund'] as const) {
    const reserved = await store.reserve(request)
    await reserved[how]()
    t.same((await store.peek(all)).map(({ remaining }) => remaining), [5, 100], how)
  }
})

t.test('a store without room takes neither mints nor seconds', async (t) => {
  const store = createMemoryStore({ maxEntries: 1 })
  const request = {
    buckets: [{ key: 'caller:ada', windows: { minute: 1 } }],
    seconds: [{ key: 'caller-seconds:ada', windows: { hour: 100 } }],
    most: MOST,
    least: LEAST_CALL_SECONDS,
    credit: null
  }
  t.throws(() => store.reserve(request), { code: 'limits_unavailable' })
  t.match(await store.peek(request.buckets), [{ remaining: 1 }])
})

t.test('a replica that counts alone reserves in memory', async (t) => {
  const address = { host: '127.0.0.1', port: 1, tls: false, username: '', password: '', database: 0 }
  const store = openStore(t, { address }, { local: createMemoryStore() })
  const seconds = [{ key: 'caller-seconds:ada', windows: { hour: 100 } }]
  const request = { buckets: [], seconds, most: MOST, least: LEAST_CALL_SECONDS, credit: null }
  const reserved = await store.reserve(request)
  t.match(reserved, { taken: true, seconds: 60 })
  t.match(await store.peek(seconds), [{ remaining: 40 }])
  t.equal(store.counts().local, 1)
  await store.giveSecondsBack(reserved.slots, 50)
  t.match(await store.peek(seconds), [{ remaining: 90 }], 'given back to where they were taken')
  t.equal(store.counts().notGivenBack, 0)
})

t.test('without limits a reservation needs no Redis', async (t) => {
  const address = { host: '127.0.0.1', port: 1, tls: false, username: '', password: '', database: 0 }
  const store = openStore(t, { address })
  const request = { buckets: [], seconds: [], most: MOST, least: LEAST_CALL_SECONDS, credit: null }
  const reserved = await store.reserve(request)
  t.match(reserved, { taken: true, seconds: MOST, windows: [], secondsWindows: [] })
  await reserved.refund()
  await reserved.giveBack()
  await store.giveSecondsBack(reserved.slots, MOST)
  t.equal(store.counts().notGivenBack, 0)
})

t.test('in Redis a credit counts in the windows that it comes from, and in no other', { skip: NO_REDIS }, async (t) => {
  const store = await connectStore(t, await startRedis(t))
  const secondsOf = (who: string) => [{ key: `caller-seconds:${who}`, windows: { hour: 100, day: 1000 } }]
  const request = { buckets: [], seconds: secondsOf('ada'), most: MOST, least: LEAST_CALL_SECONDS, credit: null }
  const { slots } = await store.reserve(request)
  const credit = { slots, seconds: 50 }
  await store.reserve({ ...request, seconds: secondsOf('bob') })
  t.match(await store.reserve({ ...request, seconds: secondsOf('bob'), credit }), { taken: true, seconds: 40 })
  t.match(await store.reserve({ ...request, credit: { ...credit, slots: slots.slice(1) } }), { seconds: 40 })
  await store.giveSecondsBack(slots, 40)
  t.match(await store.reserve({ ...request, credit }), { taken: true, seconds: 60 })
})

t.test('seconds are counted apart from mints, and only where the policy limits them', async (t) => {
  const callSeconds = { caller: { hour: 100 }, total: { day: 1000 } }
  const policy = { name: 'pro', limits: { caller: { minute: 1 }, total: {}, callSeconds } }
  t.same(secondsBucketsOf(policy, 'ada'), [
    { key: 'caller-seconds:ada', windows: { hour: 100 } }, { key: 'policy-seconds:pro', windows: { day: 1000 } }
  ])
  t.same(secondsBucketsOf({ name: 'free', limits: null }, 'ada'), [])
})

t.test('a reservation in Redis is given back whole, and one of nothing is nothing', { skip: NO_REDIS }, async (t) => {
  const redis = await startRedis(t)
  const store = await connectStore(t, redis)
  const buckets = [{ key: 'caller:ada', windows: { minute: 5 } }]
  const seconds = [{ key: 'caller-seconds:ada', windows: { hour: 100 } }]
  for (const how of ['giveBack', 'refund'] as const) {
    const reserved = await store.reserve({ buckets, seconds, most: MOST, least: LEAST_CALL_SECONDS, credit: null })
    t.match(await store.peek([...buckets, ...seconds]), [{ remaining: 4 }, { remaining: 40 }])
    await reserved[how]()
    t.match(await store.peek([...buckets, ...seconds]), [{ remaining: 5 }, { remaining: 100 }], how)
    await (await store.take([]))[how]()
  }
  await store.giveSecondsBack([], 10)
})

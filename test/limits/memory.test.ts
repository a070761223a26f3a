// The memory store, held against a model that is simple and slow, and against what a bound may cost.

import fc from 'fast-check'
import t from 'tap'
import { type Bucket, type Reserved, type Take, tightest, WINDOW_MS, type WindowName } from '../../src/limits/limits.ts'
import { createMemoryStore } from '../../src/limits/memory.ts'
import { times } from '../support/times.ts'

const caller = (name: string, windows: Bucket['windows']): Bucket => ({ key: `caller:${name}`, windows })

function store (maxEntries = 1000) {
  const clock = { ms: 0 }
  const limits = createMemoryStore({ now: () => clock.ms, maxEntries })
  return { clock, take: limits.take as (buckets: readonly Bucket[]) => Take, peek: limits.peek, close: limits.close }
}

type Counted = { endsAt: number, count: number, refunds: number }
type PutBack = (at: number, isRefund: boolean) => void

/** The model: counts each mint by itself. A window opens with the first mint that is counted in it. */
function model () {
  const windows = new Map<string, Counted>()
  const isOpen = ({ endsAt, count, refunds }: Counted, at: number) => endsAt > at && count + refunds > 0
  const open = (at: number, { key }: Bucket, window: WindowName) => {
    const found = windows.get(`${key} ${window}`)
    return found !== undefined && isOpen(found, at) ? found : undefined
  }
  const each = (buckets: readonly Bucket[]) => buckets.flatMap((bucket) => {
    const isOwn = bucket.key.startsWith('caller:')
    const windows = Object.entries(bucket.windows) as [WindowName, number][]
    return windows.map(([window, limit]) => ({ bucket, window, limit, isOwn }))
  })
  return {
    take: (at: number, buckets: readonly Bucket[]): null | PutBack => {
      const all = each(buckets)
      if (all.some(({ bucket, window, limit }) => (open(at, bucket, window)?.count ?? 0) >= limit)) return null
      const counted = all.map(({ bucket, window, ...rest }) => {
        const found = open(at, bucket, window) ?? { endsAt: at + WINDOW_MS[window], count: 0, refunds: 0 }
        found.count++
        windows.set(`${bucket.key} ${window}`, found)
        return { found, ...rest }
      })
      return (at, isRefund) => {
        const left = counted.filter(({ found }) => isOpen(found, at))
        if (!isRefund) return left.forEach(({ found }) => { found.count-- })
        const hasOwn = counted.some(({ isOwn }) => isOwn)
        const bounded = left.filter(({ isOwn }) => isOwn || !hasOwn)
        const giving = bounded.filter(({ found, limit }) => found.refunds < limit)
        const isRefusedByAll = bounded.length > 0 && giving.length === 0
        for (const { found, isOwn } of left) if (hasOwn && !isOwn && !isRefusedByAll) found.count--
        for (const { found } of giving) {
          found.count--
          found.refunds++
        }
      }
    },
    remaining: (at: number, buckets: readonly Bucket[]) =>
      each(buckets).map(({ bucket, window, limit }) => limit - (open(at, bucket, window)?.count ?? 0))
  }
}

const windows = fc.record(
  { minute: fc.integer({ min: 1, max: 3 }), hour: fc.integer({ min: 1, max: 5 }), day: fc.integer({ min: 1, max: 8 }) },
  { requiredKeys: [] }
)
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('take' as const), who: fc.nat(2) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('giveBack', 'refund'), which: fc.nat(20) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('fail' as const), who: fc.nat(2) }) },
  {
    weight: 2,
    arbitrary: fc.record(
      { do: fc.constant('wait' as const), ms: fc.constantFrom(1, 59_999, 60_000, 3_600_000, 86_400_000) }
    )
  }
)

t.test('E10, edge M4: the memory store takes, refuses, gives back and refunds as the model does', async (t) => {
  fc.assert(fc.property(fc.tuple(
    windows, windows
  ), windows, fc.array(step, { maxLength: 60 }), ([first, second], total, steps) => {
    const { clock, take, peek } = store()
    const expected = model()
    const taken: [Take, PutBack][] = []
    const bucketsOf = (who: number): Bucket[] =>
      [caller(String(who), who === 0 ? first : second), { key: 'policy:p', windows: total }]
        .filter(({ windows }) => Object.keys(windows).length > 0)
    const putBack = (which: number, how: 'giveBack' | 'refund') => {
      for (const [one, other] of taken.splice(which % (taken.length || 1), 1)) {
        one[how]()
        other(clock.ms, how === 'refund')
      }
    }
    for (const next of steps) {
      if (next.do === 'wait') clock.ms += next.ms
      if (next.do === 'giveBack' || next.do === 'refund') putBack(next.which, next.do)
      if (next.do === 'take' || next.do === 'fail') {
        const buckets = bucketsOf(next.who)
        const before = expected.remaining(clock.ms, buckets)
        const [one, other] = [take(buckets), expected.take(clock.ms, buckets)]
        if (one.taken !== (other !== null)) throw new Error('taken by one alone')
        if (other !== null) taken.push([one, other])
        else if (expected.remaining(clock.ms, buckets).join() !== before.join()) {
          throw new Error('a refusal cost something')
        }
        if (other !== null && next.do === 'fail') putBack(taken.length - 1, 'refund')
      }
      for (const who of [0, 1, 2]) {
        const seen = (peek(bucketsOf(who)) as Take['windows']).map(({ remaining }) => remaining)
        if (seen.join() !== expected.remaining(clock.ms, bucketsOf(who)).join()) {
          throw new Error(`${seen.join()} remain`)
        }
      }
    }
  }), { numRuns: times(200) })
  t.pass('2000 runs')
})

t.test('all windows are taken, or none', async (t) => {
  const { take, peek } = store()
  const buckets = [caller('a', { minute: 5, day: 5 }), { key: 'policy:p', windows: { day: 2 } }]
  t.ok(take(buckets).taken)
  t.ok(take(buckets).taken)
  const refused = take(buckets)
  t.notOk(refused.taken)
  refused.giveBack()
  refused.refund()
  t.same(
    (await peek(buckets)).map(({ window, remaining }) => [window, remaining]), [['minute', 3], ['day', 3], ['day', 0]]
  )
})

t.test('what was taken from a window that has ended is not given to the next one', async (t) => {
  const { clock, take, peek } = store()
  const buckets = [caller('a', { minute: 2, day: 9 })]
  const first = take(buckets)
  clock.ms = 60_000
  take(buckets)
  first.giveBack()
  t.same((await peek(buckets)).map(({ remaining }) => remaining), [1, 8])
})

t.test('a window opens with its first mint, and is closed again where that is given back', async (t) => {
  const { clock, take, peek } = store()
  const buckets = [caller('a', { minute: 1 })]
  t.match(await peek(buckets), [{ remaining: 1, resetMs: 60_000 }])
  const first = take(buckets)
  clock.ms = 30_000
  t.match(await peek(buckets), [{ remaining: 0, resetMs: 30_000 }])
  first.giveBack()
  t.match(take(buckets).windows, [{ remaining: 0, resetMs: 60_000 }])
  clock.ms = 89_999
  t.notOk(take(buckets).taken)
  clock.ms = 90_000
  t.ok(take(buckets).taken)
})

t.test('edge M4: a window that has given a refund stays open, and gives no more than it holds', async (t) => {
  const { clock, take, peek } = store()
  const buckets = [caller('a', { minute: 2 })]
  const fail = () => {
    const { taken, refund } = take(buckets)
    refund()
    return taken
  }
  t.same(Array.from({ length: 6 }, () => fail()), [true, true, true, true, false, false])
  clock.ms = 59_999
  t.notOk(take(buckets).taken)
  clock.ms = 60_000
  t.ok(take(buckets).taken)
  t.match(await peek(buckets), [{ remaining: 1 }])
})

t.test('edge M4: what one caller\'s failures take from a total is within that caller\'s own limits', async (t) => {
  const { clock, take, peek } = store()
  const total = { key: 'policy:p', windows: { day: 1000 } }
  for (let minute = 0; minute < 60; minute++) {
    for (let i = 0; i < 100; i++) take([caller('a', { minute: 2, hour: 50 }), total]).refund()
    clock.ms += 59_000
  }
  const taken = 1000 - ((await peek([total]))[0]?.remaining ?? 0)
  t.ok(taken > 0 && taken <= 50, String(taken))
})

t.test('edge M4: an outage leaves a total as it was, unless nothing else bounds what it gives back', async (t) => {
  const { take, peek } = store()
  const total = { key: 'policy:p', windows: { day: 3 } }
  for (let i = 0; i < 100; i++) take([caller(String(i), { day: 1 }), total]).refund()
  t.match(await peek([total]), [{ remaining: 3 }])
  const alone = [{ key: 'policy:alone', windows: { day: 3 } }]
  const statuses = Array.from({ length: 8 }, () => {
    const { taken, refund } = take(alone)
    refund()
    return taken
  })
  t.equal(statuses.filter(Boolean).length, 6)
})

t.test('a limit that was lowered meanwhile leaves nothing rather than less', async (t) => {
  const { take } = store()
  for (let i = 0; i < 3; i++) take([caller('a', { day: 5 })])
  t.match(take([caller('a', { day: 2 })]), { taken: false, windows: [{ remaining: 0 }] })
})

t.test('a window that the policy no longer has neither counts nor gets in the way', async (t) => {
  const store = createMemoryStore()
  await store.take([{ key: 'caller:ada', windows: { minute: 1, day: 5 } }])
  const { taken, windows } = await store.take([{ key: 'caller:ada', windows: { day: 5 } }])
  t.ok(taken)
  t.match(windows, [{ window: 'day', remaining: 3 }])
})

t.test('E10: across the edge of a window at most twice the limit is taken', async (t) => {
  const { clock, take } = store()
  const bucket = caller('a', { minute: 10 })
  const takeAll = () => Array.from({ length: 20 }, () => take([bucket]).taken).filter(Boolean).length
  t.ok(take([bucket]).taken)
  clock.ms = 59_999
  t.equal(takeAll(), 9)
  clock.ms = 60_000
  t.equal(takeAll(), 10)
  clock.ms = 119_999
  t.equal(takeAll(), 0)
})

t.test('E10: a step of the wall clock opens no window', async (t) => {
  const { take } = createMemoryStore()
  const { now } = Date
  t.ok((await take([caller('a', { day: 1 })])).taken)
  for (const days of [2, -2]) {
    t.intercept(Date, 'now', { value: () => now() + days * 86_400_000 })
    t.notOk((await take([caller('a', { day: 1 })])).taken)
  }
})

t.test('E12: an exhausted caller is not forgotten, however many come after', async (t) => {
  const { take } = store(10_000)
  const exhausted = caller('exhausted', { day: 1 })
  t.ok(take([exhausted]).taken)
  const newcomers = times(100_000)
  let taken = 0
  for (let i = 0; i < newcomers; i++) if (take([caller(`one of many ${i}`, { day: 2 })]).taken) taken++
  t.equal(taken, newcomers)
  t.notOk(take([exhausted]).taken)
})

t.test('E12: an exhausted total of a policy is not forgotten either', async (t) => {
  const { take, peek } = store(100)
  const total = { key: 'policy:rare', windows: { day: 1000 } }
  take([caller('a', { day: 9 }), total])
  for (let i = 0; i < 1000; i++) take([caller(`one of many ${i}`, { day: 2 })])
  t.match(await peek([total]), [{ remaining: 999 }])
})

t.test('the window that was seen least recently is forgotten first', async (t) => {
  const { take, peek } = store(3)
  for (const name of ['a', 'b', 'c', 'a', 'd']) take([caller(name, { day: 9 })])
  const used = await Promise.all(
    ['a', 'b', 'c', 'd'].map(async (name) => 9 - ((await peek([caller(name, { day: 9 })]))[0]?.remaining ?? 9))
  )
  t.same(used, [2, 0, 1, 1])
})

t.test('where only exhausted callers are left a new one is refused, until one of them is free', async (t) => {
  const { clock, take } = store(3)
  for (const name of ['a', 'b', 'c']) {
    t.ok(take([caller(name, name === 'a' ? { minute: 1, day: 9 } : { day: 1 })]).taken)
  }
  const newcomer = [caller('d', { day: 9 })]
  for (const attempt of [1, 2]) {
    t.throws(
      () => take(newcomer), { code: 'limits_unavailable', reason: 'store_full', retryAfterSeconds: 60 }, String(attempt)
    )
  }
  t.notOk(take([caller('b', { day: 1 })]).taken, 'who is known is answered as ever')
  clock.ms = 60_000
  t.ok(take(newcomer).taken)
  clock.ms += 1
  t.match(take([caller('a', { minute: 1, day: 9 })]), { taken: true }, 'who is free again may be forgotten')
  t.notOk(take([caller('b', { day: 1 })]).taken)
})

t.test('a caller whose seconds were all taken and came back may be forgotten', (t) => {
  const limits = createMemoryStore({ now: () => 0, maxEntries: 3 })
  const seconds = [{ key: 'caller-seconds:a', windows: { day: 600 } }]
  const { slots } = limits.reserve({ buckets: [], seconds, most: 600, least: 5, credit: null }) as Reserved
  for (const name of ['b', 'c']) limits.take([caller(name, { day: 1 })])
  t.throws(() => limits.take([caller('d', { day: 1 })]), { code: 'limits_unavailable', reason: 'store_full' })
  limits.giveSecondsBack([], 590)
  t.throws(() => limits.take([caller('d', { day: 1 })]), { code: 'limits_unavailable', reason: 'store_full' })
  limits.giveSecondsBack(slots, 590)
  t.match(limits.take([caller('d', { day: 1 })]), { taken: true })
  t.end()
})

t.test('a caller and a total that find no room are refused together', async (t) => {
  const { take } = store(2)
  t.ok(take([caller('a', { day: 1 })]).taken)
  const both = [caller('b', { day: 1 }), { key: 'policy:p', windows: { day: 5 } }]
  t.throws(() => take(both), { code: 'limits_unavailable' })
  t.ok(take([caller('b', { day: 1 })]).taken, 'nothing of it was counted')
})

t.test('a window that is given back makes room', async (t) => {
  const { take } = store(1)
  const first = take([caller('a', { day: 1 })])
  t.throws(() => take([caller('b', { day: 1 })]))
  first.giveBack()
  t.ok(take([caller('b', { day: 1 })]).taken)
  first.giveBack()
})

t.test('the tightest window is the caller\'s own that is nearest to its end', async (t) => {
  const { take, close } = store()
  const { windows } = take([caller('a', { minute: 3, hour: 5, day: 3 }), { key: 'policy:p', windows: { day: 1 } }])
  t.match(tightest(windows), { window: 'day', limit: 3, remaining: 2 })
  t.equal(tightest([]), null)
  close()
})

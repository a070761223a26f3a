// The lease of a replica by itself, over minutes: the test decides when the store hangs or is away.

import t from 'tap'
import type { Call } from '../../src/calls/call.ts'
import { createReplica, type ReplicaDeps } from '../../src/calls/replica.ts'
import type { Adopted, Found, Sight } from '../../src/calls/shared.ts'
import type { SharedHolding } from '../../src/calls/shared-holding.ts'
import { createTestClock } from '../support/clock.ts'

const FAULTY = 'rtc_faulty'
const turn = () => new Promise((resolve) => setImmediate(resolve))
const SIGHT: Sight = { marker: 'm', isLost: false, own: 1, offered: 0, dead: 0, others: 0, messages: [], leftMs: null }

function startReplica (isLocal: boolean) {
  const clock = createTestClock()
  const state = {
    isUp: true,
    sight: SIGHT,
    late: Promise.resolve(),
    revision: 1,
    writes: [] as number[],
    isOwn: true,
    offered: [] as Adopted[],
    found: async (): Promise<Partial<Found>[]> => [],
    ended: 0,
    letGo: 0,
    logged: [] as string[],
    handed: [] as string[],
    handled: [] as number[],
    adopted: [] as (readonly [id: string, data: string, wish: string | undefined])[]
  }
  const call = {
    facts: { id: 'rtc_1' },
    state: () => 'live',
    revision: () => state.revision,
    snapshot: () => ({ record: {} })
  } as unknown as Call
  const holding = { written: () => ({}), noteWritten: () => {} } as unknown as SharedHolding
  const log = (_facts: object, text: string) => { state.logged.push(text) }
  const deps: ReplicaDeps = {
    clock,
    shared: {
      isUp: () => state.isUp,
      look: async (_replica, _leaseMs, { handled }) => {
        state.handled.push(handled)
        await state.late
        return state.sight
      },
      write: async (_replica, calls) => {
        state.writes.push(calls.length)
        return calls.map(() => state.isOwn ? 1 : null)
      },
      claim: async () => true,
      release: async () => {},
      adopt: async () => state.offered.splice(0),
      post: async () => {},
      handOver: async (calls) => { state.handed.push(...calls.map(({ id }) => id)) },
      read: async () => await state.found() as Found[],
      list: async () => []
    },
    isLocal,
    log: { info: log, warn: log, error: log },
    load: async () => {},
    own: () => state.letGo > 0 ? [] : [{ call, holding }],
    holds: () => true,
    countHeld: () => 1,
    endAll: () => { state.ended++ },
    letGo: () => { state.letGo++ },
    hear: () => {},
    adopt: ({ id, fields }, data) => {
      if (id === FAULTY) throw new TypeError('a fault of ours')
      state.adopted.push([id, data, fields.wish])
    }
  }
  const replica = createReplica(deps)
  replica.start()
  const pass = async (ms: number, step = 500) => {
    for (let left = ms; left > 0; left -= step) {
      clock.pass(Math.min(step, left))
      for (let i = 0; i < 5; i++) await turn()
    }
  }
  return { clock, state, replica, pass }
}

t.test('without Redis calls are ended after 20 s and let go after 28 s, under a new name', async (t) => {
  const { state, replica, pass } = startReplica(false)
  const name = replica.id()
  t.same(state.logged, ['calls are shared'])
  await pass(1000)
  state.isUp = false
  await pass(19_000)
  t.equal(state.ended, 0)
  await pass(2000)
  t.ok(state.ended > 0)
  t.equal(state.letGo, 0)
  t.equal(replica.mayAct(), true)
  await pass(8000)
  t.equal(state.letGo, 1)
  t.not(replica.id(), name)
  t.ok(state.logged.some((text) => /lease on calls has run out/.test(text)))
})

t.test('an answer that comes after the lease has run out is not acted on', async (t) => {
  const { clock, state, pass } = startReplica(false)
  await pass(1000)
  const { promise, resolve } = Promise.withResolvers<void>()
  state.late = promise
  state.sight = { ...SIGHT, messages: [{ call: 'rtc_1', text: 'taken' }] }
  await pass(500)
  clock.pass(28_000)
  resolve()
  await turn()
  t.match(state, { handed: [], letGo: 1, logged: ['calls are shared', /has run out/] })
})

t.test('a call is written down once, and every ten seconds if it has changed', async (t) => {
  const { state, pass } = startReplica(false)
  const written = () => state.writes.reduce((sum, count) => sum + count, 0)
  await pass(60_000)
  t.equal(written(), 1)
  state.revision++
  await pass(10_000)
  t.equal(written(), 2)
})

t.test('a replica that goes on without Redis keeps its calls', async (t) => {
  const { state, replica, pass } = startReplica(true)
  await pass(1000)
  state.isUp = false
  await pass(60_000)
  t.same([state.ended, state.letGo], [0, 0])
  t.equal(replica.mayAct(), true)
})

t.test('what others want is asked for again until the answer has come', async (t) => {
  const { state, pass } = startReplica(false)
  state.sight = { ...SIGHT, messages: [{ call: 'rtc_1', text: 'client' }] }
  await pass(1000)
  state.isUp = false
  await pass(1000)
  state.isUp = true
  state.handled = []
  await pass(1000)
  t.same(state.handled, [0, 1])
  state.sight = SIGHT
  await pass(1000)
  t.same(state.handled.slice(2), [1, 0])
})

t.test('a call that another has taken is handed over once', async (t) => {
  const { state, replica, pass } = startReplica(false)
  await pass(1000)
  state.sight = { ...SIGHT, messages: [{ call: 'rtc_1', text: 'taken' }, { call: 'rtc_2', text: 'taken' }] }
  await replica.leave()
  t.same(state.handed, ['rtc_1'])
  t.equal(state.letGo, 1)
  await replica.stop()
})

t.test('a call that another has taken before it is known here is handed over, too', async (t) => {
  const { state, replica, pass } = startReplica(false)
  await pass(1000)
  await replica.leave()
  await pass(500)
  t.same(state.handed, [])
  await replica.withdraw()
  state.isOwn = false
  await replica.leave()
  t.same(state.handed, ['rtc_1'])
  t.equal(state.letGo, 1)
  await replica.stop()
})

const OFFERED: Adopted = {
  id: 'rtc_2', fence: 1, nowMs: 0, from: 'other', isOffered: true, fields: { caller: 'ada', policy: 'pro', data: 'old' }
}

t.test('an offered call is gone on with once its replica has let it go, with what was wished meanwhile', async (t) => {
  const { state, pass } = startReplica(false)
  await pass(500)
  state.sight = { ...SIGHT, offered: 1 }
  state.offered = [OFFERED]
  await pass(500, 50)
  state.found = async () => { throw new Error('Redis is late') }
  await pass(100, 50)
  state.found = async () => [{ rest: null, wish: null }]
  await pass(100, 50)
  t.same(state.adopted, [])
  state.found = async () => [{ rest: 'new', wish: 'client' }]
  await pass(100, 50)
  t.same(state.adopted, [['rtc_2', 'new', 'client']])
})

t.test('a replica that says nothing more of a call that it offered is waited for a second', async (t) => {
  const { state, pass } = startReplica(false)
  await pass(500)
  state.sight = { ...SIGHT, offered: 1 }
  state.offered = [OFFERED]
  await pass(1000, 50)
  t.same(state.adopted, [])
  await pass(1000, 50)
  t.same(state.adopted, [['rtc_2', 'old', undefined]])
})

t.test('a fault of ours at one call keeps no other from being taken over', async (t) => {
  const { state, pass } = startReplica(false)
  await pass(500)
  state.sight = { ...SIGHT, dead: 2 }
  state.offered = [{ ...OFFERED, id: FAULTY, isOffered: false }, { ...OFFERED, isOffered: false }]
  await pass(500)
  t.match(state, { adopted: [['rtc_2', 'old', undefined]] })
  t.ok(state.logged.includes('a call could not be taken over'))
})

t.test('a replica that loses its lease meanwhile does not go on with a call that it took', async (t) => {
  const { clock, state, pass } = startReplica(false)
  await pass(500)
  state.sight = { ...SIGHT, offered: 1 }
  state.offered = [OFFERED]
  await pass(500)
  state.isUp = false
  clock.pass(29_000)
  await pass(2000)
  t.same(state.adopted, [])
})

t.test('a replica that stops has taken over first what others are giving it', async (t) => {
  const { state, replica, pass } = startReplica(false)
  await pass(500)
  state.sight = { ...SIGHT, offered: 1 }
  state.offered = [OFFERED]
  await pass(500, 50)
  const left = replica.leave().then(() => state.adopted.length)
  for (let i = 0; i < 10; i++) await turn()
  state.found = async () => [{ rest: 'new', wish: null }]
  await pass(100, 50)
  t.equal(await left, 1, 'so that it is offered like its other calls')
  await replica.stop()
})

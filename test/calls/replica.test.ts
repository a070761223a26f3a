// The lease of a replica by itself, where minutes pass: the store stands still or is away as the test says.

import t from 'tap'
import type { Call } from '../../src/calls/call.ts'
import { createReplica, type ReplicaDeps } from '../../src/calls/replica.ts'
import type { Sight } from '../../src/calls/shared.ts'
import type { SharedHolding } from '../../src/calls/shared-holding.ts'
import { createTestClock } from '../support/clock.ts'

const turn = () => new Promise((resolve) => setImmediate(resolve))
const SIGHT: Sight = { marker: 'm', isLost: false, own: 1, offered: 0, dead: 0, others: 0, messages: [], leftMs: null }

function startReplica (isLocal: boolean) {
  const clock = createTestClock()
  const state = { isUp: true, sight: SIGHT, ended: 0, letGo: 0, logged: [] as string[], handed: [] as string[] }
  const call = {
    facts: { id: 'rtc_1' },
    state: () => 'live',
    revision: () => 1,
    snapshot: () => ({ record: {} })
  } as unknown as Call
  const holding = { written: () => ({}), noteWritten: () => {} } as unknown as SharedHolding
  const log = (_facts: object, text: string) => { state.logged.push(text) }
  const deps: ReplicaDeps = {
    clock,
    shared: {
      isUp: () => state.isUp,
      look: async () => state.sight,
      write: async (_replica, calls) => calls.map(() => true),
      claim: async () => true,
      release: async () => {},
      adopt: async () => [],
      post: async () => {},
      handOver: async (calls) => { state.handed.push(...calls.map(({ id }) => id)) },
      read: async () => [],
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
    adopt: () => {}
  }
  const replica = createReplica(deps)
  replica.start()
  const pass = async (ms: number) => {
    for (let left = ms; left > 0; left -= 500) {
      clock.pass(Math.min(500, left))
      for (let i = 0; i < 5; i++) await turn()
    }
  }
  return { clock, state, replica, pass }
}

t.test('without Redis calls are ended after 20 s and let go after 28 s, under a new name', async (t) => {
  const { state, replica, pass } = startReplica(false)
  const name = replica.id()
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

t.test('a replica that goes on without Redis keeps its calls', async (t) => {
  const { state, replica, pass } = startReplica(true)
  await pass(1000)
  state.isUp = false
  await pass(60_000)
  t.same([state.ended, state.letGo], [0, 0])
  t.equal(replica.mayAct(), true)
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

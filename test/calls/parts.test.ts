// The parts of a call by themselves, for cases that a test over the wire cannot show.

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { type Calls, type CallsDeps, createCalls } from '../../src/calls/calls.ts'
import { startHangUp } from '../../src/calls/hang-up.ts'
import type { Snapshot } from '../../src/calls/holding.ts'
import { createLeash } from '../../src/calls/leash.ts'
import { createPlaces } from '../../src/calls/place.ts'
import { createRemoteCalls, type KnownCall, viewIn } from '../../src/calls/remote.ts'
import type { Adopted, Found, Sight } from '../../src/calls/shared.ts'
import { holdShared, type SharedHoldingDeps } from '../../src/calls/shared-holding.ts'
import type { CallView } from '../../src/calls/view.ts'
import { type Clock, systemClock } from '../../src/clock.ts'
import { ApiError } from '../../src/errors.ts'
import type { JsonObject } from '../../src/json.ts'
import type { Reserved } from '../../src/limits/limits.ts'
import { REALTIME_CALLS } from '../../src/realtime/call-protocol.ts'
import type { CallEnd } from '../../src/records/audit.ts'
import { CALL_RULES, rulesOf } from '../policy/harness.ts'
import { errorEvent, responseCreated } from '../support/call-events.ts'
import { createTestClock, type TestClock } from '../support/clock.ts'
import { until } from '../support/until.ts'
import { startGuardWorld } from './guard-world.ts'

const turn = () => new Promise((resolve) => setImmediate(resolve))

t.test('call: hang-up: restarted by an operator, never faster than one a second, never two', async (t) => {
  const clock = createTestClock()
  const attempts: { atMs: number, settle: (isOver: boolean) => void }[] = []
  const hangUp = startHangUp({
    clock,
    attempt: () => {
      const { promise, resolve } = Promise.withResolvers<boolean>()
      attempts.push({ atMs: clock.monotonicMs(), settle: resolve })
      return promise
    },
    untilMs: 3_600_000
  })
  hangUp.again()
  t.equal(attempts.length, 1, 'one is on its way')
  attempts[0]?.settle(false)
  await hangUp.first
  hangUp.again()
  hangUp.again()
  clock.pass(999)
  t.equal(attempts.length, 1)
  clock.pass(1)
  t.equal(attempts.length, 2)
  attempts[1]?.settle(false)
  await turn()
  clock.pass(900)
  hangUp.again()
  clock.pass(99)
  t.equal(attempts.length, 2)
  clock.pass(1)
  t.equal(attempts.length, 3)
  hangUp.confirm()
  attempts[2]?.settle(false)
  await turn()
  hangUp.again()
  clock.pass(100_000)
  t.equal(attempts.length, 3)
  t.equal(await hangUp.done, true)
})

t.test('call: hang-up: an attempt that fails at the longest possible end is the last', async (t) => {
  const clock = createTestClock()
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const hangUp = startHangUp({ clock, attempt: () => promise, untilMs: clock.monotonicMs() + 10 })
  clock.pass(10)
  resolve(false)
  t.equal(await hangUp.done, false)
  hangUp.confirm()
})

t.test('call: hang-up: one that another replica goes on with is aborted, and not tried again', async (t) => {
  const clock = createTestClock()
  let attempts = 0
  const hangUp = startHangUp({
    clock,
    attempt: async (signal) => {
      attempts++
      return new Promise((resolve) => signal.addEventListener('abort', () => resolve(false)))
    },
    untilMs: 3_600_000
  })
  hangUp.abort()
  t.equal(await hangUp.done, false)
  await turn()
  t.equal(hangUp.underWay(), null)
  clock.pass(100_000)
  t.equal(attempts, 1)
})

const FOUND: Found = {
  nowMs: 0,
  caller: 'ada',
  policy: 'pro',
  owner: 'other',
  state: 'offered',
  bornMs: 0,
  wish: null,
  view: null,
  data: null,
  rest: null,
  isWaiting: false,
  isAdopted: false
}

t.test('call: one that ends and is offered to other replicas is shown as ending', (t) => {
  const found = { ...FOUND, view: JSON.stringify({ status: 'ending', end_reason: 'idle', seconds: 7 }) }
  t.match(viewIn(found), { status: 'ending', end_reason: 'idle' })
  const view = JSON.stringify({ status: 'live', end_reason: null, seconds: 7 })
  t.match(viewIn({ ...found, view }), { status: 'live' })
  t.match(viewIn({ ...found, view, wish: 'client' }), { status: 'ending', end_reason: 'client' })
  t.equal(viewIn({ ...found, view: 'damaged' }), null)
  t.end()
})

t.test('call: those of other replicas are ended and read together; an answer that is missing is no end', async (t) => {
  const clock = createTestClock()
  const asked: string[] = []
  let answer = async (): Promise<(Found | null)[]> => { throw new ApiError('limits_unavailable') }
  const remoteCall = createRemoteCalls({
    clock,
    shared: {
      post: async (wish, ids) => { asked.push(`${wish} ${ids.join()}`) },
      read: async (ids) => {
        asked.push(`read ${ids.join()}`)
        return answer()
      }
    }
  })
  const over: string[] = []
  const ending = (id: string): KnownCall => {
    const call = remoteCall(id, { ...FOUND, state: 'done' }) as KnownCall
    call.over.then(() => over.push(id))
    return call
  }
  const [one, two, three] = ['one', 'two', 'three'].map(ending)
  one?.end('operator')
  two?.end('operator')
  three?.end('blocked')
  await turn()
  await turn()
  t.same(asked.splice(0), ['operator one,two', 'blocked three', 'read one,two,three'])
  t.same(over, [])
  answer = async () => [FOUND, { ...FOUND, state: 'done' }, null]
  clock.pass(100)
  await turn()
  t.same(over, ['two', 'three'])
  ending('two').end('operator')
  await turn()
  t.same(asked.splice(0), ['read one,two,three', 'operator two'], 'no second reader')
  answer = async () => [FOUND, FOUND]
  for (let looks = 0; looks < 60; looks++) {
    clock.pass(100)
    await turn()
  }
  t.same(over, ['two', 'three', 'one', 'two'], 'no longer than any request waits')
  t.equal(asked.length, 60)
})

t.test('call: hang-up: the longest possible end comes before the next attempt', async (t) => {
  const clock = createTestClock()
  let attempts = 0
  const hangUp = startHangUp({
    clock,
    attempt: async () => {
      attempts++
      return false
    },
    untilMs: clock.monotonicMs() + 1500
  })
  await hangUp.first
  clock.pass(1000)
  await turn()
  clock.pass(499)
  t.equal(attempts, 2)
  clock.pass(1)
  t.equal(await hangUp.done, false)
  t.equal(attempts, 2)
})

t.test('call: leash: what is heard before the answer counts, and nothing ends before it but the longest', (t) => {
  const clock = createTestClock()
  const ended: string[] = []
  const leash = createLeash({
    clock, bornMs: clock.monotonicMs(), maxSeconds: 60, idleSeconds: 5, onEnd: (reason) => ended.push(reason)
  })
  leash.join()
  leash.join()
  clock.pass(10_000)
  t.same(ended, [])
  leash.begin()
  leash.handle({ is: 'error', code: null, eventId: null })
  clock.pass(4999)
  t.same(ended, [])
  clock.pass(1)
  t.same(ended, ['idle'])
  t.end()
})

t.test('call: leash: responses without an id, and too many of them, hold no call for ever', (t) => {
  const clock = createTestClock()
  const ended: string[] = []
  const leash = createLeash({
    clock, bornMs: clock.monotonicMs(), maxSeconds: 60, idleSeconds: 5, onEnd: (reason) => ended.push(reason)
  })
  leash.begin()
  leash.join()
  const opened = { is: 'response', isOpen: true, isOutOfBand: false, settings: {} } as const
  leash.handle({ ...opened, id: null })
  t.same(leash.openResponses(), [''])
  leash.handle({ is: 'response', id: null, isOpen: false, isFailed: false, usage: null })
  for (let i = 0; i < 300; i++) leash.handle({ ...opened, id: `resp_${i}` })
  t.equal(leash.openResponses().length, 256)
  leash.forget()
  t.same(leash.openResponses(), [])
  leash.shorten(600, 600)
  t.same(ended, [])
  leash.endBy(0)
  t.equal(leash.endsAtMs(), 0)
  clock.pass(0)
  t.same(ended, ['max_duration'])
  t.end()
})

t.test('call: leash: a shorter idle_seconds before anyone joined leaves the time to join', (t) => {
  const clock = createTestClock()
  const ended: string[] = []
  const leash = createLeash({
    clock, bornMs: clock.monotonicMs(), maxSeconds: 600, idleSeconds: 100, onEnd: (reason) => ended.push(reason)
  })
  leash.begin()
  leash.shorten(600, 10)
  clock.pass(99_999)
  t.same(ended, [])
  clock.pass(1)
  t.same(ended, ['never_connected'])
  t.end()
})

t.test('call: places: a call that no longer waits for a place counts in no total', (t) => {
  const places = createPlaces(10)
  const ask = { caller: 'ada', concurrent: 1, whenFull: 'replace', total: 1 } as const
  const old = places.take({ ...ask, call: 'old', policy: 'pro' })
  old.offer()
  const other = places.take({ ...ask, call: 'other', policy: 'free' })
  t.equal(other.replaces, 'old')
  t.throws(() => places.take({ ...ask, caller: 'bob', call: 'bob', policy: 'free' }), { code: 'calls_full' })
  other.release()
  const same = places.take({ ...ask, call: 'same', policy: 'pro' })
  same.release()
  t.throws(() => places.take({ ...ask, caller: 'bob', call: 'bob', policy: 'pro' }), { code: 'calls_full' })
  places.take({ ...ask, caller: 'bob', call: 'bob', policy: 'free' }).release()
  old.release()
  t.equal(places.taken(), 0)
  places.take({ ...ask, call: 'next', policy: 'pro' })
  t.equal(places.taken(), 1)
  t.end()
})

t.test('call: the id is read from what ends in a call, and from nothing else', (t) => {
  const { idIn } = REALTIME_CALLS
  t.equal(idIn('/v1/realtime/calls/rtc_u2_A-b'), 'rtc_u2_A-b')
  t.equal(idIn('https://elsewhere.test/openai/v1/realtime/calls/rtc_1'), 'rtc_1')
  for (const location of [
    '', '/', 'http://[', '/v1/realtime/calls/', '/v1/realtime/calls/sess_1', '/v1/realtime/calls/rtc_1/hangup',
    '/v1/realtime/calls/rtc_%2e', `/v1/realtime/calls/rtc_${'x'.repeat(201)}`
  ]) t.equal(idIn(location), null, location)
  t.end()
})

t.test('call: a read says the first field again that the policy fixes, and never the model', (t) => {
  const read = (fixed: JsonObject) => REALTIME_CALLS.readEvent('e', fixed).session
  t.same(read({}), { type: 'realtime' })
  t.same(read({ model: 'gpt', tools: [] }), { type: 'realtime' })
  t.same(read({ instructions: 'a', max_output_tokens: 5 }), { type: 'realtime', max_output_tokens: 5 })
  t.same(read({ instructions: 'a', tool_choice: 'none' }), { type: 'realtime', tool_choice: 'none' })
  t.end()
})

t.test('call: guard: nothing before the first session counts, and ids of its own old events are forgotten', (t) => {
  const rules = rulesOf({ session: { fixed: { instructions: 'Ours.' }, calls: {} } })
  const world = startGuardWorld(rules, { isUnreported: true })
  world.report(responseCreated('resp_1', { conversation_id: null }))
  world.settle()
  t.same(world.changes, [])
  world.update({ instructions: 'Ours.' })
  world.settle()
  world.clock.pass(70 * 20_000)
  world.settle()
  t.equal(world.sent.length, 70)
  world.report(errorEvent('invalid_value', 'ephemint_1'))
  world.settle()
  t.equal(world.isOver(), false)
  world.report(errorEvent('invalid_value', 'ephemint_70'))
  world.settle()
  t.equal(world.isOver(), true)
  world.update({ instructions: 'Mine.' })
  world.settle()
  t.equal(world.sent.length, 70, 'nothing is sent after the end')
  t.end()
})

t.test('call: event check: a voice that is not a string is compared as a value', (t) => {
  const rules = rulesOf({ session: { fixed: { audio: { output: { voice: 'marin' } } }, calls: {} } })
  const world = startGuardWorld(rules)
  world.report(responseCreated('resp_1', { audio: { output: { voice: { id: 'voice_1' } } } }))
  world.settle()
  t.match(world.changes, [{ did: 'cancelled' }])
  t.end()
})

t.test('call: what events lack is null, not an error', (t) => {
  const signal = (type: string, body: JsonObject | undefined) => REALTIME_CALLS.signalOf(type, () => body)
  t.match(signal('session.updated', { session: {} }), { expiresAtSeconds: null })
  t.equal(signal('session.updated', {}), null)
  t.same(signal('session.updated', undefined), { is: 'unreadable' })
  t.match(signal('response.done', { response: 7 }), { id: null, usage: null, isFailed: false })
  t.match(signal('conversation.item.input_audio_transcription.completed', {}), { itemId: null, usage: null })
  t.match(signal('input_audio_buffer.committed', {}), { itemId: null })
  t.match(signal('error', { error: null }), { code: null, eventId: null })
  t.match(signal('response.created', {}), { id: null, isOutOfBand: false, settings: {} })
  const item = { id: null, type: null, role: null, callId: null, tool: null }
  t.same(signal('conversation.item.added', {}), { is: 'item', item })
  t.same(signal('response.output_item.added', { item: 7 }), { is: 'output', responseId: null, item })
  t.same(signal('conversation.item.deleted', {}), { is: 'removed', itemId: null })
  t.same(signal('mcp_list_tools.failed', {}), { is: 'mcp', responseId: null, itemId: null })
  t.end()
})

t.test('clock: a moment that has passed is now, without a warning of Node\'s', async (t) => {
  const warned: string[] = []
  const listen = ({ name }: Error) => { warned.push(name) }
  process.on('warning', listen)
  t.teardown(() => process.off('warning', listen))
  let isDone = false
  systemClock.after(-20_000, () => { isDone = true })
  await until('it to be called back', () => isDone)
  t.same(warned, [])
})

const nothing = () => {}
const OWNER = { issuer: 'https://issuer.test/', subject: 'ada', safetyIdentifier: 'ada' }
const RESERVED = {
  taken: true, seconds: 60, slots: [], windows: [], secondsWindows: [], giveBack: nothing, refund: nothing
} as const
const WINDOWS = { buckets: [], seconds: [], most: 60, least: 5 }

function callsWith ({
  sharing = null, clock = systemClock, reserved = RESERVED, hangUp = async () => true, conclude = async () => {}
}: Readonly<{
  sharing?: CallsDeps['sharing']
  clock?: Clock
  reserved?: Reserved
  hangUp?: CallsDeps['upstream']['hangUp']
  conclude?: CallsDeps['audit']['conclude']
}> = {}): Calls {
  return createCalls({
    clock,
    protocol: REALTIME_CALLS,
    upstream: { create: () => Promise.reject(new Error('not asked')), hangUp },
    dial: () => ({ send: nothing, close: nothing }),
    limits: { giveSecondsBack: nothing, reserve: () => reserved },
    audit: { conclude, change: nothing, record: nothing },
    metrics: { ended: nothing, reopened: nothing, changed: nothing },
    log: { info: nothing, warn: nothing, error: nothing },
    claimsRead: () => new Set(),
    places: createPlaces(1),
    sharing
  })
}

const factsWith = (session: JsonObject) => ({
  ...OWNER,
  requestId: 'request',
  claims: {},
  policy: 'pro',
  kind: 'realtime',
  asked: {},
  conceal: null,
  granted: { session, model: 'gpt-realtime-2.1', prompt: null },
  rules: CALL_RULES,
  fixed: session,
  hasDataChannel: true,
  checkSession: (baseline: JsonObject) => ({ baseline, refused: [], ignored: [], reportedOnly: [], corrections: [] })
} as const)

t.test('call: one that has ended keeps nothing of its session, and can be read', async (t) => {
  const calls = callsWith()
  async function callAndEnd (): Promise<[id: string, session: WeakRef<JsonObject>]> {
    const session = { instructions: 'You are Ada.' }
    const call = calls.begin(factsWith(session))
    await call.reserve(WINDOWS)
    call.created({ id: 'rtc_1', key: {}, dateMs: null })
    call.end('client')
    await call.over
    return [call.facts.id, new WeakRef(session)]
  }
  const [id, session] = await callAndEnd()
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  await until('the session to be forgotten', async () => {
    await turn()
    collect()
    return session.deref() === undefined
  })
  t.match((await calls.find(OWNER, id))?.view(), { status: 'ended', end_reason: 'client' })
})

/** A call that a dead replica left. */
const leftBehind = (id: string, fields: Readonly<{ data: string, state: string }>): Adopted => ({
  id, fence: 2, nowMs: 0, from: 'before', isOffered: false, fields: { caller: 'ada', policy: 'pro', ...fields }
})

const SIGHT: Sight = {
  marker: 'm', isLost: false, own: 1, offered: 0, dead: 0, others: 0, messages: [], leftMs: null
}
const sharedState = () => ({ isUp: true, sight: SIGHT, left: [] as Adopted[], listed: 0 })

function sharingOf (state: ReturnType<typeof sharedState>, clock: Clock): NonNullable<CallsDeps['sharing']> {
  return {
    clock,
    isLocal: false,
    currentRules: () => ({ maxSeconds: 60, idleSeconds: 60 }),
    load: async () => {},
    onAdopted: nothing,
    regrant: () => { throw new Error('not asked') },
    key: () => ({}),
    shared: {
      isUp: () => state.isUp,
      look: async () => state.sight,
      adopt: async () => state.left.splice(0),
      list: async () => {
        state.listed++
        return []
      },
      read: async () => [],
      write: async () => [],
      claim: async () => true,
      release: async () => {},
      post: async () => {},
      handOver: async () => {}
    }
  }
}

const passerOf = (clock: TestClock) => async (seconds: number): Promise<void> => {
  for (let left = seconds * 2; left > 0; left--) {
    clock.pass(500)
    for (let i = 0; i < 10; i++) await turn()
  }
}

const snapshotOf = (state: string) => ({ state, ageMs: 0, record: {}, view: null }) as unknown as Snapshot

/** Holds a call that began without Redis, which is there again. */
async function holdAlone (
  shared: Pick<SharedHoldingDeps['shared'], 'write' | 'claim' | 'release'>, writeLine: SharedHoldingDeps['writeLine']
) {
  const holding = holdShared({
    clock: createTestClock(),
    shared: { ...shared, isUp: () => true, read: async () => [], handOver: async () => {} },
    limits: { reserve: async () => RESERVED, giveSecondsBack: nothing },
    replica: { id: () => 'one', mayAct: () => true, ready: async () => {} },
    isLocal: true,
    replacedAlone: () => null,
    writeLine,
    onReleased: nothing
  }, { call: 'rtc_1', caller: 'ada', policy: 'pro', concurrent: 1, whenFull: 'refuse', total: null })
  await holding.reserve(WINDOWS, () => snapshotOf('setup'))
  const conclude = () => holding.conclude({
    line: () => ({}) as CallEnd,
    starting: Promise.resolve(),
    view: {} as CallView,
    record: () => snapshotOf('setup').record,
    unusedSeconds: 0
  })
  return { write: holding.write, conclude }
}

t.test('call: one that began without Redis is claimed at its end where it may have been written down', async (t) => {
  const steps: string[] = []
  const { write, conclude } = await holdAlone({
    write: async () => { throw new ApiError('limits_unavailable', { reason: 'redis_timeout' }) },
    claim: async (id) => Boolean(steps.push(`claimed ${id}`)),
    release: async (id) => { steps.push(`released ${id}`) }
  }, async (_line, onWritten = nothing) => {
    steps.push('line')
    onWritten()
  })
  await t.rejects(write(snapshotOf('setup')), { code: 'limits_unavailable' })
  await conclude()
  t.same(steps, ['claimed rtc_1', 'line', 'released rtc_1'])
})

t.test('call: one that began without Redis goes on by the fence that Redis then gives it', async (t) => {
  const fences: number[] = []
  const { write, conclude } = await holdAlone({
    write: async (_replica, [call]) => [fences.push(call?.fence ?? 0) * 1000],
    claim: async (_id, fence) => fences.push(fence) > 0,
    release: async () => {}
  }, async () => {})
  await write(snapshotOf('live'))
  await write(snapshotOf('live'))
  await conclude()
  t.same(fences, [1, 1000, 2000])
})

t.test('call: a replica without its lease hangs up no call whose record is damaged, and writes no line', async (t) => {
  const clock = createTestClock()
  const state = sharedState()
  const hungUp: number[] = []
  const lines: string[] = []
  const calls = callsWith({
    clock,
    sharing: sharingOf(state, clock),
    hangUp: async () => {
      hungUp.push(clock.monotonicMs())
      return false
    },
    conclude: async ({ call_id: id }) => { lines.push(id) }
  })
  const pass = passerOf(clock)
  calls.start()
  await pass(1)
  state.left = [leftBehind('rtc_damaged', { data: '{"id":"rtc_1","key":""', state: 'live' })]
  state.sight = { ...SIGHT, dead: 1 }
  await pass(15)
  t.equal(hungUp.length, 3)
  state.isUp = false
  await pass(30)
  const before = hungUp.length
  await pass(3600)
  t.equal(hungUp.length, before)
  t.same(lines, [], 'another replica may have the call')
})

for (const [whose, fence, givenBack] of [['another replica\'s', null, 0], ['its own', 7, 1]] as const) {
  t.test(`call: what was taken for a lost creation is given back once: Redis says it is ${whose}`, async (t) => {
    const clock = createTestClock()
    let count = 0
    const sharing = sharingOf(sharedState(), clock)
    const calls = callsWith({
      clock,
      reserved: { ...RESERVED, placed: { fence: 1, replaces: null }, refund: () => { count++ } },
      sharing: { ...sharing, shared: { ...sharing.shared, write: async () => [fence] } }
    })
    calls.start()
    await passerOf(clock)(1)
    const call = calls.begin(factsWith({}))
    const reserved = await call.reserve(WINDOWS)
    await call.noteUnknown()
    await reserved.refund()
    t.equal(count, givenBack)
  })
}

t.test('call: a stop that has served for long gives hang-ups up while it still can write what is left', async (t) => {
  const clock = createTestClock()
  const lines: CallEnd[] = []
  const sharing = sharingOf(sharedState(), clock)
  const calls = callsWith({
    clock,
    reserved: { ...RESERVED, placed: { fence: 1, replaces: null } },
    hangUp: async () => false,
    conclude: async (line) => { lines.push(line) },
    sharing: { ...sharing, shared: { ...sharing.shared, write: async (_replica, calls) => calls.map(() => 1) } }
  })
  const pass = passerOf(clock)
  calls.start()
  await pass(1)
  const call = calls.begin(factsWith({}))
  await call.reserve(WINDOWS)
  call.created({ id: 'rtc_1', key: {}, dateMs: null })
  const drained = Promise.withResolvers<void>()
  let isStopped = false
  calls.stop(drained.promise, 22_000).then(() => { isStopped = true })
  await pass(20)
  drained.resolve()
  await pass(1)
  t.same(lines, [])
  await pass(1.5)
  t.match(lines, [{ reason: 'shutdown', hangup_confirmed: false }])
  t.ok(isStopped)
})

t.test('call: a replica without its lease gives nothing back, and holds what it takes again', async (t) => {
  const clock = createTestClock()
  const state = { ...sharedState(), givenBack: 0 }
  const calls = callsWith({
    clock,
    reserved: { ...RESERVED, placed: { fence: 1, replaces: null }, giveBack: () => { state.givenBack++ } },
    sharing: sharingOf(state, clock)
  })
  const pass = passerOf(clock)
  calls.start()
  await pass(1)
  const call = calls.begin(factsWith({}))
  const reserved = await call.reserve(WINDOWS)
  // Upstream may have created the call: its place is kept for a minute.
  call.abandon(true)
  state.isUp = false
  await pass(30)
  await reserved.giveBack()
  t.equal(state.givenBack, 0, 'another replica may have done so')
  state.left = [leftBehind(call.facts.id, { data: '', state: 'unknown' })]
  state.sight = { ...SIGHT, dead: 1 }
  state.isUp = true
  await pass(3)
  state.sight = SIGHT
  state.listed = 0
  await pass(40)
  t.equal(state.listed, 0, 'as many are held as Redis says')
  await pass(30)
  t.not(state.listed, 0, 'the place is given back a minute after it was taken again')
})

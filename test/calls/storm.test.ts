// Callers who ask for more calls than they may have: at once, in loops, and gone at any moment.
// Rounds: some hundred calls in each.

import fc from 'fast-check'
import t, { type Test } from 'tap'
import { confirm, open } from '../support/call-replies.ts'
import { ANSWER } from '../support/sdp.ts'
import { times } from '../support/times.ts'
import { until } from '../support/until.ts'
import { type CallsApp, startCalls } from './harness.ts'

/** Waits for `count` turns of the event loop, which takes no real time. */
async function turns (count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise<void>((resolve) => setImmediate(resolve))
}

/** Delays each step of upstream, so that clients disconnect at every moment of a creation. */
function slowDown ({ upstream }: CallsApp, next: () => number): void {
  upstream.onCreate(async (request, response) => {
    await turns(next())
    const { id } = request.open()
    await turns(next())
    response.writeHead(201, { location: `/v1/realtime/calls/${id}` })
    response.flushHeaders()
    await turns(next())
    response.end(ANSWER)
  })
  upstream.onAttach(async (attach) => {
    await turns(next())
    open(attach)
  })
  upstream.onHangUp(async (request, response) => {
    await turns(next())
    confirm(request, response)
  })
}

type Client = Readonly<{ tries: number, pause: number, goes: number | null, hangsUp: number }>

const TRIES = 3
/** A deadline that is never reached: a creation that misses it would keep its place as unknown. */
const PATIENT = { UPSTREAM_TIMEOUT_MS: '60000' }

/** Asks for a call at most `tries` times; hangs it up, or disconnects first. */
async function run (app: CallsApp, { tries, pause, goes, hangsUp }: Client): Promise<unknown> {
  const controller = new AbortController()
  const asked = app.begin({ signal: controller.signal }).catch(() => null)
  if (goes !== null) turns(goes).then(() => controller.abort())
  const answer = await asked
  if (answer === null) return 'gone'
  if (answer.status === 201) {
    await turns(hangsUp)
    return (await app.hangUp(answer.headers.get('location') as string)).status
  }
  await turns(pause)
  return tries > 1 ? run(app, { tries: tries - 1, pause, goes, hangsUp }) : answer.status
}

async function nothingIsLeft (t: Test, app: CallsApp, minute: number, seconds: number): Promise<void> {
  const { calls } = app.upstream
  await until('all calls to be over', () => {
    // A client may disconnect while its answer is on its way: no one joins that call, and its timer ends it.
    app.clock.pass(app.upstream.live() === 0 ? 0 : 1000)
    return app.upstream.live() === 0
  })
  const ended = await app.wrote('call.ended', calls.length)
  t.same(ended.map(({ upstream_call_id: id }) => id).sort(), calls.map(({ id }) => id).sort(), 'the books agree')
  t.same(
    app.lines('call.started').map(({ call_id: id }) => id).sort(),
    ended.filter(({ started }) => started).map(({ call_id: id }) => id).sort()
  )
  t.same(app.lines('call.unknown'), [])
  t.match(await app.get('/v1/realtime/calls'), { body: { data: [] } })
  const used = ended.reduce((sum, { seconds }) => sum + Number(seconds), 0)
  await until('the seconds to be back', async () => (await app.limits()).call_seconds.hour.remaining === seconds - used)
  t.equal((await app.limits()).minute.remaining, minute - calls.length, 'each call costs one, and nothing else does')
  t.equal((await app.begin()).status, 201, 'the place is free')
}

const client = fc.record({
  tries: fc.constant(TRIES), pause: fc.nat(60), goes: fc.option(fc.nat(200), { freq: 3 }), hangsUp: fc.nat(30)
})

for (const { name, whenFull, meets } of [
  { name: 'H5', whenFull: 'refuse', meets: [200, 409, 'gone'] },
  { name: 'H5: replace', whenFull: 'replace', meets: [200, 'gone'] }
] as const) {
  t.test(`${name}: 200 creations at once, gone at any moment: one call at most, nothing is left`, async (t) => {
    const met = new Set<unknown>()
    await fc.assert(fc.asyncProperty(
      fc.array(client, { minLength: 200, maxLength: 200 }), fc.array(fc.nat(15), { minLength: 50 }),
      async (clients, delays) => {
        const app = await startCalls(t, {
          env: PATIENT,
          calls: `{ concurrent: 1, when_full: ${whenFull} }`,
          limits: '{ minute: 100000, call_seconds: { hour: 3600 } }'
        })
        let step = 0
        slowDown(app, () => delays[step++ % delays.length] as number)
        for (const outcome of await Promise.all(clients.map((one) => run(app, one)))) met.add(outcome)
        t.equal(app.upstream.maxLive(), 1, 'never two at a time, at upstream')
        await nothingIsLeft(t, app, 100_000, 3600)
      }
    ), { numRuns: times(1), endOnFailure: true })
    for (const outcome of meets) t.ok(met.has(outcome), `${outcome} was met`)
  })
}

t.test('H6: a client that never joins, in a loop: each call ends after 45 s, the loop by the limits', async (t) => {
  const app = await startCalls(t, {
    calls: '{ idle_seconds: 20 }', limits: '{ day: 5, call_seconds: { hour: 1200 } }'
  })
  const statuses: number[] = []
  for (let i = 1; i <= 8; i++) {
    const { status } = await app.begin()
    statuses.push(status)
    if (status !== 201) continue
    await app.pass(44_999)
    t.equal((await app.begin()).status, 409, 'no second one meanwhile')
    await app.pass(1)
    t.match((await app.wrote('call.ended', i)).at(-1), { reason: 'never_connected', seconds: 45, started: true })
  }
  t.same(statuses, [201, 201, 201, 201, 201, 429, 429, 429])
  t.same([app.upstream.creations.length, app.upstream.maxLive(), app.upstream.live()], [5, 1, 0])
  t.match(await app.limits(), { day: { remaining: 0 }, call_seconds: { hour: { remaining: 1200 - 5 * 45 } } })
})

t.test('H6: a client that never joins pays the seconds that its calls lasted, and then has none', async (t) => {
  const app = await startCalls(t, {
    calls: '{ max_seconds: 60, idle_seconds: 20 }', limits: '{ minute: 100, call_seconds: { hour: 100 } }'
  })
  const lasted: unknown[] = []
  for (let i = 1; i <= 5; i++) {
    const { status, headers } = await app.begin()
    if (status !== 201) continue
    await app.pass(45_000)
    const { reason, seconds } = (await app.wrote('call.ended', i)).at(-1) ?? {}
    lasted.push([headers.get('x-call-seconds'), reason, seconds])
  }
  t.same(lasted, [['60', 'never_connected', 45], ['55', 'never_connected', 45], ['10', 'max_duration', 10]])
  t.match(app.lines('call.refused'), [{ reason: 'call_seconds_hour' }, { reason: 'call_seconds_hour' }])
  t.equal(app.upstream.creations.length, 3)
})

t.test('H6: idle_seconds above 45 is the longest that no one joins; a reopened sideband changes nothing', async (t) => {
  const app = await startCalls(t, { calls: '{ idle_seconds: 100 }' })
  const path = (await app.begin()).headers.get('location') as string
  await app.pass(60_000)
  const call = await app.upstream.created()
  call.drop()
  await app.upstream.attached(call.id, 2)
  await call.next('session.update')
  await call.next('session.update')
  await app.pass(39_000)
  t.match((await app.get(path)).body, { status: 'live' })
  await app.pass(1000)
  t.match(await app.wrote('call.ended'), [{ reason: 'never_connected', seconds: 100 }])
})

t.test('H6: replace: a client that calls again in a loop has one call, until its limits end the loop', async (t) => {
  const app = await startCalls(t, { calls: '{ when_full: replace }', limits: '{ minute: 5 }' })
  const statuses: number[] = []
  for (let i = 0; i < 8; i++) statuses.push((await app.begin()).status)
  t.same(statuses, [201, 201, 201, 201, 201, 429, 429, 429])
  t.same([app.upstream.creations.length, app.upstream.maxLive(), app.upstream.live()], [5, 1, 1])
})

// Events during the creation of a call, at each of its waits: none leaves anything behind.

import t, { type Test } from 'tap'
import { createMemoryStore } from '../../src/limits/memory.ts'
import { accept, held, silent, stalledBody } from '../support/call-replies.ts'
import type { CallRequest } from '../support/calls-upstream.ts'
import { exchangeAndLeave } from '../support/raw-http.ts'
import { OFFER } from '../support/sdp.ts'
import { until } from '../support/until.ts'
import { type CallsApp, OPS, policyOf, startCalls } from './harness.ts'

const LIMITS = '{ minute: 10, call_seconds: { hour: 1200 } }'

/** A moment at which a creation waits. */
type Moment = Readonly<{
  name: string
  /** Resolves at that moment; the result lets the creation continue. */
  at: (app: CallsApp) => Promise<() => void>
  prepare: (app: CallsApp) => void
}>

function moments (): readonly [Moment, Moment, Moment] {
  let create = held<CallRequest>(accept())
  return [
    {
      name: 'before upstream has answered',
      prepare: ({ upstream }: CallsApp) => {
        create = held<CallRequest>(accept())
        upstream.onCreate(create.reply)
      },
      at: async ({ upstream }: CallsApp) => {
        await upstream.asked(1)
        return create.release
      }
    },
    {
      name: 'while the answer is read',
      prepare: ({ upstream }: CallsApp) => upstream.onCreate(stalledBody),
      at: async ({ upstream, get }: CallsApp) => {
        await upstream.created()
        // The head has arrived, and the id is known.
        await until('the call to be listed', async () => ((await get('/v1/realtime/calls')).body.data as []).length > 0)
        return () => {}
      }
    },
    {
      name: 'while the sideband is ready to read',
      prepare: ({ upstream }: CallsApp) => upstream.onAttach(silent),
      at: async ({ upstream }: CallsApp) => {
        await (await upstream.created()).next('session.update')
        return () => {}
      }
    }
  ]
}
const MOMENTS = moments()

async function nothingIsLeft (t: Test, app: CallsApp): Promise<void> {
  await until('the call to have ended', () => app.upstream.live() === 0)
  const ended = await app.wrote('call.ended', app.upstream.calls.length)
  t.equal(ended.length, app.upstream.calls.length, 'the books agree')
  t.same(ended.map(({ started }) => started), ended.map(() => false))
  t.same(app.lines('call.started'), [])
}

for (const { name, prepare, at } of MOMENTS) {
  const env = { UPSTREAM_TIMEOUT_MS: '8000' }

  t.test(`call: browser gone ${name}: hung up at once, client_gone, and it costs one call`, async (t) => {
    const app = await startCalls(t, { limits: LIMITS, env })
    prepare(app)
    const controller = new AbortController()
    const gone = app.begin({ signal: controller.signal }).catch(() => null)
    const release = await at(app)
    controller.abort()
    await gone
    await app.disconnected(1)
    release()
    await nothingIsLeft(t, app)
    t.match(await app.wrote('call.ended'), [{ reason: 'client_gone', started: false, hangup_confirmed: true }])
    await app.wrote('call.refused')
    t.match(await app.limits(), { minute: { remaining: 9 }, call_seconds: { hour: { remaining: 1200 } } })
  })

  t.test(`call: blocked ${name}: hung up, 403 as then`, async (t) => {
    const app = await startCalls(t, { limits: LIMITS, env })
    prepare(app)
    const answer = app.begin()
    const release = await at(app)
    await app.swapPolicy(policyOf({ limits: LIMITS, blocked: '[{ subject: ada }]' }))
    release()
    t.match(await answer, { status: 403, body: { error: { code: 'caller_blocked' } } })
    await nothingIsLeft(t, app)
    t.match(await app.wrote('call.ended'), [{ reason: 'blocked' }])
    t.match(await app.wrote('call.refused'), [{ code: 'caller_blocked' }])
  })

  t.test(`call: a policy without calls ${name}: hung up, 403`, async (t) => {
    const app = await startCalls(t, { limits: LIMITS, env })
    prepare(app)
    const answer = app.begin()
    const release = await at(app)
    await app.swapPolicy(policyOf({ limits: LIMITS }).replace('calls: {}', ''))
    release()
    t.match(await answer, { status: 403, body: { error: { code: 'policy_violation', param: null } } })
    await nothingIsLeft(t, app)
  })

  t.test(`call: a policy that goes away ${name}: hung up, 403`, async (t) => {
    const app = await startCalls(t, { limits: LIMITS, env })
    prepare(app)
    const answer = app.begin()
    const release = await at(app)
    await app.swapPolicy(policyOf({ limits: LIMITS }).replace('plan: pro', 'plan: other'))
    release()
    t.match(await answer, { status: 403, body: { error: { code: 'no_policy' } } })
    await nothingIsLeft(t, app)
    t.match(await app.wrote('call.ended'), [{ reason: 'blocked' }])
  })

  t.test(`call: hung up by an operator ${name}: no call is left, and it is refused`, async (t) => {
    const app = await startCalls(t, { limits: LIMITS, env: { ...env, ...OPS } })
    prepare(app)
    const answer = app.begin()
    const release = await at(app)
    const ended = app.operate('/calls/hangup', { policy: 'pro' })
    await until('the wish to be known', () => app.operate('/calls').then(({ body }) =>
      (body.data as { end_reason: string }[]).every(({ end_reason: reason }) => reason === 'operator')))
    release()
    t.match(await answer, { status: 403, body: { error: { code: 'policy_violation', param: null } } })
    t.same((await ended).body, { matched: 1, ended: 1 })
    await nothingIsLeft(t, app)
    t.match(await app.wrote('call.ended'), [{ reason: 'operator' }])
    t.match(await app.wrote('call.refused'), [{ code: 'policy_violation', reason: 'operator' }])
  })

  t.test(`call: a stop ${name}: hung up, 503 draining`, async (t) => {
    const app = await startCalls(t, { limits: LIMITS, env })
    prepare(app)
    const answer = app.begin()
    const release = await at(app)
    const stopped = app.stop()
    release()
    t.match(await answer, { status: 503, body: { error: { code: 'draining' } } })
    await stopped
    await nothingIsLeft(t, app)
    t.match(await app.wrote('call.ended'), [{ reason: 'shutdown' }])
  })
}

for (const { name, prepare, at } of MOMENTS.slice(1)) {
  t.test(`call: hung up by its caller ${name}: no call is left`, async (t) => {
    const app = await startCalls(t, { limits: LIMITS, env: { UPSTREAM_TIMEOUT_MS: '8000' } })
    prepare(app)
    const answer = app.begin()
    await at(app)
    const [{ id, status }] = (await app.get('/v1/realtime/calls')).body.data as [{ id: string, status: string }]
    t.equal(status, 'live')
    t.match(await app.hangUp(`/v1/realtime/calls/${id}`), { status: 200, body: { status: 'ended' } })
    t.match(await answer, { status: 400, body: { error: { code: 'invalid_request' } } })
    await nothingIsLeft(t, app)
    t.match(await app.wrote('call.ended'), [{ reason: 'client' }])
  })
}

t.test('call: a client that closes its half after the offer is gone: hung up, client_gone', async (t) => {
  const app = await startCalls(t, { limits: LIMITS })
  await exchangeAndLeave(app, [
    'POST /v1/realtime/calls HTTP/1.1', 'Host: x', `Authorization: Bearer ${await app.token()}`,
    'Content-Type: application/sdp', `Content-Length: ${OFFER.length}`, '', OFFER
  ].join('\r\n'))
  await app.wrote('call.refused')
  await nothingIsLeft(t, app)
  t.match(app.lines('call.ended'), app.upstream.calls.map(() => ({ reason: 'client_gone' })))
})

t.test('call: shorter max_seconds and idle_seconds reach a call that is being created', async (t) => {
  const app = await startCalls(t, { calls: '{ max_seconds: 600, idle_seconds: 300 }' })
  const create = held<CallRequest>(accept())
  app.upstream.onCreate(create.reply)
  const answer = app.begin()
  await app.upstream.asked(1)
  await app.swapPolicy(policyOf({ calls: '{ max_seconds: 100, idle_seconds: 60 }' }))
  create.release()
  const path = (await answer).headers.get('location') as string
  const { created_at: createdAt, ends_at: endsAt } = (await app.get(path)).body as Record<string, number>
  t.equal(endsAt as number - (createdAt as number), 100)
  await app.pass(60_000)
  t.match(await app.wrote('call.ended'), [{ reason: 'never_connected', seconds: 60 }])
})

t.test('call: twice the same offer at once: one call, and one refusal that creates nothing', async (t) => {
  const app = await startCalls(t)
  const answers = await Promise.all([app.begin(), app.begin()])
  t.same(answers.map(({ status }) => status).sort(), [201, 409])
  t.equal(app.upstream.creations.length, 1)
})

t.test('call: the block and the answer at the same moment: the books agree', async (t) => {
  const app = await startCalls(t, { limits: LIMITS })
  const answer = app.begin()
  await (await app.upstream.created()).next('session.update')
  const swapped = app.swapPolicy(policyOf({ limits: LIMITS, blocked: '[{ subject: ada }]' }))
  const { status } = await answer
  await swapped
  await app.wrote('call.ended')
  t.equal(app.lines('call.started').length, status === 201 ? 1 : 0)
  t.match(await app.wrote('call.ended'), [{ reason: 'blocked', started: status === 201 }])
  t.equal(app.upstream.live(), 0)
})

t.test('call: a client that is gone before upstream is asked creates nothing, at no cost', async (t) => {
  const [memory, gate] = [createMemoryStore(), Promise.withResolvers<void>()]
  const app = await startCalls(t, {
    limits: LIMITS,
    store: {
      ...memory,
      reserve: async (reservation) => {
        await gate.promise
        return memory.reserve(reservation)
      }
    }
  })
  const controller = new AbortController()
  const gone = app.begin({ signal: controller.signal }).catch(() => null)
  await until('the request to be there', () => app.reserving())
  controller.abort()
  await gone
  await app.disconnected(1)
  gate.resolve()
  t.match(await app.wrote('call.refused'), [{ code: 'invalid_request', reason: 'client_gone' }])
  t.equal(app.upstream.creations.length, 0)
  t.match(await app.limits(), { minute: { remaining: 10 }, call_seconds: { hour: { remaining: 1200 } } })
})

t.test('call: a client that goes while the start is written down has its call hung up', async (t) => {
  const app = await startCalls(t)
  const [confirming, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const { confirm } = app.audit
  Object.assign(app.audit, {
    confirm: async (line: string) => {
      confirming.resolve()
      await gate.promise
      return confirm(line)
    }
  })
  const controller = new AbortController()
  const gone = app.begin({ signal: controller.signal }).catch(() => null)
  await confirming.promise
  controller.abort()
  await gone
  await app.disconnected(1)
  gate.resolve()
  t.match(await app.wrote('call.ended'), [{ reason: 'client_gone', started: true }])
  t.equal(app.lines('call.started').length, 1, 'what is started precedes what is ended')
  t.ok(app.auditLines().findIndex(({ event }) => event === 'call.started') <
    app.auditLines().findIndex(({ event }) => event === 'call.ended'))
  t.equal(app.upstream.live(), 0)
})

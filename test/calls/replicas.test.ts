// Starts first: a lease runs out, which takes half a minute.
// Calls over replicas that share a Redis: processes that are stopped, killed and paused, and callers who see nothing.

import t from 'tap'
import { responseDone, usageOf } from '../support/call-events.ts'
import { NO_REDIS } from '../support/redis.ts'
import type { Service } from '../support/service.ts'
import { until } from '../support/until.ts'
import type { Call } from '../support/upstream-call.ts'
import { type CallReplicas, startCallReplicas } from './call-replicas.ts'

const statusOf = async (world: CallReplicas, at: Service, path: string) => (await world.get(at, path)).body.status

t.test('an owner finds and ends a call at any replica, and no one else does', { skip: NO_REDIS }, async (t) => {
  const world = await startCallReplicas(t)
  const [one, two] = world.replicas as [Service, Service]
  const path = await world.call(one)
  t.equal((await world.get(two, path, 'bob')).status, 404)
  t.equal((await world.hangUp(two, path, 'bob')).status, 404)
  t.match((await world.get(two, path)).body, { status: 'live', end_reason: null, seconds: Number })
  t.match((await world.get(two, '/v1/realtime/calls')).body, { data: [{ id: path.split('/').at(-1), status: 'live' }] })
  t.match((await world.begin(two)), { status: 409, code: 'call_in_progress' }, 'one call, whatever replica is asked')
  const ended = await world.hangUp(two, path)
  t.match(ended.body, { status: 'ended', end_reason: 'client' })
  t.match((await world.get(one, path)).body, { status: 'ended' })
  t.match(await world.wrote('call.ended', 1), [{ reason: 'client', complete: true }])
  t.same(two.audit.filter(({ event }) => event === 'call.ended'), [])
  t.equal((await world.begin(two)).status, 201, 'its place is free')
})

t.test('an operator lists and ends calls of all replicas at any of them', { skip: NO_REDIS }, async (t) => {
  const world = await startCallReplicas(t)
  const [one, two] = world.replicas as [Service, Service]
  await Promise.all([world.call(one, 'ada'), world.call(two, 'bob')])
  t.match(await world.operate(two, '/calls'), { data: [{ status: 'live' }, { status: 'live' }] })
  t.same(await world.operate(one, '/calls/hangup', { all: true }), { matched: 2, ended: 2 })
  t.match(await world.wrote('call.ended', 2), [{ reason: 'operator' }, { reason: 'operator' }])
  t.same(await world.operate(two, '/calls'), { object: 'list', data: [] })
})

t.test('fault 53: a stop hands its calls over: none is hung up, and each goes on where it was', {
  skip: NO_REDIS
}, async (t) => {
  const world = await startCallReplicas(t, { env: { DRAIN_SECONDS: '2' } })
  const [one, two] = world.replicas as [Service, Service]
  const path = await world.call(one)
  const call = world.upstream.calls[0] as Call
  call.push(responseDone('resp_1', usageOf({})))
  await until('its usage', async () => ((await world.get(one, path)).body.usage as any).responses === 1)
  one.kill('SIGTERM')
  await world.upstream.attached(call.id, 2)
  await until('it to be the other one\'s', async () => await statusOf(world, two, path) === 'live')
  call.push(responseDone('resp_2', usageOf({})))
  await until('its usage', async () => ((await world.get(two, path)).body.usage as any).responses === 2)
  t.match(await one.exited, { code: 0 })
  t.equal(world.upstream.hangUps.length, 0)
  t.equal(world.lines('call.ended').length, 0)
  await world.hangUp(two, path)
  t.match(await world.wrote('call.ended', 1), [
    { reason: 'client', usage: { responses: 2 }, complete: false, started: true }
  ])
  t.equal(world.upstream.hangUps.length, 1)
})

t.test('fault 49: a replica that is killed loses no call: another goes on within 35 s', {
  skip: NO_REDIS
}, async (t) => {
  const world = await startCallReplicas(t)
  const [one, two] = world.replicas as [Service, Service]
  const path = await world.call(one)
  const call = world.upstream.calls[0] as Call
  one.kill('SIGKILL')
  const killedAt = performance.now()
  await until('another sideband', () => world.upstream.attaches.length === 2, 36_000)
  t.ok(performance.now() - killedAt < 35_000)
  t.equal(call.isLive(), true)
  t.match((await world.get(two, path)).body, { status: 'live' })
  await world.hangUp(two, path)
  t.match(await world.wrote('call.ended', 1), [{ reason: 'client', complete: false, started: true }])
  t.equal((await world.begin(two)).status, 201, 'its place is free')
})

// Places over two services with one Redis: as many calls as the policy says, wherever they are asked for, and what
// each service does while Redis is away.

import t from 'tap'
import { responseCreated, responseDone, usageOf } from '../support/call-events.ts'
import { accept, confirm, held, silent } from '../support/call-replies.ts'
import { NO_REDIS } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { hang } from '../support/upstream.ts'
import type { Call } from '../support/upstream-call.ts'
import { looks, startPair, statusAt } from './shared.ts'

t.jobs = 4

const REPLACE = { calls: '{ when_full: replace }' }

t.test('a caller\'s new call replaces the one at another service, in one place', { skip: NO_REDIS }, async (t) => {
  const { upstream, one, two, call: begin } = await startPair(t, REPLACE)
  const { path: old } = await begin(one)
  const { path } = await begin(two)
  t.match((await two.get(old)).body, { status: 'ended', end_reason: 'replaced' })
  t.equal(await statusAt(one, path), 'live')
  t.match(await one.wrote('call.ended'), [{ reason: 'replaced' }])
  t.equal(upstream.maxLive(), 1)
  t.equal((await two.get('/v1/realtime/calls/rtc_none')).status, 404)
})

t.test('a call that cannot be hung up is not replaced, and keeps being hung up', { skip: NO_REDIS }, async (t) => {
  const { upstream, one, two, call: begin } = await startPair(t, REPLACE)
  const { path: old } = await begin(one)
  upstream.onHangUp((_hangUp, response) => { response.writeHead(500).end() })
  const asked = two.begin()
  await upstream.hungUp(upstream.calls[0]?.id as string)
  t.match(await two.begin(), { status: 409 }, 'one request waits for the place')
  await until('the place to be given up', async () => {
    two.clock.pass(1000)
    return Promise.race([asked, two.settle().then(() => null)])
  })
  t.match(await asked, { status: 409, body: { error: { code: 'call_in_progress' } } })
  t.equal(await statusAt(two, old), 'ending')
  t.equal(upstream.creations.length, 1)
  upstream.onHangUp(confirm)
  await two.operate(`/calls/${old.split('/').at(-1)}/hangup`, {})
  await until('it to be hung up', async () => {
    one.clock.pass(1000)
    return await statusAt(two, old) === 'ended'
  })
  t.match(await two.begin(), { status: 201 })
})

t.test('the total of a policy holds over all services', { skip: NO_REDIS }, async (t) => {
  const { one, two, call: begin } = await startPair(t, { calls: '{ total: 2 }' })
  const { path } = await begin(one, 'ada')
  await begin(two, 'bob')
  t.match(await two.begin({ claims: { sub: 'cleo' } }), { status: 503, body: { error: { code: 'calls_full' } } })
  t.match(await two.wrote('call.refused'), [{ reason: 'total' }])
  await two.hangUp(path, {}, { sub: 'ada' })
  t.match(await one.begin({ claims: { sub: 'cleo' } }), { status: 201 })
})

t.test('CALLS_MAX bounds the calls of each service by itself', { skip: NO_REDIS }, async (t) => {
  const { one, two, call: begin } = await startPair(t, { env: { CALLS_MAX: '1' } })
  await begin(one, 'ada')
  t.match(await one.begin({ claims: { sub: 'bob' } }), { status: 503, body: { error: { code: 'calls_full' } } })
  await begin(two, 'bob')
})

t.test('a call that another service has taken over is let go at the next write', { skip: NO_REDIS }, async (t) => {
  const { redis, upstream, one, call: begin } = await startPair(t)
  const { key } = await begin(one)
  await redis.control.hset(key, 'fence', String(2 ** 53))
  upstream.calls[0]?.push({ type: 'input_audio_buffer.speech_started', item_id: 'item_1' })
  await until('it to be let go', () =>
    one.logLines().some(({ msg }) => /another replica has taken a call over/.test(String(msg))), 15_000)
  t.equal(upstream.hangUps.length, 0)
  t.same(one.lines('call.ended'), [])
})

t.test('a call that another service has before it is answered is not answered', { skip: NO_REDIS }, async (t) => {
  const { redis, upstream, one } = await startPair(t)
  upstream.onCreate(async (request, response) => {
    const [key] = await redis.control.keys('{ephemint}:calls:call:*')
    await redis.control.hset(key as string, 'fence', String(2 ** 53), 'state', 'setup')
    accept()(request, response)
  })
  t.match(await one.begin(), { status: 503, body: { error: { code: 'limits_unavailable' } } })
  t.equal(upstream.live(), 0)
  t.same(one.lines('call.ended'), [], 'the other one writes it')
})

t.test('a call that another service takes while it is created is given back by that one alone', {
  skip: NO_REDIS
}, async (t) => {
  const { redis, upstream, one, two } = await startPair(t, { limits: '{ day: 9, call_seconds: { hour: 600 } }' })
  upstream.onAttach(silent)
  const asked = one.begin()
  const { id } = await upstream.created()
  await upstream.attached(id)
  const [key = ''] = await redis.control.keys('{ephemint}:calls:call:*')
  const owner = await redis.control.hget(key, 'owner')
  await redis.control.hset(key, 'fence', String(2 ** 53))
  // The service writes down all its calls, because Redis has fewer.
  await redis.control.zrem(`{ephemint}:calls:of:${owner}`, key.split(':').at(-1) as string)
  t.match(await asked, { status: 503, body: { error: { code: 'limits_unavailable' } } })
  t.match(await two.limits(), { call_seconds: { hour: { remaining: 0 } } })
})

t.test('a call that another service has taken over while it ends is let go', { skip: NO_REDIS }, async (t) => {
  const { redis, upstream, one, call: begin } = await startPair(t)
  const open = await begin(one, 'ada')
  upstream.calls[0]?.push(responseCreated('resp_1'))
  const ending = await begin(one, 'bob')
  upstream.onHangUp((_hangUp, response) => { response.writeHead(500).end() })
  await one.settle()
  const ended = [one.hangUp(open.path, {}, { sub: 'ada' }), one.hangUp(ending.path, {}, { sub: 'bob' })]
  await upstream.hungUp(upstream.calls[1]?.id as string)
  for (const { key } of [open, ending]) await redis.control.hset(key, 'fence', String(2 ** 53))
  await until('both to be let go', () => one.logLines().filter(({ msg }) =>
    /another replica has taken a call over/.test(String(msg))).length === 2, 15_000)
  for (const { key } of [open, ending]) {
    await until('the wish to be passed on', async () => await redis.control.hget(key, 'wish') === 'client')
    await redis.control.hset(key, 'state', 'done')
  }
  t.match(await Promise.all(ended), [{ status: 200 }, { status: 200 }], 'which its caller waits for')
  one.clock.pass(70_000)
  t.equal(upstream.hangUps.length, 1)
  t.same(one.lines('call.ended'), [])
})

t.test('a call that another service takes at its end has its line there, with the reason of here', {
  skip: NO_REDIS
}, async (t) => {
  const { redis, upstream, one, call: begin } = await startPair(t)
  const { path, key } = await begin(one)
  const hangUp = held(confirm)
  upstream.onHangUp(hangUp.reply)
  const ended = one.hangUp(path)
  await upstream.hungUp(upstream.calls[0]?.id as string)
  await redis.control.hset(key, 'fence', String(2 ** 53))
  hangUp.release()
  t.match(await ended, { status: 200, body: { status: 'ended', end_reason: 'client' } })
  const rest = await until('it to be handed over', () => redis.control.hget(key, 'rest'))
  t.match(JSON.parse(rest), { created: { reason: 'client' } })
  t.same(one.lines('call.ended'), [])
})

t.test('no call begins while places may be missing, and one that is created elsewhere is not listed', {
  skip: NO_REDIS
}, async (t) => {
  const { redis, upstream, one, two } = await startPair(t)
  upstream.onCreate(hang)
  one.begin().catch(() => {})
  await upstream.asked(1)
  t.same((await two.operate('/calls')).body, { object: 'list', data: [] })
  await redis.control.set('{ephemint}:calls:unknown', '1')
  t.match(await two.begin({ claims: { sub: 'bob' } }), { status: 503 })
  t.match(await two.wrote('call.refused'), [{ code: 'limits_unavailable', reason: 'calls_unknown' }])
})

t.test('a service that stops leaves its calls to another, with what it knew last', { skip: NO_REDIS }, async (t) => {
  const { redis, upstream, one, two, call: begin } = await startPair(t)
  const { path } = await begin(one)
  const call = upstream.calls[0] as Call
  await until('both to have a lease', async () => await redis.control.zcard('{ephemint}:calls:leases') === 2)
  call.push(responseDone('resp_1', usageOf({})))
  await until('its usage', async () => ((await one.get(path)).body.usage as any).responses === 1)
  await one.stop()
  await upstream.attached(call.id, 2)
  t.match((await two.get(path)).body, { status: 'live', usage: { responses: 1 } })
  t.equal(upstream.hangUps.length, 0)
})

t.test('a place that was taken for a request which is gone is given back', { skip: NO_REDIS }, async (t) => {
  const { redis, one, two, call: begin } = await startPair(t, { limits: '{ day: 9, call_seconds: { hour: 600 } }' })
  const { key } = await begin(one, 'bob')
  const owner = await redis.control.hget(key, 'owner') as string
  const caller = await redis.control.hget(key, 'caller') as string
  const stray = '{ephemint}:calls:call:rtc_stray'
  await redis.control.hset(stray, {
    caller, policy: 'pro', owner, fence: '1', state: 'creating', born: '1', seconds: '60', slots: '{}', data: ''
  })
  await redis.control.zadd(`{ephemint}:calls:of:${owner}`, '1', 'rtc_stray')
  await until('it to be gone', async () => await redis.control.exists(stray) === 0)
  t.equal(await statusAt(two, `/v1/realtime/calls/${key.split(':').at(-1)}`, 'bob'), 'live')
})

t.test('H14: a call that was taken over, and whose answer from Redis was lost, is taken over again', {
  skip: NO_REDIS
}, async (t) => {
  const { redis, upstream, one, two, call: begin, kill } = await startPair(t)
  const { path, id, key } = await begin(one)
  const call = upstream.calls[0] as Call
  await until('both to have a lease', async () => await redis.control.zcard('{ephemint}:calls:leases') === 2)
  await kill(async () => {
    const dead = await redis.control.hget(key, 'owner') as string
    const owner = (await redis.control.zrange('{ephemint}:calls:leases', '0', '-1')).find((other) => other !== dead)
    await redis.control.hset(key, 'owner', String(owner), 'from', dead, 'fence', `${Date.now()}000`)
    await redis.control.zadd(`{ephemint}:calls:of:${owner}`, '1', id)
    await redis.control.zrem(`{ephemint}:calls:of:${dead}`, id)
    await redis.control.zadd(`{ephemint}:calls:of:${dead}`, '1', 'rtc_gone')
  })
  await upstream.attached(call.id, 2)
  t.match((await two.hangUp(path)).body, { status: 'ended', end_reason: 'client' })
  t.equal(upstream.live(), 0)
})

t.test('without Redis no call begins where that is refused, and none is found', { skip: NO_REDIS }, async (t) => {
  const { one, two, call: begin, proxy } = await startPair(t)
  const { path } = await begin(two)
  const { path: own } = await begin(one, 'bob')
  await proxy.inject('refuse')
  await until('it to be lost', () => one.logLines().some(({ msg }) => /Redis is lost/.test(String(msg))))
  t.match(await one.begin({ claims: { sub: 'cleo' } }), { status: 503 })
  t.match(await one.wrote('call.refused'), [{ code: 'limits_unavailable' }])
  t.match(await one.get(path), { status: 503 }, 'it may be another\'s')
  t.equal(await statusAt(one, own, 'bob'), 'live')
  t.match((await one.get('/v1/realtime/calls', { sub: 'bob' })).body, { data: [{ status: 'live' }] })
  t.match((await one.operate('/calls')).body, { data: [{ status: 'live' }] })
  t.match((await one.hangUp(own, {}, { sub: 'bob' })).body, { status: 'ended' })
  t.match(await one.wrote('call.ended'), [{ reason: 'client', unfenced: true }])
  await proxy.inject('pass')
  await until('its place to be free', async () => (await two.begin({ claims: { sub: 'bob' } })).status === 201)
})

t.test('a service that goes on without Redis counts alone', { skip: NO_REDIS }, async (t) => {
  const { upstream, one, two, call: begin, proxy } = await startPair(t, {
    env: { ON_REDIS_LOSS: 'local' },
    calls: '{ total: 2 }',
    limits: '{ day: 9, call_seconds: { hour: 700 } }'
  })
  await proxy.inject('refuse')
  await until('it to be lost', () => one.logLines().some(({ msg }) => /Redis is lost/.test(String(msg))))
  const { path } = await begin(one, 'ada')
  t.match(await one.begin({ claims: { sub: 'ada' } }), { status: 409 })
  await begin(one, 'bob')
  t.match(await one.begin({ claims: { sub: 'cleo' } }), { status: 503, body: { error: { code: 'calls_full' } } })
  t.match((await one.hangUp(path, {}, { sub: 'ada' })).body, { status: 'ended' })
  t.notOk('unfenced' in (one.lines('call.ended')[0] as object), 'no other service can have known it')
  await begin(one, 'cleo')
  await proxy.inject('pass')
  await until('both to be known everywhere', async () =>
    ((await two.operate('/calls')).body.data as unknown[]).length === 2)
  t.same((await two.operate('/calls/hangup', { all: true })).body, { matched: 2, ended: 2 })
  t.equal(upstream.live(), 0)
  t.same(one.lines('call.ended').filter((line) => 'unfenced' in line), [])
  await begin(two, 'dora')
})

for (const isOver of [false, true]) {
  const name = isOver ? 'and is over once Redis is back, has its line' : 'goes on there'
  t.test(`a call that begins while Redis goes, and that another service takes for lost, ${name}`, {
    skip: NO_REDIS
  }, async (t) => {
    const { redis, upstream, one, two, proxy, kill } = await startPair(t, {
      env: { ON_REDIS_LOSS: 'local' }, limits: '{ day: 9, call_seconds: { hour: 600 } }'
    })
    const creation = held(accept())
    upstream.onCreate(creation.reply)
    const asked = one.begin()
    await upstream.asked(1)
    t.equal((await redis.control.keys('{ephemint}:calls:call:*')).length, 1, 'its place is in Redis')
    await kill()
    await two.wrote('call.unknown')
    creation.release()
    const { status, headers } = await asked
    t.equal(status, 201)
    const path = headers.get('location') as string
    const end = () => t.resolveMatch(one.hangUp(path), { body: { status: 'ended' } })
    if (isOver) await end()
    await proxy.inject('pass')
    const key = `{ephemint}:calls:call:${path.split('/').at(-1)}`
    await until('it to be known', async () =>
      await redis.control.hget(key, 'state') === (isOver ? 'done' : 'live'))
    two.clock.pass(60_000)
    if (!isOver) {
      t.match(await two.begin(), { status: 409 }, 'it has its place')
      await looks(redis, 6)
      t.match(await two.begin(), { status: 409 }, 'which the other does not give back')
      t.equal(await statusAt(two, path), 'live')
      await end()
    }
    t.equal(upstream.live(), 0)
    t.equal(one.lines('call.ended').length, 1)
    t.notOk(one.logLines().some(({ msg }) => /has taken a call over/.test(String(msg))))
    t.match(await two.begin(), { status: 201 })
  })
}

t.test('a service that counts alone replaces its own call', { skip: NO_REDIS }, async (t) => {
  const { upstream, one, call: begin, proxy } = await startPair(t, { ...REPLACE, env: { ON_REDIS_LOSS: 'local' } })
  await proxy.inject('refuse')
  await until('it to be lost', () => one.logLines().some(({ msg }) => /Redis is lost/.test(String(msg))))
  await begin(one)
  await begin(one)
  t.match(await one.wrote('call.ended'), [{ reason: 'replaced' }])
  t.equal(upstream.live(), 1)
})

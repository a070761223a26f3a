// A service that stops while upstream confirms no hang-up: each call is ended by another service, or reported as
// left.

import t from 'tap'
import { accept, confirm, held } from '../support/call-replies.ts'
import type { HangUpReply } from '../support/calls-upstream.ts'
import { NO_REDIS, type RedisServer } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { failure } from '../support/upstream.ts'
import { type Pair, startPair } from './shared.ts'

const LEASES = '{ephemint}:calls:leases'
/** When a stop gives up. It offers its calls to others before. */
const [STOP_MS, OFFERED_MS] = [10_000, 5000]

/** Lets hang-ups fail until another service has the call. */
async function refusing ({ control }: RedisServer, key: string): Promise<HangUpReply> {
  const owner = () => control.hget(key, 'owner')
  const first = await owner()
  return async (request, response) => (await owner() === first ? failure(500) : confirm)(request, response)
}

t.test('fault 53: a stop leaves no call to a service that has just died', { skip: NO_REDIS }, async (t) => {
  const { redis, upstream, one, two, call: begin } = await startPair(t)
  const { path, key } = await begin(one)
  await until('both to have a lease', async () => await redis.control.zcard(LEASES) === 2)
  await two.stop()
  await redis.control.zadd(LEASES, String(Date.now() + 60_000), 'dead')
  upstream.onHangUp(failure(500))
  const asked = one.hangUp(path)
  await upstream.hungUp(upstream.calls[0]?.id as string)
  await one.settle()
  const stopped = one.stop()
  await until('it to be known as ending', async () => await redis.control.hget(key, 'state') === 'ending')
  await one.clock.expire(STOP_MS)
  await stopped
  await asked
  t.match(await one.wrote('call.ended'), [{ reason: 'client', hangup_confirmed: false }])
  t.equal(await redis.control.hget(key, 'state'), 'done', 'its place is free')
})

/** Stops the service after the first hang-up has failed: the stop tries again and offers the call. */
async function stopWhileEnding ({ one, upstream }: Pick<Pair, 'one' | 'upstream'>, path: string) {
  const id = upstream.calls[0]?.id as string
  const asked = one.hangUp(path)
  await upstream.hungUp(id)
  await one.settle()
  const stopped = one.stop()
  await one.clock.armed(STOP_MS)
  one.clock.pass(1000)
  await upstream.hungUp(id, 2)
  one.clock.pass(OFFERED_MS - 1000)
  return { asked, stopped }
}

t.test('fault 53: a call that cannot be hung up while its service stops is hung up by another', {
  skip: NO_REDIS
}, async (t) => {
  const { redis, upstream, one, two, call: begin } = await startPair(t)
  const { path, key } = await begin(one)
  await until('both to have a lease', async () => await redis.control.zcard(LEASES) === 2)
  upstream.onHangUp(await refusing(redis, key))
  const { asked, stopped } = await stopWhileEnding({ one, upstream }, path)
  t.match(await two.wrote('call.ended'), [{ reason: 'client', hangup_confirmed: true }])
  t.match(await asked, { status: 200, body: { end_reason: 'client' } })
  await stopped
  t.same(one.lines('call.ended'), [])
  t.equal(upstream.live(), 0)
})

t.test('fault 53: a stop leaves no two hang-ups of one call under way', { skip: NO_REDIS }, async (t) => {
  const { redis, upstream, one, two, call: begin } = await startPair(t)
  const { path } = await begin(one)
  await until('both to have a lease', async () => await redis.control.zcard(LEASES) === 2)
  const underWay: number[] = []
  let count = 0
  upstream.onHangUp((request, response) => {
    underWay.push(++count)
    response.once('close', () => { count-- })
    if (underWay.length === 1) failure(500)(request, response)
    else if (underWay.length === 3) confirm(request, response)
  })
  const { asked, stopped } = await stopWhileEnding({ one, upstream }, path)
  await Promise.all([stopped, asked])
  t.match(await two.wrote('call.ended'), [{ reason: 'client', hangup_confirmed: true }])
  t.same(underWay, [1, 1, 1])
})

t.test('a call whose client was gone before its answer costs what it lasted, also where another service ends it', {
  skip: NO_REDIS
}, async (t) => {
  const { redis, upstream, one, two } = await startPair(t, { limits: '{ day: 9, call_seconds: { hour: 600 } }' })
  await until('both to have a lease', async () => await redis.control.zcard(LEASES) === 2)
  const creation = held(accept())
  upstream.onCreate(creation.reply)
  const client = new AbortController()
  one.begin({ signal: client.signal }).catch(() => {})
  await upstream.asked(1)
  const [key] = await redis.control.keys('{ephemint}:calls:call:*')
  upstream.onHangUp(await refusing(redis, String(key)))
  client.abort()
  await one.disconnected(1)
  creation.release()
  const { id } = await upstream.created()
  await upstream.hungUp(id)
  const stopped = one.stop()
  await one.clock.armed(STOP_MS)
  one.clock.pass(1000)
  await upstream.hungUp(id, 2)
  one.clock.pass(OFFERED_MS - 1000)
  const [line] = await two.wrote('call.ended')
  await stopped
  t.match(line, { reason: 'client_gone', started: false })
  await until('its unused seconds to be back', async () => (await two.limits()).call_seconds.hour.remaining > 0)
  t.equal((await two.limits()).call_seconds.hour.remaining, 600 - Number(line?.seconds))
})

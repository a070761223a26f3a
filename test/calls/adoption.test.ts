// Calls that a replica takes over from another: the guard, the receipt, the timers, and each state
// that a record may be in.

import t from 'tap'
import { responseDone, usageOf } from '../support/call-events.ts'
import { accept, opened } from '../support/call-replies.ts'
import { NO_REDIS } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { reset } from '../support/upstream.ts'
import type { Call } from '../support/upstream-call.ts'
import { policyOf } from './harness.ts'
import { looks, startPair, statusAt } from './shared.ts'

t.jobs = 4

const HOUR_MS = 3_600_000
const SECRET = 'canary secret instructions'
const withSecret = (voice = 'marin') => policyOf().replace(
  "instructions: 'You are Ada.'", `instructions: { $env: INSTRUCTIONS }, audio: { output: { voice: ${voice} } }`
).replace('allow: { audio.output.voice: { enum: [marin, cedar] } }', '')

t.test('a change is still undone after another replica has gone on with the call', { skip: NO_REDIS }, async (t) => {
  const { upstream, one, two, call: begin, kill } = await startPair(t)
  const { path } = await begin(one)
  const call = upstream.calls[0] as Call
  call.push(responseDone('resp_1', usageOf({ inputText: 3 })))
  await until('its usage', async () => ((await one.get(path)).body.usage as any).responses === 1)
  await until('it to be written down', async () => ((await two.get(path)).body.usage as any).responses === 1, 15_000)
  await kill()
  await upstream.attached(call.id, 2)
  call.change({ instructions: 'Other.' })
  await until('it to be undone', () => call.session().instructions === 'You are Ada.')
  t.match(await two.wrote('call.changed'), [{ did: 'restored', paths: ['instructions'] }])
  call.push(responseDone('resp_1', usageOf({ inputText: 3 })), responseDone('resp_2', usageOf({ inputText: 4 })))
  await until('its usage', async () => ((await two.get(path)).body.usage as any).responses === 2)
  t.match((await two.hangUp(path)).body, { status: 'ended', end_reason: 'client' })
  t.match(await two.wrote('call.ended'), [{
    reason: 'client', started: true, complete: false, changes: 1, usage: { responses: 2, input: { text: 7 } }
  }])
  t.match(await (await fetch(await metricsOf(two))).text(), /ephemint_calls_adopted_total 1/)
})

t.test('a secret of the policy does not lie in Redis, and is put back by a replica that has it', {
  skip: NO_REDIS
}, async (t) => {
  const options = { policy: withSecret(), env: { INSTRUCTIONS: SECRET } }
  const { redis, upstream, one, two, call: begin, kill } = await startPair(t, options)
  const { key } = await begin(one)
  const call = upstream.calls[0] as Call
  t.equal(call.session().instructions, SECRET)
  const lies = JSON.stringify(await redis.control.hgetall(key))
  t.notMatch(lies, 'canary')
  t.match(lies, /hidden/)
  await kill()
  await upstream.attached(call.id, 2)
  call.change({ instructions: 'Other.' })
  await until('it to be undone', () => call.session().instructions === SECRET)
  t.match(await two.wrote('call.changed'), [{ did: 'restored' }])
})

t.test('where the secret is another now, a change is reported and not undone', { skip: NO_REDIS }, async (t) => {
  const policy = withSecret()
  const { upstream, one, two, call: begin, kill } = await startPair(
    t, { policy, env: { INSTRUCTIONS: SECRET } }, { policy, env: { INSTRUCTIONS: 'canary of another time' } }
  )
  await begin(one)
  const call = upstream.calls[0] as Call
  await kill()
  await upstream.attached(call.id, 2)
  call.change({ instructions: 'Other.', audio: { output: { voice: 'cedar' } } })
  await two.wrote('call.changed', 2)
  t.same(two.lines('call.changed').map(({ did, paths }) => [did, paths]), [
    ['reported', ['instructions']], ['restored', ['audio.output.voice']]
  ])
  t.equal(call.session().instructions, 'Other.')
})

t.test('a call whose policy has gone is watched, and ends as its caller wants', { skip: NO_REDIS }, async (t) => {
  const { upstream, one, two, call: begin, kill } = await startPair(
    t, {}, { policy: policyOf().replace('name: pro', 'name: other') }
  )
  const { path, id } = await begin(one)
  const call = upstream.calls[0] as Call
  await kill()
  await upstream.attached(call.id, 2)
  call.change({ instructions: 'Other.' })
  await two.settle()
  t.same(two.lines('call.changed'), [])
  t.equal(await statusAt(two, path), 'live')
  await two.operate(`/calls/${id}/hangup`, {})
  t.match(await two.wrote('call.ended'), [{ reason: 'operator', policy: 'pro' }])
})

t.test('a caller who is blocked where the call is found is hung up', { skip: NO_REDIS }, async (t) => {
  const { upstream, one, two, call: begin, kill } = await startPair(
    t, {}, { blocked: '[{ subject: ada }]', env: { OPENAI_API_KEY: 'sk-canary-of-another-replica-0001' } }
  )
  await begin(one)
  await kill()
  t.match(await two.wrote('call.ended'), [{ reason: 'blocked', started: true }])
  t.ok(two.logLines().some(({ msg }) => msg === 'a call was created with another key'))
  t.equal(upstream.live(), 0)
})

t.test('what the owner of a dead replica wanted is done', { skip: NO_REDIS }, async (t) => {
  const { redis, one, two, call: begin, kill } = await startPair(t)
  const { path } = await begin(one)
  let asked: Promise<unknown> = Promise.resolve()
  await kill(async () => {
    asked = two.hangUp(path)
    const [inbox] = await until('the wish', async () => {
      const found = await redis.control.keys('{ephemint}:calls:inbox:*')
      return found.length > 0 ? found : null
    })
    const ttl = await redis.control.pttl(inbox as string)
    t.ok(ttl > 50_000 && ttl <= 60_000, 'which does not stay for ever')
  })
  t.match(await two.wrote('call.ended'), [{ reason: 'client', started: true }])
  t.match(await asked, { status: 200, body: { status: 'ended', end_reason: 'client' } })
})

t.test('a call whose client went before it was answered costs its seconds, also at another service', {
  skip: NO_REDIS
}, async (t) => {
  const { redis, two, one, call: begin, kill } = await startPair(t, { limits: '{ call_seconds: { hour: 600 } }' })
  const { key } = await begin(one)
  await kill(async () => {
    const data = await redis.control.hget(key, 'data') as string
    const left = data.replace('"wasStarted":true', '"wasStarted":false')
      .replace('"reason":null', '"reason":"client_gone"')
    await redis.control.hset(key, 'state', 'ending', 'data', left)
  })
  const [{ seconds } = { seconds: 0 }] = await two.wrote('call.ended') as { seconds: number }[]
  t.match(await two.wrote('call.ended'), [{ reason: 'client_gone', started: false }])
  await until('the rest to be back', async () =>
    (await two.limits()).call_seconds.hour.remaining === 600 - seconds)
})

t.test('a call that was never answered is hung up, and costs no seconds', { skip: NO_REDIS }, async (t) => {
  const { redis, upstream, one, two, call: begin, kill } = await startPair(
    t, { limits: '{ day: 9, call_seconds: { hour: 600 } }' }
  )
  const { key } = await begin(one)
  await kill(async () => {
    const data = await redis.control.hget(key, 'data') as string
    await redis.control.hset(key, 'state', 'setup', 'data', data.replace('"wasStarted":true', '"wasStarted":false'))
  })
  t.match(await two.wrote('call.ended'), [{ reason: 'setup_failed', started: false, complete: false }])
  t.equal(upstream.live(), 0)
  await until('its seconds to be back', async () => (await two.limits()).call_seconds.hour.remaining === 600)
})

for (const isRefunded of [false, true]) {
  const name = isRefunded ? 'seconds that were given back before stay so' : 'its place and seconds are given back'
  t.test(`fault 49: an end that was claimed is written once more; ${name}`, { skip: NO_REDIS }, async (t) => {
    const { redis, upstream, one, two, call: begin, kill } = await startPair(
      t, { limits: '{ day: 9, call_seconds: { hour: 600 } }' }
    )
    const { path, key } = await begin(one)
    const line = { call_id: 'rtc_claimed', reason: 'idle', seconds: 20 }
    await kill(async () => {
      const record = { ...JSON.parse(await redis.control.hget(key, 'data') as string), isRefunded }
      await redis.control.hset(key, 'state', 'claimed', 'line', JSON.stringify(line), 'data', JSON.stringify(record))
    })
    t.match(await two.wrote('call.ended'), [{ ...line, repeated: true }])
    await until('its place to be free', async () => await redis.control.hget(key, 'state') === 'done')
    t.equal((await two.limits()).call_seconds.hour.remaining, isRefunded ? 0 : 580)
    t.equal((await two.get(path)).status, 200, 'its owner can still read it')
    t.equal(upstream.hangUps.length, 0)
    t.match(await (await fetch(await metricsOf(two))).text(), /ephemint_calls_adopted_total 0/, 'none goes on')
  })
}

t.test('fault 49: the place of a call that was being created is kept for a minute', { skip: NO_REDIS }, async (t) => {
  const { redis, one, two, call: begin, kill } = await startPair(
    t, { limits: '{ day: 9, call_seconds: { hour: 600 } }' }
  )
  const { key } = await begin(one)
  await kill(async () => {
    const record = JSON.parse(await redis.control.hget(key, 'data') as string)
    await redis.control.hset(key, 'state', 'creating', 'data', JSON.stringify({ ...record, created: null }))
  })
  t.match(await two.wrote('call.unknown'), [{ reason: 'replica_lost', policy: 'pro', call_id: /^rtc_/ }])
  await looks(redis, 6)
  t.match(await two.begin(), { status: 409 })
  t.match(await two.limits(), { day: { remaining: 8 } })
  two.clock.pass(60_000)
  await until('its seconds to be back', async () => (await two.limits()).call_seconds.hour.remaining === 600)
  t.match(await two.limits(), { day: { remaining: 9 } }, 'as where the answer of upstream is lost')
  t.match(await two.begin(), { status: 201 })
})

t.test('fault 49: what was given back for a call that is not known is not given back again by another replica', {
  skip: NO_REDIS
}, async (t) => {
  const { redis, upstream, one, two, call: begin, kill } = await startPair(
    t, { limits: '{ day: 9, call_seconds: { hour: 1500 } }' }
  )
  const remaining = async () => (await two.limits()).call_seconds.hour.remaining
  const { path } = await begin(two)
  two.clock.pass(100_000)
  t.match((await two.hangUp(path)).body, { status: 'ended' })
  const before = await remaining()
  t.ok(before < 1500)
  upstream.onCreate(opened(reset()))
  t.equal((await one.begin()).status, 502)
  t.equal(await remaining(), before)
  const places = await redis.control.keys('{ephemint}:calls:caller:*')
  await kill()
  await until('it to be taken over', () => two.logLines().some(({ msg }) => msg === 'calls are taken over'))
  await looks(redis, 6)
  t.equal(await redis.control.zcard(places[0] as string), 1)
  two.clock.pass(60_000)
  await until('its place to be free', async () => await redis.control.zcard(places[0] as string) === 0)
  t.equal(await remaining(), before)
  t.same([one, two].map(({ lines }) => lines('call.unknown').length), [1, 0])
})

t.test('H14: a damaged record is refused, and what upstream has of it hung up', { skip: NO_REDIS }, async (t) => {
  const { redis, upstream, one, two, call: begin, kill } = await startPair(t)
  const { key } = await begin(one)
  await kill(async () => {
    const data = await redis.control.hget(key, 'data') as string
    await redis.control.hset(key, 'data', data.replace('"claims":{', '"claims":7,"x":{'))
  })
  t.match(await two.wrote('call.ended'), [{ reason: 'supervision_lost', complete: false, hangup_confirmed: true }])
  t.equal(upstream.live(), 0)
  await until('its place to be free', async () => (await two.begin()).status === 201)
})

t.test('H14: a record that is no record is refused; without an id there is nothing to hang up', {
  skip: NO_REDIS
}, async (t) => {
  const { redis, upstream, one, two, call: begin, kill } = await startPair(t)
  const { path, key } = await begin(one)
  await kill(async () => {
    await redis.control.hset(key, 'data', 'no JSON')
    t.equal((await two.get(path)).status, 404)
  })
  await until('its place to be free', async () => (await two.begin()).status === 201)
  t.equal(upstream.hangUps.length, 0)
  t.ok(two.logLines().some(({ msg }) => /record of a call is damaged/.test(String(msg))))
})

for (const [name, fields] of [
  ['the line of its end', { state: 'claimed', line: 'no JSON' }],
  ['all of its end', { state: 'claimed', line: 'null' }],
  ['the time of its creation', { born: 'no number' }]
] as const) {
  t.test(`H14: a call is hung up where ${name} is damaged, and others are gone on with`, {
    skip: NO_REDIS
  }, async (t) => {
    const { redis, upstream, one, two, call: begin, kill } = await startPair(t)
    const { key, id } = await begin(one)
    await begin(one, 'bob')
    await kill(async () => { await redis.control.hset(key, fields) })
    t.match(await two.wrote('call.ended'), [{ call_id: id, reason: 'supervision_lost', hangup_confirmed: true }])
    await upstream.attached(upstream.calls[1]?.id as string, 2)
    t.match(await two.begin(), { status: 201 })
    t.notOk(two.logLines().some(({ msg }) => /Redis is lost/.test(String(msg))))
  })
}

for (const name of ['fence', 'slots', 'seconds']) {
  t.test(`H14: a call is gone on with where ${name} in its record is damaged, and gives its place back`, {
    skip: NO_REDIS
  }, async (t) => {
    const { redis, upstream, one, two, call: begin, kill } = await startPair(t, { calls: '{ when_full: replace }' })
    const { path, key } = await begin(one)
    await kill(async () => { await redis.control.hset(key, name, 'damaged') })
    await upstream.attached(upstream.calls[0]?.id as string, 2)
    if (name !== 'fence') await redis.control.hset(key, name, 'damaged')
    t.match(await two.begin(), { status: 201 })
    t.match((await two.get(path)).body, { status: 'ended', end_reason: 'replaced' })
    t.notOk(two.logLines().some(({ msg }) => /Redis is lost/.test(String(msg))))
  })
}

t.test('H14: 10,000 stale records are worked off while the service answers', { skip: NO_REDIS }, async (t) => {
  const { redis, two } = await startPair(t)
  const stale = redis.control.pipeline()
  for (let i = 0; i < 10_000; i++) stale.zadd('{ephemint}:calls:of:ghost', String(i), `rtc_stale${i}`)
  stale.zadd('{ephemint}:calls:leases', '1', 'ghost')
  await stale.exec()
  const left = async () => redis.control.zcard('{ephemint}:calls:of:ghost')
  await until('some to be gone', async () => await left() < 9900)
  const startedAt = performance.now()
  t.equal((await two.begin()).status, 201)
  t.ok(performance.now() - startedAt < 1000)
})

t.test('fault 54: clocks set by an hour either way: no lease runs out, and timers do not move, also where a call is ' +
  'taken over', { skip: NO_REDIS }, async (t) => {
  const { redis, upstream, one, two, call: begin, kill } = await startPair(
    t, { calls: '{ max_seconds: 600, idle_seconds: 600 }' }
  )
  upstream.onCreate(accept({ headers: { date: new Date(Date.now() + HOUR_MS).toUTCString() } }))
  const calls = [await begin(one, 'ada'), await begin(two, 'bob')] as const
  for (const [i, app] of [one, two].entries()) {
    const { path } = calls[i] as typeof calls[0]
    upstream.calls[i]?.change({ expires_at: Math.floor((Date.now() + 2 * HOUR_MS) / 1000) })
    upstream.calls[i]?.push(responseDone('resp_1', usageOf({})))
    const usageAt = async () => (await app.get(path, { sub: ['ada', 'bob'][i] as string })).body.usage as any
    await until('its usage', async () => (await usageAt()).responses === 1)
  }
  const { ends_at: endsAt } = (await one.get(calls[0].path)).body
  for (const stepMs of [HOUR_MS, -2 * HOUR_MS]) {
    for (const { clock } of [one, two]) clock.shiftWall(stepMs)
    // Stands for setting the clock of Redis: everything in it becomes older by the step.
    await redis.control.eval(`
      local P, step = '{ephemint}:calls:', tonumber(ARGV[1])
      for _, replica in ipairs(redis.call('ZRANGE', P .. 'leases', 0, -1)) do
        redis.call('ZINCRBY', P .. 'leases', -step, replica)
      end
      for _, id in ipairs(redis.call('ZRANGE', P .. 'all', 0, -1)) do
        for _, field in ipairs({ 'born', 'saved' }) do redis.call('HINCRBY', P .. 'call:' .. id, field, -step) end
      end`, 0, stepMs)
    for (const { key } of calls) {
      await until('its age to be right again', async () =>
        Math.abs(Number(await redis.control.hget(key, 'born')) - Date.now()) < 60_000)
    }
  }
  await kill()
  const taken = upstream.calls[0] as Call
  await upstream.attached(taken.id, 2)
  t.equal(upstream.attaches.length, 3, 'none was taken over before')
  const { status, ends_at: later } = (await two.get(calls[0].path)).body
  t.equal(status, 'live')
  t.ok(Math.abs(Number(later) - Number(endsAt)) <= 1)
  await two.pass(570_000)
  t.equal(upstream.live(), 2)
  await two.pass(30_000)
  t.match(await two.wrote('call.ended', 2), [{ reason: 'max_duration' }, { reason: 'max_duration' }])
})

async function metricsOf (app: { logLines: () => { msg?: unknown, ops_url?: unknown }[] }): Promise<string> {
  return `${app.logLines().find(({ msg }) => msg === 'listening')?.ops_url}/metrics`
}

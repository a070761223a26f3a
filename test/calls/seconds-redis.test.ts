// `call_seconds` of calls at two replicas with one Redis.

import t, { type Test } from 'tap'
import { accept } from '../support/call-replies.ts'
import { NO_REDIS, startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { failure } from '../support/upstream.ts'
import { type CallsApp, startCalls } from './harness.ts'

async function startTwo (t: Test, seconds: string): Promise<[CallsApp, CallsApp]> {
  const { url } = await startRedis(t)
  const start = async () => {
    const app = await startCalls(t, {
      store: null,
      env: { REDIS_URL: url },
      calls: '{ max_seconds: 300, idle_seconds: 300, concurrent: 2 }',
      limits: `{ day: 100, call_seconds: ${seconds} }`
    })
    await until('Redis to be up', async () => (await fetch(`${app.url}/readyz`)).ok)
    return app
  }
  return [await start(), await start()]
}

const left = async (app: CallsApp) => (await app.limits()).call_seconds.hour.remaining

t.test('call: what a call takes, and what it gives back, another replica sees', { skip: NO_REDIS }, async (t) => {
  const [one, two] = await startTwo(t, '{ hour: 1200 }')
  const answer = await one.begin()
  t.equal(answer.headers.get('x-call-seconds'), '300')
  t.same([await left(one), await left(two)], [900, 900])
  one.clock.pass(41_200)
  await one.hangUp(answer.headers.get('location') as string)
  t.match(await one.wrote('call.ended'), [{ seconds: 42 }])
  t.same([await left(one), await left(two)], [1158, 1158])
  t.match(await two.limits(), { day: { remaining: 99 } })
})

t.test('call: a call takes what is left; under 5 s the next is refused', { skip: NO_REDIS }, async (t) => {
  const [one, two] = await startTwo(t, '{ hour: 304 }')
  const first = await one.begin()
  t.equal(first.headers.get('x-call-seconds'), '300')
  const refused = await two.begin()
  t.match(refused, { status: 429, body: { error: { code: 'rate_limit_exceeded' } } })
  t.match(await two.wrote('call.refused'), [{ code: 'rate_limit_exceeded', reason: 'call_seconds_hour' }])
  t.ok(Number(refused.headers.get('retry-after')) > 3000)
  t.equal(refused.headers.get('x-should-retry'), 'false')
  t.equal(two.upstream.creations.length, 0)
  t.match(await two.limits(), { day: { remaining: 99 }, call_seconds: { hour: { remaining: 4 } } }, 'nothing taken')

  one.clock.pass(10_000)
  await one.hangUp(first.headers.get('location') as string)
  const second = await two.begin()
  t.equal(second.headers.get('x-call-seconds'), '294', 'what is left')
  await two.pass(294_000)
  t.match(await two.wrote('call.ended'), [{ reason: 'max_duration', seconds: 294 }])
  t.match(await one.begin(), { status: 429 })
  t.match(await one.wrote('call.refused'), [{ reason: 'call_seconds_hour' }])
})

t.test('call: a creation that fails takes no seconds from Redis', { skip: NO_REDIS }, async (t) => {
  const [one, two] = await startTwo(t, '{ hour: 1200 }')
  one.upstream.onCreate(failure(500), accept({ answer: '{}' }))
  t.equal((await one.begin()).status, 502)
  t.equal((await one.begin()).status, 502)
  t.same([await left(one), await left(two)], [1200, 1200])
  t.match(await two.limits(), { day: { remaining: 100 } })
})

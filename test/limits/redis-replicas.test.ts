// Limits over replicas, under many mints at once.
// Rounds: many mints in each.

import t, { type Test } from 'tap'
import { CALLERS } from '../support/app.ts'
import { NO_REDIS, startRedis } from '../support/redis.ts'
import { type Service, startService, tokenOf } from '../support/service.ts'
import { times } from '../support/times.ts'
import { failure, GA, startUpstream, type Upstream } from '../support/upstream.ts'

let common: ReturnType<typeof startReplicas> | undefined

const LIMIT = 10
const TOTAL = 25
const ROUNDS = times(10)
const POLICY = `${CALLERS}
policies:
  - name: team
    when: { plan: team }
    limits: { hour: 100, total: { day: ${TOTAL} } }
    realtime: { fixed: { model: gpt-realtime-2.1 } }
  - name: pro
    when: { plan: pro }
    limits: { minute: ${LIMIT}, day: 500 }
    realtime: { fixed: { model: gpt-realtime-2.1 } }
`

t.test('E9: whatever replica is asked, a caller mints up to the limit and not once more', {
  skip: NO_REDIS
}, async (t) => {
  const { replicas, upstream } = await shared()
  for (let round = 0; round < ROUNDS; round++) {
    const before = upstream.requests.length
    const statuses = await mintAtOnce(replicas, round === 0 ? 200 : 30, { sub: `caller ${round}` })
    t.same(tally(statuses), { 200: LIMIT, 429: (round === 0 ? 200 : 30) - LIMIT })
    t.equal(upstream.requests.length - before, LIMIT)
  }
})

t.test('E9: callers of one policy share its total over all replicas, and a caller that it refuses pays nothing', {
  skip: NO_REDIS
}, async (t) => {
  const { replicas } = await shared()
  const statuses = await Promise.all(
    ['ada', 'bob', 'cleo', 'dan'].map((sub) => mintAtOnce(replicas, 30, { sub, plan: 'team' }))
  )
  t.equal(tally(statuses.flat())[200], TOTAL)
  const left = await Promise.all(['ada', 'bob', 'cleo', 'dan'].map((sub) => remaining(replicas[0] as Service, sub)))
  t.equal(left.reduce((sum, hour) => sum + hour), 4 * 100 - TOTAL)
})

t.test('E11: what upstream failed is given back, whichever replica was asked', { skip: NO_REDIS }, async (t) => {
  const { replicas, upstream } = await shared()
  upstream.answer(GA, failure(400))
  t.same(tally(await mintAtOnce(replicas, LIMIT, { sub: 'eve' })), { 502: LIMIT })
  upstream.reset(GA)
  t.same(tally(await mintAtOnce(replicas, 2 * LIMIT, { sub: 'eve' })), { 200: LIMIT, 429: LIMIT })
})

/** One set-up for all tests, each of which has callers of its own. */
function shared (): ReturnType<typeof startReplicas> {
  common ??= startReplicas(t)
  return common
}

async function startReplicas (t: Test): Promise<{ replicas: Service[], upstream: Upstream }> {
  const [redis, upstream] = [await startRedis(t), await startUpstream(t)]
  const replica = () =>
    startService(t, { upstreamUrl: upstream.url, policy: POLICY, env: { REDIS_URL: redis.url, LOG_LEVEL: 'error' } })
  return { replicas: await Promise.all([replica(), replica(), replica()]), upstream }
}

async function mintAtOnce (replicas: Service[], times: number, claims: object): Promise<number[]> {
  const authorization = `Bearer ${await tokenOf({ ...claims })}`
  return Promise.all(Array.from({ length: times }, async (_, i) => {
    const replica = replicas[i % replicas.length] as Service
    return (await replica.mint({ headers: { authorization } })).status
  }))
}

async function remaining (replica: Service, sub: string): Promise<number> {
  const { body } = await replica.ask(
    '/v1/realtime/policy', { headers: { authorization: `Bearer ${await tokenOf({ sub, plan: 'team' })}` } }
  )
  return (body as { limits: { hour: { remaining: number } } }).limits.hour.remaining
}

function tally (statuses: number[]): Record<number, number> {
  return Object.fromEntries([...Map.groupBy(statuses, (status) => status)].map(([status, all]) => [status, all.length]))
}

// 200 requests at once take exactly what the policy permits from three replicas, and give it back at the end, in each
// of many rounds.
// Rounds: eight hundred requests to processes of their own in each.

import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { safetyIdentifier } from '../../src/callers/safety-identifier.ts'
import { APP_ISSUER, CALLERS, CANARIES } from '../support/app.ts'
import { NO_REDIS } from '../support/redis.ts'
import { OFFER } from '../support/sdp.ts'
import { type Service, type TimedAnswer, tokenOf } from '../support/service.ts'
import { times } from '../support/times.ts'
import { until } from '../support/until.ts'
import { startCallReplicas } from './call-replicas.ts'

/** Ten times as many by `npm run laws`. */
const ROUNDS = times(10)
const AT_ONCE = 50
const [CONCURRENT, TOTAL, SECONDS, MINUTE] = [3, 11, 100, 7]
const LONGEST = 30
const policy = (name: string, calls: string, limits = 'none') => `
  - { name: ${name}, when: { plan: ${name} }, limits: ${limits},
      realtime: { fixed: { model: gpt-realtime-2.1 }, calls: ${calls} } }`
const POLICY = `${CALLERS}
policies:${[
  policy('places', `{ concurrent: ${CONCURRENT} }`),
  policy('total', `{ concurrent: 2, total: ${TOTAL} }`),
  policy('seconds', `{ concurrent: 60, max_seconds: ${LONGEST} }`, `{ call_seconds: { hour: ${SECONDS} } }`),
  policy('minute', '{ concurrent: 60 }', `{ minute: ${MINUTE} }`)
].join('')}
`
/** The pause before another try where Redis or a replica is late on a busy machine. */
const AGAIN_MS = 500
const CALLS = '/v1/realtime/calls'

type Claims = Readonly<{ sub: string, plan: string }>

t.setTimeout(600_000)

t.test('H5: places, seconds and windows are exact over three replicas under 200 at once, and are given back', {
  skip: NO_REDIS
}, async (t) => {
  const { redis, replicas, upstream, lines, wrote } = await startCallReplicas(t, { count: 3, policy: POLICY })
  const at = (i: number) => replicas[i % replicas.length] as Service
  const late = () => replicas.flatMap(({ log }) => log).filter(({ msg }) => /Redis is lost/.test(String(msg))).length
  const tokens = new Map<string, string>()

  async function ask (service: Service, path: string, claims: Claims, init: RequestInit = {}): Promise<TimedAnswer> {
    const key = JSON.stringify(claims)
    const token = tokens.get(key) ?? await tokenOf({ ...claims, exp: Math.floor(Date.now() / 1000) + 3600 })
    tokens.set(key, token)
    for (;;) {
      const type = init.body === undefined ? {} : { 'content-type': 'application/sdp' }
      const answer = await service.ask(path, { ...init, headers: { authorization: `Bearer ${token}`, ...type } })
      if (answer.code !== 'limits_unavailable' && answer.code !== 'overloaded') return answer
      await wait(AGAIN_MS)
    }
  }

  async function beginAtOnce (callers: readonly Claims[]) {
    const answers = await Promise.all(callers.map(async (claims, i) =>
      [claims, await ask(at(i), CALLS, claims, { method: 'POST', body: OFFER })] as const))
    const begun = answers.filter(([, { status }]) => status === 201).map(([claims, { headers }]) => ({
      path: headers.get('location') as string, claims, seconds: headers.get('x-call-seconds')
    }))
    const refused: Record<string, number> = {}
    for (const [, { code }] of answers) if (code !== null) refused[code] = (refused[code] ?? 0) + 1
    return { begun, refused }
  }

  const limitsOf = async (claims: Claims, i: number): Promise<any> =>
    (await ask(at(i), '/v1/realtime/policy', claims)).body.limits

  /** Asserts that each round takes no more than the policy permits, and exactly that if Redis answered in time. */
  async function play (round: number): Promise<boolean> {
    const [created, ended, lateBefore] = [upstream.calls.length, lines('call.ended').length, late()]
    const one = (plan: string) => Array.from({ length: AT_ONCE }, () => ({ sub: `${plan} ${round}`, plan }))
    const [places, total, seconds, minute] = await Promise.all([
      // Rounds share callers and a total, so places that are not given back are missing in the next.
      beginAtOnce(one('places').map(({ plan }) => ({ sub: 'ada', plan }))),
      beginAtOnce(Array.from({ length: AT_ONCE }, (_, i) => ({ sub: `one of ${i % 10}`, plan: 'total' }))),
      beginAtOnce(one('seconds')),
      beginAtOnce(one('minute'))
    ])
    const all = [...places.begun, ...total.begun, ...seconds.begun, ...minute.begun]
    const taken = seconds.begun.map((call) => Number(call.seconds))
    const hungUp = await Promise.all(all.map(({ path, claims }, i) =>
      ask(at(round + i), `${path}/hangup`, claims, { method: 'POST' })))
    await wrote('call.ended', ended + upstream.calls.length - created, 60_000)
    await until('all places to be free', async () => await redis.control.zcard('{ephemint}:calls:all') === 0, 30_000)
    const used = lines('call.ended').filter(({ subject }) => subject === identifierOf(`seconds ${round}`))
      .reduce((sum, line) => sum + Number(line.seconds), 0)
    const { call_seconds: left } = await limitsOf({ sub: `seconds ${round}`, plan: 'seconds' }, round)

    t.ok(places.begun.length <= CONCURRENT && total.begun.length <= TOTAL && minute.begun.length <= MINUTE)
    t.ok(taken.reduce((sum, each) => sum + each, 0) <= SECONDS)
    t.ok(left.hour.remaining <= SECONDS - used)
    if (late() > lateBefore) return false
    t.match(places, { begun: { length: CONCURRENT }, refused: { call_in_progress: AT_ONCE - CONCURRENT } })
    const { calls_full: full = 0, call_in_progress: own = 0 } = total.refused
    t.same([total.begun.length, full + own], [TOTAL, AT_ONCE - TOTAL])
    t.same(taken.toSorted(), [10, LONGEST, LONGEST, LONGEST])
    t.same(seconds.refused, { rate_limit_exceeded: AT_ONCE - taken.length })
    t.match(minute, { begun: { length: MINUTE }, refused: { rate_limit_exceeded: AT_ONCE - MINUTE } })
    t.equal(upstream.calls.length - created, all.length)
    t.same(new Set(hungUp.map(({ body }) => body.status)), new Set(['ended']))
    t.equal(left.hour.remaining, SECONDS - used)
    return true
  }

  let exact = 0
  for (let round = 0; exact < ROUNDS && round < 2 * ROUNDS; round++) if (await play(round)) exact++
  t.comment(`${exact} rounds in which Redis was never late`)
  t.ok(exact > 0)
  t.equal(upstream.live(), 0)
  t.equal(upstream.maxLive(identifierOf('ada')), CONCURRENT)
})

function identifierOf (sub: string): string {
  return safetyIdentifier(APP_ISSUER, sub, CANARIES.SAFETY_IDENTIFIER_SECRET)
}

// Two services in this process that share their calls. One of them can be made to seem dead: cut off from Redis, and
// without its lease.

import type { Test } from 'tap'
import type { JsonObject } from '../../src/json.ts'
import { type CallsUpstream, startCallsUpstream } from '../support/calls-upstream.ts'
import { type FaultProxy, startFaultProxy } from '../support/fault-proxy.ts'
import { type RedisServer, startRedis } from '../support/redis.ts'
import { until } from '../support/until.ts'
import { type CallsApp, type CallsOptions, OPS, startCalls } from './harness.ts'

const P = '{ephemint}:calls:'
/** While other tests use all CPUs, Redis answers later than the 250 ms of production. */
const REDIS_WITHIN_MS = 3000

export type Pair = Readonly<{
  redis: RedisServer
  upstream: CallsUpstream
  one: CallsApp
  two: CallsApp
  /** The proxy between `one` and Redis. */
  proxy: FaultProxy
  /** Begins a call at a service: its path, its id and its record in Redis. */
  call: (app: CallsApp, sub?: string) => Promise<Readonly<{ path: string, id: string, key: string }>>
  /** Lets the lease of `one` run out; `spoil` changes the records that it left before the other finds them. */
  kill: (spoil?: () => Promise<unknown>) => Promise<void>
  isUp: (app: CallsApp) => Promise<unknown>
}>

export async function startPair (t: Test, first: CallsOptions = {}, second = first): Promise<Pair> {
  const redis = await startRedis(t)
  const upstream = await startCallsUpstream(t)
  const proxy = await startFaultProxy(t, { host: '127.0.0.1', port: redis.port })
  const isUp = (app: CallsApp) => until('Redis to be up', async () => (await fetch(`${app.url}/readyz`)).ok)
  const start = async (url: string, options: CallsOptions) => {
    const app = await startCalls(t, {
      store: null, upstream, redisWithinMs: REDIS_WITHIN_MS, ...options, env: { REDIS_URL: url, ...OPS, ...options.env }
    })
    await isUp(app)
    return app
  }
  const one = await start(`redis://${proxy.host}`, first)
  const dead = await until('its lease', async () => (await redis.control.zrange(`${P}leases`, '0', '-1'))[0])
  const two = await start(redis.url, second)
  // Before upstream and Redis are closed, which a stop needs.
  t.teardown(() => Promise.all([one, two].map(({ stop }) => stop())))
  return {
    redis,
    upstream,
    one,
    two,
    proxy,
    isUp,
    call: async (app, sub) => {
      // A busy machine answers 503 at first.
      const answer = await until('a call', async () => {
        const begun = await app.begin(sub === undefined ? {} : { claims: { sub } })
        return begun.status === 201 ? begun : null
      })
      const path = answer.headers.get('location') as string
      const id = path.split('/').at(-1) as string
      return { path, id, key: `${P}call:${id}` }
    },
    kill: async (spoil = async () => {}) => {
      await proxy.inject('refuse')
      await until('it to be lost', () => one.logLines().some(({ msg }) => /Redis is lost/.test(String(msg))))
      await spoil()
      // A renewal that is already on its way may still arrive.
      await until('its lease to be over', async () => {
        await redis.control.zadd(`${P}leases`, '1', dead)
        await looks(redis, 1)
        return Number(await redis.control.zscore(`${P}leases`, dead)) <= 1
      })
    }
  }
}

export const statusAt = async (app: CallsApp, path: string, sub = 'ada'): Promise<unknown> =>
  ((await app.get(path, { sub })).body as JsonObject).status

/** Waits until a replica has polled Redis `count` more times. */
export async function looks ({ control }: RedisServer, count: number): Promise<void> {
  const leases = () => control.zrange('{ephemint}:calls:leases', '0', '-1', 'WITHSCORES').then(String)
  for (let left = count, before = await leases(); left > 0; left--) {
    await until('a look', async () => await leases() !== before)
    before = await leases()
  }
}

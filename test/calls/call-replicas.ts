// Replicas of the service that share their calls, as separate processes, with one Redis and one upstream.

import type { JsonObject } from '../../src/json.ts'
import { CANARIES } from '../support/app.ts'
import { type CallsUpstream, startCallsUpstream } from '../support/calls-upstream.ts'
import type { Owner } from '../support/fault-proxy.ts'
import { type RedisServer, startRedis } from '../support/redis.ts'
import { OFFER } from '../support/sdp.ts'
import { type Service, type ServiceOptions, startService, type TimedAnswer, tokenOf } from '../support/service.ts'
import { until } from '../support/until.ts'
import { policyOf } from './harness.ts'

const CALLS = '/v1/realtime/calls'

export type CallReplicas = Readonly<{
  /** Missing if `redisUrl` is a string. */
  redis: RedisServer
  upstream: CallsUpstream
  /** Every replica that was started. */
  replicas: readonly Service[]
  start: (env?: Readonly<Record<string, string>>, options?: Partial<ServiceOptions>) => Promise<Service>
  begin: (service: Service, sub?: string) => Promise<TimedAnswer>
  /** Begins a call and resolves to its path. */
  call: (service: Service, sub?: string) => Promise<string>
  get: (service: Service, path: string, sub?: string) => Promise<TimedAnswer>
  hangUp: (service: Service, path: string, sub?: string) => Promise<TimedAnswer>
  /** Sends a request of an operator. */
  operate: (service: Service, path: string, body?: JsonObject) => Promise<JsonObject>
  /** The audit lines of all replicas. */
  lines: (event: string) => JsonObject[]
  wrote: (event: string, count: number, withinMs?: number) => Promise<JsonObject[]>
}>

export type CallReplicasOptions = Readonly<{
  count?: number
  policy?: string
  redisOptions?: readonly string[]
  /** The URL for the replica with this index; a string names a Redis that runs already. */
  redisUrl?: string | ((redis: RedisServer, i: number) => Promise<string>)
  env?: Readonly<Record<string, string>>
}>

export async function startCallReplicas (
  t: Owner, options: CallReplicasOptions = {}
): Promise<CallReplicas> {
  const {
    count = 2, policy = policyOf(), redisOptions = [], redisUrl = async ({ url }) => url, env = {}
  } = options
  const redis = typeof redisUrl === 'string' ? null as unknown as RedisServer : await startRedis(t, ...redisOptions)
  const upstream = await startCallsUpstream(t)
  const replicas: Service[] = []
  const opsUrls = new Map<Service, string>()

  const start: CallReplicas['start'] = async (more = {}, options = {}) => {
    const service = await startService(t, {
      upstreamUrl: upstream.url,
      policy,
      env: {
        REDIS_URL: typeof redisUrl === 'string' ? redisUrl : await redisUrl(redis, replicas.length),
        OPS_HOST: '127.0.0.1',
        OPS_PORT: '0',
        ...env,
        ...more
      },
      ...options
    })
    replicas.push(service)
    return service
  }
  const authorization = async (sub: string) => `Bearer ${await tokenOf({ sub })}`
  const begin: CallReplicas['begin'] = async (service, sub = 'ada') => service.ask(CALLS, {
    method: 'POST',
    headers: { authorization: await authorization(sub), 'content-type': 'application/sdp' },
    body: OFFER
  })
  const lines = (event: string) => replicas.flatMap(({ audit }) => audit).filter((line) => line.event === event)
  for (let i = 0; i < count; i++) await start()
  return {
    redis,
    upstream,
    replicas,
    start,
    begin,
    call: async (service, sub) => {
      const answer = await begin(service, sub)
      if (answer.status !== 201) throw new Error(`no call but ${answer.status} ${answer.code}`)
      return answer.headers.get('location') as string
    },
    get: async (service, path, sub = 'ada') =>
      service.ask(path, { headers: { authorization: await authorization(sub) } }),
    hangUp: async (service, path, sub = 'ada') =>
      service.ask(`${path}/hangup`, { method: 'POST', headers: { authorization: await authorization(sub) } }),
    operate: async (service, path, body) => {
      const url = opsUrls.get(service) ??
        (await until('it to listen', () => service.log.find(({ msg }) => msg === 'listening'))).ops_url as string
      opsUrls.set(service, url)
      const headers = { authorization: `Bearer ${CANARIES.ADMIN_TOKEN}`, 'content-type': 'application/json' }
      const init = body === undefined ? { headers } : { method: 'POST', headers, body: JSON.stringify(body) }
      return (await fetch(url + path, init)).json() as Promise<JsonObject>
    },
    lines,
    wrote: (event, many, withinMs) => until(`${many} × ${event}`, () => {
      const found = lines(event)
      return found.length >= many ? found : null
    }, withinMs)
  }
}

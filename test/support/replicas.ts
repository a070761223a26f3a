// Two replicas for a load balancer in front of them, and what any load balancer must hold.

import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { request } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import type { Test } from 'tap'
import { safetyIdentifier } from '../../src/callers/safety-identifier.ts'
import { CALLERS, CANARIES } from './app.ts'
import { type Service, startService, tokenOf } from './service.ts'
import { until } from './until.ts'
import { startUpstream, type Upstream } from './upstream.ts'

export const MINT = '/v1/realtime/client_secrets'
export const POLICY_OF_REPLICAS = `${CALLERS}
  - guest: {}
policies:
  - { name: visitors, when: guest, limits: { day: 100 }, realtime: { fixed: { model: gpt-realtime-2.1 } } }
  - { name: pro, when: { plan: pro }, limits: none, realtime: { fixed: { model: gpt-realtime-2.1 } } }
`
const FORWARDING = ['x-forwarded-for', 'forwarded', 'x-real-ip', 'cf-connecting-ip', 'true-client-ip']
export const TRACEPARENT = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`

/** The origins in deploy/haproxy.cfg and in the lines for Caddy. */
export const ORIGINS_OF_EXAMPLES = {
  permitted: ['https://app.example.com', 'capacitor://localhost', 'https://app-pr-7.example.com'],
  foreign: [
    'null', '*', 'https://evil.test', 'https://APP.example.com', 'https://app.example.com:8443',
    'http://app.example.com', 'https://app.example.com.evil.test', 'https://appXexample.com',
    'https://app-.example.com', 'https://app-a.b.example.com', 'https://evil.test/https://app.example.com',
    'https://app-a.exampleXcom'
  ]
}

export type Replicas = Readonly<{ replicas: [Service, Service], upstream: Upstream }>
export type Front = Replicas & Readonly<{ url: string }>

export async function startReplicas (t: Test): Promise<Replicas> {
  const upstream = await startUpstream(t)
  return { replicas: await Promise.all([startReplica(t, upstream), startReplica(t, upstream)]), upstream }
}

/** Starts a replica that trusts forwarding headers from this host. */
export function startReplica (t: Test, upstream: Upstream, port?: number): Promise<Service> {
  return startService(t, {
    upstreamUrl: upstream.url,
    policy: POLICY_OF_REPLICAS,
    env: { TRUST_PROXY: '127.0.0.1', DRAIN_SECONDS: '2' },
    ...(port === undefined ? {} : { port })
  })
}

/** Mints from that client address. */
export async function mintFrom (
  url: string, localAddress: string, headers: Record<string, string> = {}
): Promise<number> {
  const asked = request(url + MINT, { method: 'POST', localAddress, headers, agent: false }).end()
  const [response] = await once(asked, 'response')
  response.resume()
  await once(response, 'end')
  return response.statusCode
}

/** The safety identifier of a guest. */
export function visitor (address: string): string {
  return safetyIdentifier('guest', address, CANARIES.SAFETY_IDENTIFIER_SECRET)
}

export async function assertClientAddress (t: Test, { url, upstream }: Front): Promise<void> {
  const forged = [{}, ...FORWARDING.map(
    (name) => ({ [name]: name === 'forwarded' ? 'for=9.9.9.9' : '9.9.9.9, 127.0.0.1' })
  )]
  for (const from of ['127.0.0.7', '127.0.0.8']) {
    for (const headers of forged) {
      t.equal(await mintFrom(url, from, headers), 200)
      t.equal(upstream.requests.at(-1)?.headers['openai-safety-identifier'], visitor(from), JSON.stringify(headers))
    }
  }
}

/** `log` is the load balancer's, if it has one. */
export async function assertOneRequestId (
  t: Test, { url, replicas }: Front, log?: () => string
): Promise<void> {
  const token = await tokenOf()
  const response = await fetch(`${url}${MINT}?token=${token}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'x-request-id': 'forged', traceparent: TRACEPARENT }
  })
  const id = response.headers.get('x-request-id')
  t.match(id, /^[0-9a-f-]{32,36}$/)
  const line = await until(
    'its audit line', () => replicas.flatMap(({ audit }) => audit).find(({ request_id: of }) => of === id)
  )
  t.match(line, { event: 'mint.granted' })
  t.notOk('trace_id' in line, 'what a client says of a trace is not passed on')
  if (log === undefined) return
  // A request is logged after its answer.
  await until('its line in the load balancer\'s log', () => log().includes(`"request_id":"${id}"`))
  t.notMatch(log(), token)
  t.notMatch(log(), /token=|forged|"127\.0\.0\.1"/)
}

export async function assertLargeRequests (t: Test, { url }: Front): Promise<void> {
  const authorization = `Bearer ${await tokenOf({ padding: 'x'.repeat(5500) })}`
  t.ok(authorization.length > 7000)
  t.equal((await fetch(url + MINT, { method: 'POST', headers: { authorization } })).status, 200)
  for (const size of [40_000, 100_000]) {
    const response = await fetch(url + MINT, {
      method: 'POST', headers: { authorization, 'content-type': 'application/json' }, body: ' '.repeat(size)
    })
    t.equal(response.status, 413)
    t.match(await response.json(), { error: { code: 'body_too_large', type: 'invalid_request_error' } })
  }
}

/** `url` is that of a load balancer that reaches no replica. */
export async function assertLimitsUnavailable (t: Test, url: string): Promise<void> {
  const response = await fetch(url + MINT, { method: 'POST' })
  t.equal(response.status, 503)
  t.equal(response.headers.get('retry-after'), '1')
  t.equal(response.headers.get('cache-control'), 'no-store')
  t.match(response.headers.get('content-type'), 'application/json')
  t.match(await response.json(), { error: { type: 'api_error', code: 'overloaded', param: null } })
}

/** `url` is that of a load balancer that reaches no replica. Only pages of `permitted` may read what it answers. */
export async function assertReadable (
  t: Test, url: string, { permitted, foreign }: Readonly<{ permitted: readonly string[], foreign: readonly string[] }>
): Promise<void> {
  const ask = async (headers: Record<string, string>, method = 'POST') => {
    const { status, headers: answered } = await fetch(url + MINT, { method, headers })
    const names = Object.fromEntries([...answered].filter(([name]) => name.startsWith('access-control-')))
    return { status, names, headers: Object.fromEntries(answered) }
  }
  const readable = (origin: string) => ({
    'access-control-allow-origin': origin,
    'access-control-allow-credentials': 'true',
    'access-control-expose-headers': 'X-Request-Id, Retry-After'
  })
  const asked = { 'access-control-request-method': 'POST', 'access-control-request-headers': 'authorization,x-any' }
  const [first = ''] = permitted
  const refused = [
    ...foreign.flatMap((origin) => [[{ origin }, 'POST'], [{ ...asked, origin }, 'OPTIONS']] as const),
    [asked, 'OPTIONS'] as const
  ]
  await Promise.all(refused.map(async ([headers, method]) => {
    const { status, names } = await ask(headers, method)
    t.same({ status, names }, { status: 503, names: {} }, JSON.stringify(headers))
  }))
  await Promise.all(permitted.map(async (origin) => {
    const { status, names, headers } = await ask({ origin })
    t.same({ status, names }, { status: 503, names: readable(origin) }, origin)
    t.match(headers, { 'retry-after': '1', vary: 'Origin', 'cache-control': 'no-store' })
    t.match(headers['x-request-id'], /^[0-9a-f-]{32,36}$/)
  }))
  t.equal((await ask({ origin: first }, 'OPTIONS')).status, 503, 'an OPTIONS that is no preflight')
  const { status, names } = await ask({ ...asked, origin: first }, 'OPTIONS')
  t.ok(status === 200 || status === 204)
  t.same(names, {
    ...readable(first),
    'access-control-allow-methods': 'GET, POST',
    'access-control-allow-headers': 'authorization,x-any'
  })
}

/** Asserts that no header comes twice, and that the CORS headers are the replica's, which permits no origin. */
export async function assertAnsweredByReplica (t: Test, { url }: Pick<Front, 'url'>): Promise<void> {
  for (const origin of ORIGINS_OF_EXAMPLES.permitted) {
    const response = await fetch(url + MINT, { method: 'POST', headers: { origin } })
    t.equal(response.status, 403)
    t.match(await response.json(), { error: { code: 'origin_not_allowed' } })
    t.match(response.headers.get('x-request-id'), /^[0-9a-f-]{32,36}$/, 'once')
    t.notOk(response.headers.has('access-control-allow-origin'))
  }
}

/** A POST that was sent into a connection of the dead replica would be lost: no load balancer may send it again. */
export async function assertDeadReplicaCostsNothing (t: Test, { url, replicas: [one, two] }: Front): Promise<void> {
  one.kill('SIGKILL')
  await one.exited
  await until('the load balancer to close what the replica closed', () => !hasHalfClosed(new URL(one.url).port))
  const statuses = await Promise.all(Array.from({ length: 20 }, () => mintFrom(url, '127.0.0.7')))
  t.same([...new Set(statuses)], [200])
  await until('an audit line of each', () => two.audit.length >= 20)
}

/** Whether a process of this machine still holds a connection that the server of that port has closed. */
function hasHalfClosed (port: string): boolean {
  const hex = Number(port).toString(16).toUpperCase().padStart(4, '0')
  // Local address, remote address and state; 08 is CLOSE_WAIT.
  return ['/proc/net/tcp', '/proc/net/tcp6'].filter((path) => existsSync(path))
    .some((path) => new RegExp(`^ *\\d+: \\S+ \\S+:${hex} 08 `, 'm').test(readFileSync(path, 'utf8')))
}

/** Mints some hundred times a second. Returns a function that ends it and resolves to the statuses. */
export async function startMintLoad (url: string, connections: number): Promise<() => Promise<number[]>> {
  const authorization = `Bearer ${await tokenOf()}`
  const statuses: number[] = []
  const load = { isOver: false }
  const work = async () => {
    while (!load.isOver) {
      const response = await fetch(url + MINT, { method: 'POST', headers: { authorization } })
      await response.text()
      statuses.push(response.status)
      // Enough that a mint is in flight at any moment; the machine need not be at its limit.
      await pause(20)
    }
  }
  const workers = Array.from({ length: connections }, work)
  return async () => {
    load.isOver = true
    await Promise.all(workers)
    return statuses
  }
}

/** One replica stops under load; every mint is answered with 200 and was sent upstream once. */
export async function assertStopLosesNothing (
  t: Test, { url, replicas: [leaving, staying], upstream }: Front
): Promise<void> {
  const stopLoad = await startMintLoad(url, 8)
  leaving.kill('SIGTERM')
  t.match(await leaving.exited, { code: 0 })
  const sinceThen = staying.audit.length
  await until('more mints', () => staying.audit.length > sinceThen + 100)
  const statuses = await stopLoad()
  t.same([...new Set(statuses)], [200])
  t.equal(upstream.requests.length, statuses.length)
  t.ok(leaving.audit.length > 0)
}

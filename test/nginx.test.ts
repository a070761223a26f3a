import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { safetyIdentifier } from '../src/callers/safety-identifier.ts'
import { CALLERS, CANARIES } from './support/app.ts'
import { type Gateway, NO_NGINX, startNginx } from './support/nginx.ts'
import { type Service, startService, tokenOf } from './support/service.ts'
import { until } from './support/until.ts'
import { startUpstream, type Upstream } from './support/upstream.ts'

t.setTimeout(120_000)

const MINT = '/v1/realtime/client_secrets'
const POLICY = `${CALLERS}
  - guest: {}
policies:
  - { name: visitors, when: guest, limits: { day: 100 }, realtime: { fixed: { model: gpt-realtime-2.1 } } }
  - { name: pro, when: { plan: pro }, limits: none, realtime: { fixed: { model: gpt-realtime-2.1 } } }
`
type Front = Readonly<{ gateway: Gateway, replicas: [Service, Service], upstream: Upstream }>

let common: Promise<Front> | undefined

t.test('the client address is what the gateway sees, whatever the client sends', { skip: NO_NGINX }, async (t) => {
  const { gateway, upstream } = await shared()
  const forged = [{}, ...['x-forwarded-for', 'forwarded', 'x-real-ip', 'cf-connecting-ip', 'true-client-ip'].map(
    (name) => ({ [name]: name === 'forwarded' ? 'for=9.9.9.9' : '9.9.9.9, 127.0.0.1' })
  )]
  for (const from of ['127.0.0.7', '127.0.0.8']) {
    for (const headers of forged) {
      t.equal(await mintFrom(gateway.url, from, headers), 200)
      t.equal(upstream.requests.at(-1)?.headers['openai-safety-identifier'], visitor(from), JSON.stringify(headers))
    }
  }
})

t.test('a replica ignores forwarding headers of a request that bypasses the gateway', { skip: NO_NGINX }, async (t) => {
  const { replicas: [replica], upstream } = await shared()
  const before = replica.audit.length
  t.equal(await mintFrom(replica.url, '127.0.0.9', {
    'x-forwarded-for': '9.9.9.9', 'x-request-id': 'forged', traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
  }), 200)
  t.equal(upstream.requests.at(-1)?.headers['openai-safety-identifier'], visitor('127.0.0.9'))
  await until('its audit line', () => replica.audit.length > before)
  t.notMatch(JSON.stringify(replica.audit), /forged|aaaa/)
})

t.test('a request keeps its id from the gateway to the audit line, and the gateway logs only facts', {
  skip: NO_NGINX
}, async (t) => {
  const { gateway, replicas } = await shared()
  const token = await tokenOf()
  const response = await fetch(`${gateway.url}${MINT}?token=${token}`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      'x-request-id': 'forged',
      traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
    }
  })
  const id = response.headers.get('x-request-id')
  t.match(id, /^[0-9a-f]{32}$/)
  const line = await until(
    'its audit line', () => replicas.flatMap(({ audit }) => audit).find(({ request_id: of }) => of === id)
  )
  t.match(line, { event: 'mint.granted' })
  t.notOk('trace_id' in line, 'what a client says of a trace is not passed on')
  // nginx logs a request after its answer.
  await until('its line of the gateway', () => gateway.accessLog().includes(`"request_id":"${id}"`))
  t.notMatch(gateway.accessLog(), token)
  t.notMatch(gateway.accessLog(), /token=|forged|"127\.0\.0\.1"/)
})

t.test('a body that is too large and a large token are answered by the replica', {
  skip: NO_NGINX
}, async (t) => {
  const { gateway } = await shared()
  const authorization = `Bearer ${await tokenOf({ padding: 'x'.repeat(5500) })}`
  t.ok(authorization.length > 7000)
  t.equal((await fetch(gateway.url + MINT, { method: 'POST', headers: { authorization } })).status, 200)
  for (const size of [40_000, 100_000]) {
    const response = await fetch(gateway.url +
      MINT, { method: 'POST', headers: { authorization, 'content-type': 'application/json' }, body: ' '.repeat(size) })
    t.equal(response.status, 413)
    t.match(await response.json(), { error: { code: 'body_too_large', type: 'invalid_request_error' } })
  }
})

t.test('without a replica the answer is in the error format that SDKs understand', { skip: NO_NGINX }, async (t) => {
  const gateway = await startNginx(t, ['http://127.0.0.1:1', 'http://127.0.0.1:2'])
  const response = await fetch(gateway.url + MINT, { method: 'POST' })
  t.equal(response.status, 503)
  t.equal(response.headers.get('retry-after'), '1')
  t.equal(response.headers.get('cache-control'), 'no-store')
  t.match(await response.json(), { error: { type: 'api_error', code: 'overloaded', param: null } })
})

t.test('a dead replica costs no mint', { skip: NO_NGINX }, async (t) => {
  const { gateway, replicas: [one, two] } = await startFront(t)
  one.kill('SIGKILL')
  await one.exited
  const statuses = await Promise.all(Array.from({ length: 20 }, () => mintFrom(gateway.url, '127.0.0.7', {})))
  t.same([...new Set(statuses)], [200])
  await until('an audit line of each', () => two.audit.length >= 20)
})

t.test('fault 33: while one replica stops no mint is lost, and none is minted twice', { skip: NO_NGINX }, async (t) => {
  const { gateway, replicas: [leaving, staying], upstream } = await startFront(t)
  const authorization = `Bearer ${await tokenOf()}`
  const statuses: number[] = []
  const load = { isOver: false }
  const work = async () => {
    while (!load.isOver) {
      const response = await fetch(gateway.url + MINT, { method: 'POST', headers: { authorization } })
      await response.text()
      statuses.push(response.status)
    }
  }
  const workers = Array.from({ length: 8 }, work)
  // As the health check of the compose file: by these requests nginx notices replicas that are not ready.
  const checks = setInterval(
    () => { fetch(`${gateway.url}/readyz`).then((response) => response.text(), () => {}) }, 250
  )
  leaving.kill('SIGTERM')
  t.match(await leaving.exited, { code: 0 })
  const sinceThen = staying.audit.length
  await until('more mints', () => staying.audit.length > sinceThen + 100)
  load.isOver = true
  await Promise.all(workers)
  clearInterval(checks)
  t.same([...new Set(statuses)], [200])
  t.equal(upstream.requests.length, statuses.length)
  t.ok(leaving.audit.length > 0)
})

t.test('G20: a shared cache that respects headers stores nothing', { skip: NO_NGINX }, async (t) => {
  const cacheable = createServer((_request, response) => response.end('{}')).listen(0, '127.0.0.1')
  await once(cacheable, 'listening')
  t.teardown(() => cacheable.close())
  const control = `http://127.0.0.1:${(cacheable.address() as AddressInfo).port}`
  const storing = await startNginx(t, [control, control], withCache)
  const seen = async () => (await fetch(storing.url + MINT, { method: 'POST' })).headers.get('x-cache')
  t.equal(await seen(), 'MISS')
  await until('it to have stored that', async () => await seen() === 'HIT')
  t.not(storing.files('cache').length, 0, 'this cache does store')

  const { replicas: [one, two], upstream } = await shared()
  const gateway = await startNginx(t, [one.url, two.url], withCache)
  const mintedBefore = upstream.secrets.length
  const [ada, bob] = [await tokenOf({ sub: 'ada' }), await tokenOf({ sub: 'bob' })]
  const asked = [ada, bob, ada].map(
    (token) => [MINT, { method: 'POST', headers: { authorization: `Bearer ${token}` } }] as const
  )
  const others = [
    ['/v1/realtime/policy', { headers: { authorization: `Bearer ${ada}` } }],
    [MINT, { method: 'POST', headers: { authorization: 'Bearer x' } }], ['/nothing', {}]
  ] as const
  for (const [path, init] of [...asked, ...others, ...others]) {
    const response = await fetch(gateway.url + path, init)
    t.equal(response.headers.get('x-cache'), 'MISS', path)
    await response.text()
  }
  t.equal(new Set(upstream.secrets.slice(mintedBefore)).size, 3)
  t.same(gateway.files('cache'), [])
})

function withCache (config: string): string {
  return config
    .replace('http {', 'http {\n  proxy_cache_path cache keys_zone=everything:1m;')
    .replace(
      'proxy_cache off;',
      'proxy_cache everything; proxy_cache_methods GET HEAD POST; proxy_cache_key $uri; ' +
        'proxy_cache_valid any 10m; add_header X-Cache $upstream_cache_status always;'
    )
}

async function startFront (t: Test): Promise<Front> {
  const upstream = await startUpstream(t)
  const start = () => startService(
    t, { upstreamUrl: upstream.url, policy: POLICY, env: { TRUST_PROXY: '127.0.0.1', DRAIN_SECONDS: '2' } }
  )
  const replicas = await Promise.all([start(), start()])
  return { gateway: await startNginx(t, [replicas[0].url, replicas[1].url]), replicas, upstream }
}

/** One set-up for all tests that do not stop a replica. */
function shared (): Promise<Front> {
  common ??= startFront(t)
  return common
}

/** Mints from that client address. */
async function mintFrom (url: string, localAddress: string, headers: Record<string, string>): Promise<number> {
  const asked = request(url + MINT, { method: 'POST', localAddress, headers, agent: false }).end()
  const [response] = await once(asked, 'response')
  response.resume()
  await once(response, 'end')
  return response.statusCode
}

function visitor (address: string): string {
  return safetyIdentifier('guest', address, CANARIES.SAFETY_IDENTIFIER_SECRET)
}

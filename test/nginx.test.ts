import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { type Gateway, NO_NGINX, startNginx } from './support/nginx.ts'
import {
  assertClientAddress, assertDeadReplicaCostsNothing, assertLargeRequests, assertOneRequestId, assertStopLosesNothing,
  assertUnavailable, type Front, MINT, mintFrom, startReplicas, TRACEPARENT, visitor
} from './support/replicas.ts'
import { tokenOf } from './support/service.ts'
import { until } from './support/until.ts'

t.setTimeout(120_000)

let common: Promise<Front & { gateway: Gateway }> | undefined

t.test('the client address is what the gateway sees, whatever the client sends', { skip: NO_NGINX }, async (t) => {
  await assertClientAddress(t, await shared())
})

t.test('a replica ignores forwarding headers of a request that bypasses the gateway', { skip: NO_NGINX }, async (t) => {
  const { replicas: [replica], upstream } = await shared()
  const before = replica.audit.length
  t.equal(await mintFrom(replica.url, '127.0.0.9', {
    'x-forwarded-for': '9.9.9.9', 'x-request-id': 'forged', traceparent: TRACEPARENT
  }), 200)
  t.equal(upstream.requests.at(-1)?.headers['openai-safety-identifier'], visitor('127.0.0.9'))
  await until('its audit line', () => replica.audit.length > before)
  t.notMatch(JSON.stringify(replica.audit), /forged|aaaa/)
})

t.test('a request keeps its id from the gateway to the audit line, and the gateway logs only facts', {
  skip: NO_NGINX
}, async (t) => {
  const front = await shared()
  await assertOneRequestId(t, front, front.gateway.accessLog)
})

t.test('a body that is too large and a large token are answered by the replica', {
  skip: NO_NGINX
}, async (t) => {
  await assertLargeRequests(t, await shared())
})

t.test('without a replica the answer is in the error format that SDKs understand', { skip: NO_NGINX }, async (t) => {
  const { url } = await startNginx(t, ['http://127.0.0.1:1', 'http://127.0.0.1:2'])
  await assertUnavailable(t, url)
})

t.test('a dead replica costs no mint', { skip: NO_NGINX }, async (t) => {
  await assertDeadReplicaCostsNothing(t, await startFront(t))
})

t.test('fault 33: while one replica stops no mint is lost, and none is minted twice', { skip: NO_NGINX }, async (t) => {
  const front = await startFront(t)
  // As the health check of the compose file: by these requests nginx notices replicas that are not ready.
  const checks = setInterval(
    () => { fetch(`${front.url}/readyz`).then((response) => response.text(), () => {}) }, 250
  )
  t.teardown(() => clearInterval(checks))
  await assertStopLosesNothing(t, front)
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

async function startFront (t: Test) {
  const service = await startReplicas(t)
  const gateway = await startNginx(t, [service.replicas[0].url, service.replicas[1].url])
  return { ...service, gateway, url: gateway.url }
}

/** One set-up for all tests that do not stop a replica. */
function shared () {
  common ??= startFront(t)
  return common
}

import { once } from 'node:events'
import { rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startCallReplicas } from './calls/call-replicas.ts'
import { type Gateway, NO_NGINX, startNginx } from './support/nginx.ts'
import { exchange } from './support/raw-http.ts'
import { NO_REDIS } from './support/redis.ts'
import {
  assertAnsweredByReplica, assertClientAddress, assertDeadReplicaCostsNothing, assertLargeRequests,
  assertLimitsUnavailable, assertOneRequestId, assertReadable, assertStopLosesNothing, type Front, MINT, mintFrom,
  ORIGINS_OF_EXAMPLES, startReplicas, TRACEPARENT, visitor
} from './support/replicas.ts'
import { OFFER } from './support/sdp.ts'
import { type Service, tokenOf } from './support/service.ts'
import { until } from './support/until.ts'

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
  await assertLimitsUnavailable(t, url)
})

t.test('operate O4: pages of configured origins can read what nginx answers, and their preflights succeed', {
  skip: NO_NGINX
}, async (t) => {
  const { url, accessLog } = await startWithoutReplicas(t)
  await assertReadable(t, url, { permitted: PERMITTED, foreign: FOREIGN })
  const { headers } = await fetch(url + MINT, { method: 'POST' })
  const id = headers.get('x-request-id') as string
  const lineOf = () => accessLog().split('\n').find((line) => line.includes(id))
  const line = await until('its line in the access log', lineOf)
  t.match(JSON.parse(line), { method: 'POST', path: MINT, status: 503 }, 'as it was sent')
})

t.test('operate O4: while a replica is there it answers, and no header is there twice', {
  skip: NO_NGINX
}, async (t) => {
  const { replicas: [one, two] } = await shared()
  const origins = ORIGINS_OF_EXAMPLES.permitted.join()
  await assertAnsweredByReplica(t, await startNginx(t, [one.url, two.url], undefined, origins))
})

t.test('operate O4: whatever nginx refuses by itself has the id and the envelope', { skip: NO_NGINX }, async (t) => {
  const { port } = await startWithoutReplicas(t)
  const long = 'x'.repeat(20_000)
  const post = `POST ${MINT} HTTP/1.1\r\nHost: a\r\nOrigin: ${ORIGIN}\r\n`
  const cases: [string, number, string, string][] = [
    ['no HTTP', 400, 'invalid_request', 'nothing of ours\r\n\r\n'],
    ['no Host', 400, 'invalid_request', 'GET / HTTP/1.1\r\n\r\n'],
    ['a header that is too long', 400, 'invalid_request', `${post}X-Long: ${long}\r\n\r\n`],
    ['an address that is too long', 414, 'invalid_request', `GET /${long} HTTP/1.1\r\nHost: a\r\n\r\n`],
    ['two lengths', 400, 'invalid_request', `${post}Content-Length: 1\r\nContent-Length: 2\r\n\r\n`],
    ['an encoding of no kind', 400, 'invalid_request', `${post}Transfer-Encoding: gzip\r\n\r\n`],
    ['TRACE', 405, 'method_not_allowed', 'TRACE / HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['a body that is too large', 413, 'body_too_large', `${post}Content-Length: 140000\r\n\r\n`]
  ]
  for (const [name, status, code, text] of cases) {
    const [answer] = await exchange({ port }, text, 1)
    t.equal(answer?.status, status, name)
    t.match(answer?.headers.get('content-type'), 'application/json', name)
    t.match(answer?.headers.get('x-request-id'), /^[0-9a-f]{32}$/, name)
    t.match(JSON.parse(answer?.text ?? ''), { error: { type: 'invalid_request_error', code, param: null } }, name)
    if (text.startsWith('POST')) t.equal(answer?.headers.get('access-control-allow-origin'), ORIGIN, name)
  }
})

t.test('a call that was created at one replica can be read and ended at another, without stickiness', {
  skip: NO_NGINX || NO_REDIS
}, async (t) => {
  const world = await startCallReplicas(t, { env: { TRUST_PROXY: '127.0.0.1' } })
  const [one, two] = world.replicas as [Service, Service]
  const { url, prefix, accessLog } = await startNginx(t, [one.url, two.url])
  const only = (name: string) => {
    for (const other of ['ephemint-1', 'ephemint-2']) rmSync(join(prefix, `${other}.down`), { force: true })
    writeFileSync(join(prefix, `${name === 'ephemint-1' ? 'ephemint-2' : 'ephemint-1'}.down`), '')
  }
  const authorization = `Bearer ${await tokenOf()}`
  const ids: (string | null)[] = []
  const ask = async (path: string, init: RequestInit = {}) => {
    const response = await fetch(url + path, { ...init, headers: { authorization, ...init.headers } })
    ids.push(response.headers.get('x-request-id'))
    return response
  }

  only('ephemint-1')
  const form = new FormData()
  form.append('sdp', OFFER + `a=x-padding:${'x'.repeat(1000)}\r\n`.repeat(55))
  form.append('session', `${' '.repeat(30_000)}{"type":"realtime"}`)
  const created = await ask('/v1/realtime/calls', { method: 'POST', body: form })
  t.equal(created.status, 201, 'also one of 85 KB')
  const path = created.headers.get('location') as string
  only('ephemint-2')
  t.match(await (await ask(path)).json(), { status: 'live' })
  t.match(await (await ask(`${path}/hangup`, { method: 'POST' })).json(), { status: 'ended', end_reason: 'client' })
  only('ephemint-1')
  t.match(await (await ask(path)).json(), { status: 'ended' })
  // Workers log their requests each in its own time, so the order of the lines is not that of the requests.
  const seen = await until('its lines in the access log', () => {
    const lines = accessLog().split('\n').filter((line) => line.includes('/v1/realtime/calls'))
      .map((line): Record<'request_id' | 'upstream', string> => JSON.parse(line))
    return lines.length === 4 ? Map.groupBy(lines, ({ request_id: id }) => id) : null
  })
  const [first, second] = [one, two].map((replica) => new URL(replica.url).host)
  t.same(ids.map((id) => seen.get(id ?? '')?.map(({ upstream }) => upstream)), [[first], [second], [second], [first]])
  t.match(await world.wrote('call.ended', 1), [{ reason: 'client', complete: true }])
})

t.test('a dead replica costs no mint', { skip: NO_NGINX }, async (t) => {
  await assertDeadReplicaCostsNothing(t, await startFront(t))
})

t.test('fault 33: while one replica stops no mint is lost, and none is minted twice', { skip: NO_NGINX }, async (t) => {
  const front = await startFront(t)
  // The health check of the compose file: by these requests nginx notices replicas that are not ready.
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

const ORIGIN = 'https://app.test'
const PERMITTED = [ORIGIN, 'capacitor://localhost', 'http://[::1]:3000', 'https://app-pr-7-team.example.app']
const FOREIGN = [
  'null', '*', 'https://evil.test', 'https://APP.test', 'https://app.test:8443', 'https://app.test.evil.test',
  'https://appXtest', 'https://app--team.example.app.evil.test', 'https://app-a.b-team.example.app',
  'https://app--team.exampleXapp', 'https://app-*-team.example.app'
]

/** The origins are written as a person would, with invalid ones among them. */
function startWithoutReplicas (t: Test): Promise<Gateway> {
  const origins = ' https://app.test, capacitor://localhost ,http://[::1]:3000,,https://app-*-team.example.app'
  return startNginx(t, ['http://127.0.0.1:1', 'http://127.0.0.1:2'], undefined, `${origins},";evil;",$x`)
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

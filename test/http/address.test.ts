// The limit of requests per minute from one address, whatever headers name.

import t from 'tap'
import { addressRanges, inRanges } from '../../src/config/addresses.ts'
import { clientKey, trustedProxies, withoutPort } from '../../src/http/address.ts'
import { createAddressLimit } from '../../src/http/address-limit.ts'
import { type App, POLICY, startApp } from '../support/app.ts'
import { exchange } from '../support/raw-http.ts'
import { times } from '../support/times.ts'

const LIMITED = { ADDRESS_LIMIT_PER_MINUTE: '2' }
const from = (app: App, forwarded: string) => app.mint('client_secrets', {}, { 'x-forwarded-for': forwarded })

t.test('E11: beyond the limit of an address no token is verified', async (t) => {
  const app = await startApp(t, { env: LIMITED })
  for (const expected of [401, 401, 429, 429]) {
    const { status, headers, body } = await app.mint('client_secrets', {}, { authorization: 'Bearer nonsense' })
    t.equal(status, expected)
    if (status === 429) {
      t.match(body.error, { code: 'rate_limit_exceeded', type: 'rate_limit_error' })
      t.match(headers.get('retry-after'), /^[1-6]?\d$/)
    }
  }
  t.match(
    app.auditLines().at(-1), { event: 'mint.refused', code: 'rate_limit_exceeded', reason: 'address', subject: null }
  )
})

t.test('E1: headers that name another address change nothing where no proxy is trusted', async (t) => {
  const app = await startApp(t, { env: LIMITED })
  const statuses = []
  for (const [i, name] of [
    'x-forwarded-for', 'forwarded', 'x-real-ip', 'cf-connecting-ip', 'true-client-ip', 'x-client-ip'
  ].entries()) {
    statuses.push((await app.mint('client_secrets', {}, { [name]: `192.0.2.${i}` })).status)
  }
  t.same(statuses, [200, 200, 429, 429, 429, 429])
})

t.test('E1: however many values of such headers are one address', async (t) => {
  const app = await startApp(t, { env: LIMITED })
  const asked = `GET /v1/realtime/policy HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${await app.token()}\r\n`
  const naming = (address: string) =>
    `${asked}X-Forwarded-For: ${address}\r\nForwarded: for=${address}\r\nX-Real-IP: ${address}\r\n\r\n`
  const statuses: number[] = []
  const rounds = times(4)
  for (let i = 0; i < rounds; i++) {
    const requests = Array.from({ length: 100 }, (_, k) => naming(`198.18.${i}.${k}`))
    statuses.push(...(await exchange(app, requests.join(''), requests.length)).map(({ status }) => status))
  }
  t.same([200, 429].map((wanted) => statuses.filter((status) => status === wanted).length), [2, 100 * rounds - 2])
})

t.test('E1, E4: behind a trusted proxy each client is counted for itself', async (t) => {
  for (const trust of ['1', '127.0.0.1', '127.0.0.0/8, 10.0.0.0/8']) {
    const app = await startApp(t, { env: { ...LIMITED, TRUST_PROXY: trust } })
    for (const address of ['192.0.2.1', '192.0.2.2', '::ffff:192.0.2.3']) {
      t.equal((await from(app, address)).status, 200, address)
    }
    t.equal((await from(app, '192.0.2.1')).status, 200)
    t.equal((await from(app, '192.0.2.1')).status, 429)
    t.equal(
      (await from(app, '198.51.100.7, 192.0.2.1')).status,
      429,
      'what a client wrote before the proxy did does not count'
    )
    t.equal((await from(app, '192.0.2.3')).status, 200, 'an IPv4 address is the same, mapped or not')
    t.equal((await from(app, '192.0.2.3')).status, 429)
  }
})

t.test('E2: an IPv6 client is its /64', async (t) => {
  const app = await startApp(t, { env: { ...LIMITED, TRUST_PROXY: '1' } })
  t.same(await Promise.all(['2001:db8::1', '2001:db8::2', '2001:db8:0:0:ffff::'].map(async (address) =>
    (await from(app, address)).status)).then((all) => all.sort()), [200, 200, 429])
  t.equal((await from(app, '2001:db8:0:1::1')).status, 200)
})

t.test('E4: values that are no address share one limit', async (t) => {
  const app = await startApp(t, { env: { ...LIMITED, TRUST_PROXY: '1' } })
  const statuses = []
  for (const junk of ['unknown', 'canary', '_hidden', '1.2.3.4.5']) statuses.push((await from(app, junk)).status)
  t.same(statuses, [200, 200, 429, 429])
})

t.test('health probes are not limited, and zero turns the limit off', async (t) => {
  const app = await startApp(t, { env: LIMITED })
  for (let i = 0; i < 5; i++) t.equal((await app.request('/livez')).status, 200)
  const free = await startApp(t, { policy: POLICY, env: { ADDRESS_LIMIT_PER_MINUTE: '0' } })
  for (let i = 0; i < 5; i++) t.equal((await free.mint('client_secrets')).status, 200)
})

t.test('E11: exactly the limit passes of a burst in one turn of the event loop', async (t) => {
  const app = await startApp(t, { env: { ADDRESS_LIMIT_PER_MINUTE: '200' } })
  const asked = `GET /v1/realtime/policy HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${await app.token()}\r\n\r\n`
  const answers = await Promise.all(Array.from({ length: 50 }, () => exchange(app, asked.repeat(6), 6)))
  const statuses = answers.flat().map(({ status }) => status)
  t.same([200, 429].map((wanted) => statuses.filter((status) => status === wanted).length), [200, 100])
})

t.test('E11: each address has a minute of its own, and then a new one', async (t) => {
  let now = 0
  const check = createAddressLimit(2, () => now)
  const ask = (ip: string) => check({ ip })
  ask('192.0.2.1')
  now = 59_000
  ask('192.0.2.1')
  t.throws(() => ask('192.0.2.1'), { code: 'rate_limit_exceeded', reason: 'address', retryAfterSeconds: 1 })
  t.doesNotThrow(() => ask('192.0.2.2'))
  now = 60_000
  t.doesNotThrow(() => ask('192.0.2.1'))
})

t.test('a client is known by its address', async (t) => {
  for (const [address, key] of [
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::ffff:c000:201', '192.0.2.1'],
    ['canary', 'unknown'],
    ['', 'unknown']
  ] as const) t.equal(clientKey(address), key, address)
  t.equal(clientKey('2001:db8::1'), clientKey('2001:db8::ffff:1'))
  t.not(clientKey('2001:db8::1'), clientKey('2001:db8:0:1::1'))
})

t.test('E1: trusted proxies are listed, or counted in hops', async (t) => {
  t.notOk(trustedProxies(false)('127.0.0.1', 0))
  t.same([0, 1, 2].map((hop) => trustedProxies(2)('192.0.2.1', hop)), [true, true, false])
  const listed = trustedProxies(['10.0.0.0/8', '2001:db8::/32', '192.0.2.7'])
  for (const address of ['10.1.2.3', '::ffff:10.1.2.3', '2001:db8::1', '192.0.2.7']) t.ok(listed(address, 0), address)
  for (const address of ['11.0.0.1', '192.0.2.8', '2001:db9::1', 'canary', '', undefined]) {
    t.notOk(listed(address, 0), String(address))
  }
  t.throws(() => addressRanges(['canary']))
  t.notOk(inRanges(addressRanges([]), '10.0.0.1'))
})

t.test('field F21: what only looks like an address with a port shares the limit of those that are none', async (t) => {
  for (const junk of [
    'unknown:80', '198.51.100.7:', '198.51.100.7:x', '198.51.100.7:123456', '198.51.100:80', '1.2.3.4.5:80', '[::1',
    '[198.51.100.7]:x', '[2001:db8::7]80', '[2001:db8::7]:', '[]', '[canary]:80', '198.51.100.7:80:80', ':80'
  ]) t.equal(clientKey(junk), 'unknown', junk)
  t.equal(clientKey('2001:db8::7:5123'), clientKey('2001:db8::'), 'without brackets the last group is no port')
  t.notOk(trustedProxies(['10.0.0.0/8'])('11.0.0.1:80', 0))
  t.equal(withoutPort('198.51.100.7'), '198.51.100.7')
})

t.test('field F21: a forwarded address counts without its port, of a client and of a proxy', async (t) => {
  for (const trust of ['1', '127.0.0.1, 10.0.0.0/8, 2001:db8:1::/48']) {
    const app = await startApp(t, { env: { ...LIMITED, TRUST_PROXY: trust } })
    for (const [first, again, other] of [
      ['198.51.100.7:51234', '198.51.100.7:51235', '198.51.100.8:51234'],
      ['[2001:db8::7]:51234', '[2001:db8::8]', '[2001:db8:0:1::7]:51234'],
      ['::ffff:192.0.2.3', '[::ffff:192.0.2.3]:1', '192.0.2.4:1']
    ] as const) {
      for (const [forwarded, status] of [[first, 200], [again, 200], [first, 429], [other, 200]] as const) {
        t.equal((await from(app, forwarded)).status, status, forwarded)
      }
    }
  }
  const behindTwo = await startApp(t, { env: { ...LIMITED, TRUST_PROXY: '127.0.0.1, 10.0.0.0/8, 2001:db8:1::/48' } })
  for (const [forwarded, status] of [
    ['198.51.100.7:1, 10.0.0.1:2', 200], ['198.51.100.7:3, [2001:db8:1::1]:4', 200], ['198.51.100.7, 10.0.0.9', 429]
  ] as const) t.equal((await from(behindTwo, forwarded)).status, status, forwarded)
})

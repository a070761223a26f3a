// Guests: requests without a credential are identified by address.

import t from 'tap'
import { assertPassed, assertRefused, serve } from './harness.ts'

t.test('without a guest entry, a request without a credential is refused', async (t) => {
  const { ask } = await serve(t, [{
    gateway: { issuer: 'gateway', header: 'x-user', from: ['127.0.0.1'], secret_header: 'x-secret', secret_env: 'KEY' }
  }], { secrets: { KEY: 'k' } })
  assertRefused(t, await ask(), 'no_credentials')
})

t.test('a guest is identified by its address, for IPv6 by its /64', async (t) => {
  const { ask, callers } = await serve(t, [{ guest: {} }], { trustProxy: true })
  t.equal(callers.usesCookies, false)
  t.same(callers.waitingFor(), [])
  for (const [address, subject] of [
    ['203.0.113.7', '203.0.113.7'], ['::ffff:203.0.113.7', '203.0.113.7'], [
      '2001:db8:1:2:3:4:5:6', '2001:db8:1:2::'
    ], ['2001:DB8:1:2::9', '2001:db8:1:2::'], ['2001:db8:1:3::9', '2001:db8:1:3::']
  ] as const) {
    assertPassed(
      t,
      await ask([['x-forwarded-for', address]]),
      { issuer: 'guest', subject, claims: { iss: 'guest', sub: subject } },
      address
    )
  }
  for (const garbage of ['unknown', '1.2.3', 'a'.repeat(300), '_hidden']) {
    assertRefused(t, await ask([['x-forwarded-for', garbage]]), 'address_unknown')
  }
})

t.test('an Authorization header that no entry uses does not count as a credential: SDKs always send one', async (t) => {
  const { ask } = await serve(t, [{ guest: {} }])
  assertPassed(t, await ask([['authorization', 'Bearer unused']]), { issuer: 'guest' })
})

t.test('guests behind an untrusted proxy count as one, with a single warning', async (t) => {
  const { ask, log } = await serve(t, [{ guest: {} }])
  await ask()
  t.same(log.lines, [])
  for (let i = 0; i < 3; i++) {
    assertPassed(t, await ask([['x-forwarded-for', `203.0.113.${i}`]]), { subject: '127.0.0.1' })
  }
  t.match(log.lines, [{ level: 'warn', message: /TRUST_PROXY/ }])
  t.equal(log.lines.length, 1)
})

t.test('field F21: a guest is its address, not its port', async (t) => {
  const { ask } = await serve(t, [{ guest: {} }], { trustProxy: true })
  for (const garbage of ['unknown:80', '198.51.100.7:', '[198.51.100.7:80', ':80', '[]:80']) {
    assertRefused(t, await ask([['x-forwarded-for', garbage]]), 'address_unknown')
  }
  for (const [address, subject] of [
    ['198.51.100.7:51234', '198.51.100.7'], ['198.51.100.7', '198.51.100.7'],
    ['[2001:db8:1:2::7]:51234', '2001:db8:1:2::'], ['[2001:db8:1:2::8]', '2001:db8:1:2::']
  ] as const) assertPassed(t, await ask([['x-forwarded-for', address]]), { subject }, address)
})

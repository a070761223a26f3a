// A gateway's user header counts only from its own addresses and with its secret (A44).

import t, { type Test } from 'tap'
import type { GatewayEntry } from '../../src/callers/schema.ts'
import { assertPassed, assertRefused, type SentHeaders, serve } from './harness.ts'

const SECRET = 'a secret of the gateway'

function start (t: Test, entry: Partial<GatewayEntry> = {}, host = '127.0.0.1') {
  const gateway: GatewayEntry = {
    issuer: 'gateway',
    header: 'X-Auth-Request-User',
    from: ['127.0.0.0/8', '10.1.2.3', 'fd00::/8'],
    secret_header: 'X-Gateway-Secret',
    secret_env: 'KEY',
    ...entry
  }
  return serve(t, [{ gateway }, { guest: {} }], { secrets: { KEY: SECRET }, trustProxy: true, host })
}
const userHeaders = (user: string, secret = SECRET): SentHeaders =>
  [['X-Auth-Request-User', user], ['X-Gateway-Secret', secret]]

t.test('A44: without the secret it is a forgery', async (t) => {
  const { ask } = await start(t)
  for (const secret of ['', SECRET.slice(0, -1), `${SECRET} x`, SECRET.toUpperCase()]) {
    assertRefused(t, await ask(userHeaders('root', secret)), secret === '' ? 'header_empty' : 'gateway_secret_wrong')
  }
  assertRefused(t, await ask([['x-auth-request-user', 'root']]), 'gateway_secret_wrong')
  assertRefused(t, await ask([...userHeaders('root'), ['x-gateway-secret', SECRET]]), 'header_ambiguous')
  assertRefused(t, await ask([...userHeaders('root'), ['x_gateway_secret', SECRET]]), 'header_ambiguous')
  assertPassed(t, await ask([['x-gateway-secret', SECRET]]), { issuer: 'guest' }, 'the secret alone names no user')
})

t.test('A44: from any other address it is a forgery, whatever its forwarding headers claim', async (t) => {
  const { ask } = await start(t, { from: ['10.0.0.0/8'] })
  for (const header of ['x-forwarded-for', 'x-real-ip', 'forwarded']) {
    assertRefused(t, await ask([...userHeaders('root'), [header, '10.0.0.1']]), 'gateway_not_trusted')
  }
})

t.test('A44: an ambiguous user name is refused', async (t) => {
  const { ask } = await start(t)
  const secret: SentHeaders = [['x-gateway-secret', SECRET]]
  const bad: [string, SentHeaders][] = [
    ['header_ambiguous', [['X_Auth_Request_User', 'root']]], ['header_ambiguous', [['X-Auth_Request-User', 'root']]],
    ['header_ambiguous', [['x-auth-request-user', 'a'], ['X-AUTH-REQUEST-USER', 'a']]], [
      'header_ambiguous', [['x-auth-request-user', 'a'], ['x_auth_request_user', 'root']]
    ],
    ['header_ambiguous', [['x_auth_request_user', 'root'], ['x-auth-request-user', 'a']]],
    ['header_empty', [['x-auth-request-user', '']]], ['header_empty', [['x-auth-request-user', '  ']]],
    ...['a,b', 'a, root', ',', 'J\xfcrgen', 'a'.repeat(256)].map(
      (user): [string, SentHeaders] => ['subject_malformed', [['x-auth-request-user', user]]]
    )
  ]
  for (const [reason, sent] of bad) assertRefused(t, await ask([...sent, ...secret]), reason)
})

t.test('A44: a user named by the gateway passes', async (t) => {
  const { ask } = await start(t)
  assertPassed(t, await ask(userHeaders('jane@example.com')), {
    issuer: 'gateway', subject: 'jane@example.com', claims: { iss: 'gateway', sub: 'jane@example.com' }
  })
  assertPassed(
    t,
    await ask([['X-AUTH-REQUEST-USER', 'Jane Doe'], ['x-gateway-secret', SECRET]]),
    { subject: 'Jane Doe' },
    'header names ignore case'
  )
  assertPassed(t, await ask(), { issuer: 'guest' })
})

t.test('A44: an IPv4-mapped address counts as the IPv4 address', async (t) => {
  const { ask } = await start(t, {}, '::ffff:127.0.0.1')
  assertPassed(t, await ask(userHeaders('jane')), { subject: 'jane' })
})

t.test('A44: a peer that has disconnected is not trusted', async (t) => {
  const { callers } = await start(t)
  const request = { raw: { rawHeaders: userHeaders('jane').flat(), socket: { remoteAddress: undefined } }, headers: {} }
  t.throws(() => callers.authenticate(request as never), { code: 'invalid_credentials', reason: 'gateway_not_trusted' })
})

// A gateway's word counts from its own addresses and with its secret (A44).

import t, { type Test } from 'tap'
import type { GatewayEntry } from '../../src/callers/schema.ts'
import { assertPassed, assertRefused, type Sent, serve } from './harness.ts'

const SECRET = 'what the gateway knows'

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
const said = (user: string, secret = SECRET): Sent => [['X-Auth-Request-User', user], ['X-Gateway-Secret', secret]]

t.test('A44: without the secret it is a forgery', async (t) => {
  const { ask } = await start(t)
  for (const secret of ['', SECRET.slice(0, -1), `${SECRET} x`, SECRET.toUpperCase()]) {
    assertRefused(t, await ask(said('root', secret)), secret === '' ? 'header_empty' : 'gateway_secret_wrong')
  }
  assertRefused(t, await ask([['x-auth-request-user', 'root']]), 'gateway_secret_wrong')
  assertRefused(t, await ask([...said('root'), ['x-gateway-secret', SECRET]]), 'header_ambiguous')
  assertRefused(t, await ask([...said('root'), ['x_gateway_secret', SECRET]]), 'header_ambiguous')
  assertPassed(t, await ask([['x-gateway-secret', SECRET]]), { issuer: 'guest' }, 'the secret alone names nobody')
})

t.test('A44: from anywhere else it is a forgery, whatever is said of its address', async (t) => {
  const { ask } = await start(t, { from: ['10.0.0.0/8'] })
  for (const header of ['x-forwarded-for', 'x-real-ip', 'forwarded']) {
    assertRefused(t, await ask([...said('root'), [header, '10.0.0.1']]), 'gateway_not_trusted')
  }
})

t.test('A44: a name that can be read in two ways is none', async (t) => {
  const { ask } = await start(t)
  const secret: Sent = [['x-gateway-secret', SECRET]]
  const bad: [string, Sent][] = [
    ['header_ambiguous', [['X_Auth_Request_User', 'root']]], ['header_ambiguous', [['X-Auth_Request-User', 'root']]],
    ['header_ambiguous', [['x-auth-request-user', 'a'], ['X-AUTH-REQUEST-USER', 'a']]], [
      'header_ambiguous', [['x-auth-request-user', 'a'], ['x_auth_request_user', 'root']]
    ],
    ['header_ambiguous', [['x_auth_request_user', 'root'], ['x-auth-request-user', 'a']]],
    ['header_empty', [['x-auth-request-user', '']]], ['header_empty', [['x-auth-request-user', '  ']]],
    ...['a,b', 'a, root', ',', 'J\xfcrgen', 'a'.repeat(256)].map(
      (user): [string, Sent] => ['subject_malformed', [['x-auth-request-user', user]]]
    )
  ]
  for (const [reason, sent] of bad) assertRefused(t, await ask([...sent, ...secret]), reason)
})

t.test('whom the gateway names, passes', async (t) => {
  const { ask } = await start(t)
  assertPassed(t, await ask(said('jane@example.com')), {
    issuer: 'gateway', subject: 'jane@example.com', claims: { iss: 'gateway', sub: 'jane@example.com' }
  })
  assertPassed(
    t,
    await ask([['X-AUTH-REQUEST-USER', 'Jane Doe'], ['x-gateway-secret', SECRET]]),
    { subject: 'Jane Doe' },
    'names of headers have no case'
  )
  assertPassed(t, await ask(), { issuer: 'guest' })
})

t.test('an IPv4 peer of a socket that listens on IPv6 is an IPv4 peer', async (t) => {
  const { ask } = await start(t, {}, '::ffff:127.0.0.1')
  assertPassed(t, await ask(said('jane')), { subject: 'jane' })
})

t.test('a peer that has gone is nobody', async (t) => {
  const { callers } = await start(t)
  const request = { raw: { rawHeaders: said('jane').flat(), socket: { remoteAddress: undefined } }, headers: {} }
  t.throws(() => callers.authenticate(request as never), { code: 'invalid_credentials', reason: 'gateway_not_trusted' })
})

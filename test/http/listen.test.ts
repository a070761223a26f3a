// Opening a listener, and what is reported where that fails.

import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { networkInterfaces } from 'node:os'
import { fastify } from 'fastify'
import t, { type Test } from 'tap'
import { ConfigError } from '../../src/config/environment.ts'
import { canListenOn, listenAt } from '../../src/http/listen.ts'
import { POLICY } from '../support/app.ts'
import { spawnService } from '../support/service.ts'

const NAMES = { host: 'OPS_HOST', port: 'OPS_PORT' }
const HAS_IPV6 = Object.values(networkInterfaces()).flat().some((address) => address?.family === 'IPv6')

function create (t: Test) {
  const app = fastify()
  app.get('/', async () => 'ok')
  t.teardown(() => app.close())
  return app
}

async function occupy (t: Test, host: string): Promise<number> {
  const server: Server = createServer().listen(0, host)
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

t.test('field F25: an error of listening names the variable, and not its value', async (t) => {
  const port = await occupy(t, '127.0.0.1')
  for (const [place, problem] of [
    [{ host: '127.0.0.1', port }, /^OPS_PORT is in use already/],
    [{ host: 'x86_64-conda-linux-gnu', port: 0 }, /^OPS_HOST is not an address of this machine \(E[A-Z_]+\)$/],
    [{ host: '192.0.2.7', port: 0 }, /^OPS_HOST is not an address of this machine \(EADDRNOTAVAIL\)$/]
  ] as const) {
    const error = await listenAt(create(t), place, NAMES).then(() => null, (error) => error)
    t.ok(error instanceof ConfigError)
    t.match(error.message, problem)
    t.notMatch(error.message, place.host)
  }
  const denied = { listen: async () => { throw Object.assign(new Error('canary'), { code: 'EACCES' }) } }
  await t.rejects(listenAt(denied, { host: '::1', port: 80 }, NAMES), { message: /^OPS_PORT needs rights/ })
  const odd = { listen: async () => { throw new Error('canary') } }
  await t.rejects(listenAt(odd, { host: '::1', port: 80 }, NAMES), { message: /^OPS_HOST is not an address/ })
})

t.test('field F25: the process prints such an error without a stack', async (t) => {
  const port = await occupy(t, '127.0.0.1')
  for (const [env, problem] of [
    [{ HOST: 'x86_64-conda-linux-gnu' }, /^ephemint: HOST is not an address of this machine/],
    [{ PORT: String(port) }, /^ephemint: PORT is in use/],
    [{ OPS_HOST: '127.0.0.1', OPS_PORT: String(port) }, /^ephemint: OPS_PORT is in use/]
  ] as const) {
    const service = await spawnService(t, { upstreamUrl: 'http://127.0.0.1:9/v1', policy: POLICY, env })
    t.match(await service.exited, { code: 1 })
    t.match(service.stderr(), problem)
    t.equal(service.stderr().split('\n').length, 2)
  }
})

t.test('field F24: where there is no IPv6, :: is all of IPv4', async (t) => {
  const app = create(t)
  await listenAt(app, { host: '::', port: 0 }, NAMES, async () => false)
  const { port, address } = app.server.address() as AddressInfo
  t.equal(address, '0.0.0.0')
  t.equal((await fetch(`http://127.0.0.1:${port}/`)).status, 200)
  const fixed = create(t)
  await listenAt(fixed, { host: '127.0.0.1', port: 0 }, NAMES, async () => false)
  t.equal((fixed.server.address() as AddressInfo).address, '127.0.0.1')
})

t.test('field F24: :: is both families', { skip: HAS_IPV6 ? false : 'this machine has no IPv6' }, async (t) => {
  const app = create(t)
  await listenAt(app, { host: '::', port: 0 }, NAMES)
  const { port } = app.server.address() as AddressInfo
  for (const host of ['127.0.0.1', '[::1]']) t.equal((await fetch(`http://${host}:${port}/`)).status, 200, host)
})

t.test('field F24: an address that cannot be listened on is found out before', async (t) => {
  t.equal(await canListenOn('192.0.2.7'), false)
  t.equal(await canListenOn('127.0.0.1'), true)
})

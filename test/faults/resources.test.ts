// Faults 37, 39 to 41, 43, 47: scarce resources and missing rights.

import { spawnSync } from 'node:child_process'
import { chmodSync, readdirSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { POLICY } from '../support/app.ts'
import { startBehindProxy } from '../support/behind-proxy.ts'
import { startCountingUpstream } from '../support/counting.ts'
import { startService, tokenOf } from '../support/service.ts'
import { until } from '../support/until.ts'

t.jobs = 3

const UNLIMITED = POLICY.replace(/limits: .*/, 'limits: none')
const NOBODY = 65_534
const LIMIT = 60
/** Root may read everything, so rights are tested as another user. */
const isRoot = process.getuid?.() === 0
const asNobody = isRoot ? { uid: NOBODY, gid: NOBODY } : {}

t.test('fault 39: running out of file descriptors crashes nothing, and it serves again afterwards', {
  buffered: true
}, async (t) => {
  const upstream = await startCountingUpstream(t, 20)
  const service = await startService(
    t, { upstreamUrl: upstream.url, policy: UNLIMITED, command: ['bash', '-c', `ulimit -n ${LIMIT} && exec "$0" "$@"`] }
  )
  t.equal((await service.mint()).status, 200)
  const sockets = await Promise.all(Array.from({ length: 120 }, () => openSocket(t, service.port)))
  await until('none to be left', () => readdirSync(`/proc/${service.pid}/fd`).length >= LIMIT - 1)
  await Promise.allSettled(Array.from({ length: 20 }, async () => service.mint({ signal: AbortSignal.timeout(500) })))
  t.equal(service.child.exitCode, null)
  for (const socket of sockets) socket.destroy()
  await until('service', () =>
    service.mint({ signal: AbortSignal.timeout(1000) }).then(({ status }) => status === 200, () => false))
  t.notMatch(service.stderr(), /EMFILE/)
})

/** Opens a socket that the service may leave unaccepted. */
async function openSocket (t: Test, port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => socket.destroy())
  socket.on('error', () => {})
  await new Promise((resolve) => {
    socket.once('connect', resolve).once('error', resolve)
    setTimeout(resolve, 500)
  })
  return socket
}

t.test('fault 47: as the user nobody, without a home and a writable folder, it starts and serves', {
  buffered: true
}, async (t) => {
  const upstream = await startCountingUpstream(t, 0)
  const policyFile = readable(t, POLICY)
  const service = await startService(t, {
    upstreamUrl: upstream.url,
    env: { EPHEMINT_CONFIG: policyFile, HOME: '/nonexistent', TMPDIR: '/nonexistent' },
    spawning: { cwd: '/', ...asNobody }
  })
  t.equal((await service.mint()).status, 200)
  service.kill('SIGTERM')
  t.equal((await service.exited).code, 0)
})

/** A mount namespace that is read-only and has no /proc. */
const BARE = [
  'unshare', '--mount', 'sh', '-c', 'mount --bind / / && mount -o remount,ro,bind / && umount -l /proc && exec "$@"',
  'sh'
]
const isAllowed = spawnSync(BARE[0] as string, [...BARE.slice(1), 'true']).status === 0

t.test('fault 47: with a read-only root and without /proc it starts and serves', {
  buffered: true, skip: isAllowed ? false : 'this user may not mount'
}, async (t) => {
  const upstream = await startCountingUpstream(t, 0)
  const service = await startService(
    t, { upstreamUrl: upstream.url, command: BARE, env: { OPS_HOST: '127.0.0.1', OPS_PORT: '0' } }
  )
  const opsUrl = await until(
    'the listener for operations', () => service.log.find(({ msg }) => msg === 'listening')?.ops_url
  )
  t.equal((await fetch(`${opsUrl}/metrics`)).status, 200)
  t.equal((await service.mint()).status, 200)
  // Periodic checks of the process run every second.
  const startedAt = performance.now()
  await until('two looks', () => performance.now() - startedAt > 2200)
  t.equal((await service.mint()).status, 200)
  service.kill('SIGTERM')
  t.equal((await service.exited).code, 0)
})

t.test('fault 43: a policy file that is no longer readable keeps the last good one', {
  buffered: true
}, async (t) => {
  const upstream = await startCountingUpstream(t, 0)
  const policyFile = readable(t, POLICY)
  const service = await startService(
    t, { upstreamUrl: upstream.url, env: { EPHEMINT_CONFIG: policyFile }, spawning: asNobody }
  )
  chmodSync(policyFile, 0o000)
  await until(
    'the alarm', () => service.log.some(({ msg }) => String(msg).startsWith('policy file refused: it cannot be read'))
  )
  t.equal((await service.mint()).status, 200)
  chmodSync(policyFile, 0o644)
  await until('the file to be taken over', () => service.log.some(({ msg }) => msg === 'policy file reloaded'))
})

/** Writes a policy file into a folder that any user may enter. */
function readable (t: Test, text: string): string {
  const folder = t.testdir({ 'ephemint.yaml': text })
  chmodSync(folder, 0o755)
  return `${folder}/ephemint.yaml`
}

t.test('fault 37: after the event loop was blocked beyond the deadline, each request is answered once', {
  buffered: false
}, async (t) => {
  const { app, proxy, upstream } = await startBehindProxy(t, { env: { UPSTREAM_TIMEOUT_MS: '500' } })
  await proxy.inject({ slow: 100 })
  const authorization = `Bearer ${await app.token()}`
  const minting = Promise.all(Array.from(
    { length: 10 }, () => app.request('/v1/realtime/client_secrets', { method: 'POST', headers: { authorization } })
  ))
  await upstream.arrived(10)
  const endsAt = performance.now() + 1500
  while (performance.now() < endsAt);
  const answers = await minting
  t.same(answers.map(({ status }) => status).filter((status) => ![200, 504].includes(status)), [])
  const ids = app.auditLines().map(({ request_id: id }) => id)
  t.equal(ids.length, 10)
  t.equal(new Set(ids).size, 10)
  await proxy.inject('pass')
  await until('service', async () => (await app.mint('client_secrets')).status === 200)
})

t.test('fault 40: with a tenth of a CPU it is slower, refuses no valid token, and stays ready', {
  buffered: true
}, async (t) => {
  const upstream = await startCountingUpstream(t, 0)
  const service = await startService(t, { upstreamUrl: upstream.url })
  // Stands for a CPU quota of 10 ms in every 100.
  const stopping = setInterval(() => {
    service.kill('SIGCONT')
    setTimeout(() => service.kill('SIGSTOP'), 10)
  }, 100)
  t.teardown(() => clearInterval(stopping))
  // Expired, within the clock tolerance.
  const authorization = `Bearer ${await tokenOf({ exp: Math.floor(Date.now() / 1000) - 5 })}`
  const refused: number[] = []
  // A process without CPU time for a second sheds load with 503, and the client tries again.
  await Promise.all(Array.from({ length: 10 }, () => until('a secret', async () => {
    const { status } = await service.mint({ headers: { authorization } })
    if (![200, 503].includes(status)) refused.push(status)
    return status === 200
  })))
  t.same(refused, [])
  t.equal((await service.ask('/readyz')).status, 200)
  clearInterval(stopping)
  await until('its whole processor again', () => {
    service.kill('SIGCONT')
    return service.mint({ signal: AbortSignal.timeout(500) }).then(({ tookMs }) => tookMs < 100, () => false)
  })
})

for (const minutes of [10, -10]) {
  t.test(`fault 41: a clock that is set by ${minutes} minutes during a mint neither ends nor delays it`, {
    buffered: false
  }, async (t) => {
    const { app, proxy, upstream } = await startBehindProxy(t, { env: { UPSTREAM_TIMEOUT_MS: '1000' } })
    const { now } = Date
    await proxy.inject('hang')
    const startedAt = performance.now()
    const hanging = app.mint('client_secrets')
    await until('the mint that hangs', () => proxy.exchanges() === 1)
    await proxy.inject({ slow: 300 })
    const minting = app.mint('client_secrets')
    await upstream.arrived(1)
    t.intercept(Date, 'now', { value: () => now() + minutes * 60_000 })
    t.equal((await hanging).status, 504)
    t.ok(performance.now() - startedAt < 4000)
    t.type((await minting).status, 'number')
    await proxy.inject('pass')
    t.equal((await app.mint('client_secrets')).status, 200)
  })
}

// Faults 33 to 36, 43: signals.

import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { policyOf } from '../calls/harness.ts'
import { CALLERS } from '../support/app.ts'
import { confirm } from '../support/call-replies.ts'
import { startCallsUpstream } from '../support/calls-upstream.ts'
import { startCountingUpstream } from '../support/counting.ts'
import { startFaultProxy } from '../support/fault-proxy.ts'
import { program } from '../support/programs.ts'
import { OFFER } from '../support/sdp.ts'
import { spawnService, startService, tokenOf } from '../support/service.ts'
import { until } from '../support/until.ts'
import { failure, startUpstream } from '../support/upstream.ts'

t.jobs = 3

for (const [first, second] of [['SIGTERM', 'SIGINT'], ['SIGINT', 'SIGTERM']] as const) {
  t.test(`fault 34: ${first}, then ${second}, exits at once, even with a mint in flight`, {
    buffered: true
  }, async (t) => {
    const upstream = await startUpstream(t)
    const proxy = await startFaultProxy(t, { host: '127.0.0.1', port: Number(new URL(upstream.url).port) })
    const service = await startService(t, { upstreamUrl: `http://${proxy.host}/v1`, env: { DRAIN_SECONDS: '5' } })
    await proxy.inject('hang')
    const minting = service.mint().catch(() => null)
    await until('the mint to be in flight', () => proxy.exchanges() > 1)
    service.kill(first)
    await until('the drain', () => service.log.some(({ msg }) => msg === 'draining'))
    service.kill(second)
    const { code, signal, afterMs } = await service.exited
    t.same({ code, signal }, { code: 1, signal: null })
    t.ok(afterMs < 4000, `${afterMs} ms, and a drain takes five seconds`)
    t.equal(await minting, null)
  })
}

t.test('fault 34: audit lines are in the file when a second signal ends the process', {
  buffered: true
}, async (t) => {
  const upstream = await startUpstream(t)
  const folder = t.testdir({})
  const service = await startService(
    t, { upstreamUrl: upstream.url, env: { AUDIT_FILE: `${folder}/audit.log`, DRAIN_SECONDS: '5' } }
  )
  const answers = await Promise.all(Array.from({ length: 20 }, () => service.mint()))
  t.ok(answers.every(({ status }) => status === 200))
  service.kill('SIGTERM')
  await until('the drain', () => service.log.some(({ msg }) => msg === 'draining'))
  service.kill('SIGTERM')
  t.equal((await service.exited).code, 1)
  t.equal(readFileSync(`${folder}/audit.log`, 'utf8').trimEnd().split('\n').filter((line) =>
    JSON.parse(line).event === 'mint.granted').length, 20)
})

t.test('fault 36: SIGHUP, SIGPIPE and SIGUSR1 end nothing and open no debugger', { buffered: true }, async (t) => {
  const upstream = await startUpstream(t)
  const service = await startService(t, { upstreamUrl: upstream.url })
  for (const signal of ['SIGHUP', 'SIGPIPE', 'SIGUSR1', 'SIGHUP'] as const) service.kill(signal)
  for (let i = 0; i < 3; i++) t.equal((await service.mint()).status, 200)
  t.equal(service.child.exitCode, null)
  t.equal(service.stderr(), '')
})

t.test('fault 36: the same signals before it listens end nothing either', { buffered: true }, async (t) => {
  const upstream = await startUpstream(t)
  // The start waits for the issuer's keys.
  const proxy = await startFaultProxy(t, { host: '127.0.0.1', port: 1 })
  await proxy.inject('hang')
  const policy = `callers: [{ jwt: { issuer: 'http://${proxy.host}/', audience: a } }]
policies: [{ name: any, when: any, limits: none, realtime: {} }]
`
  const service = await spawnService(t, { upstreamUrl: upstream.url, policy })
  await until('the question for keys', () => proxy.exchanges() > 0)
  for (const signal of ['SIGHUP', 'SIGUSR1'] as const) service.kill(signal)
  for (let i = 0; i < 3; i++) t.equal((await service.ask('/livez')).status, 200)
  t.equal(service.child.exitCode, null)
  t.equal(service.stderr(), '')
})

/** The process sends itself a signal when it loads service.ts, as an operator might from outside. */
const signalWhileLoading = (signal: string) => `data:text/javascript,${encodeURIComponent(`
  import { registerHooks } from 'node:module'
  registerHooks({
    load: (url, context, next) => {
      if (url.endsWith('/src/service.ts')) process.kill(process.pid, '${signal}')
      return next(url, context)
    }
  })
`)}`

const NAMESPACES = ['unshare', '--user', '--map-root-user', '--pid', '--fork', '--kill-child']
const canUnshare = spawnSync(NAMESPACES[0] as string, [...NAMESPACES.slice(1), 'true']).status === 0
const unshare = program(['unshare'], 'util-linux')
const skip = unshare.skip || (!canUnshare && process.env.CI !== 'true' && 'this machine permits no PID namespaces')

/** The first child of a process; 0 if it has none yet. */
const firstChildOf = (pid: number) => Number.parseInt(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')) || 0

for (const signal of ['SIGTERM', 'SIGINT']) {
  t.test(`operate O6: process 1, without an init, obeys ${signal} while it loads`, {
    buffered: true, skip
  }, async (t) => {
    const service = await spawnService(t, {
      upstreamUrl: 'http://127.0.0.1:9/v1', command: NAMESPACES, args: ['--import', signalWhileLoading(signal)]
    })
    t.match(await service.exited, { code: 0, signal: null })
    t.equal(service.stderr(), '')
    t.same(service.log, [])
  })
}

t.test('operate O6: process 1, without an init, drains at SIGTERM once it listens', {
  buffered: true, skip
}, async (t) => {
  const upstream = await startUpstream(t)
  const service = await startService(t, { upstreamUrl: upstream.url, command: NAMESPACES })
  process.kill(firstChildOf(service.pid), 'SIGTERM')
  t.match(await service.exited, { code: 0, signal: null })
  t.match(service.log.filter(({ msg }) => msg === 'draining'), [{ signal: 'SIGTERM' }])
})

const tini = program(['tini'], 'tini')

for (const afterMs of [0, 30, 100, 400]) {
  t.test(`operate O6: with the init of the image as process 1, SIGTERM is obeyed ${afterMs} ms after the start`, {
    buffered: true, skip: skip || tini.skip
  }, async (t) => {
    const dockerfile = readFileSync(join(import.meta.dirname, '../../Dockerfile'), 'utf8')
    t.match(dockerfile, /^ENTRYPOINT \["\/usr\/bin\/tini", "-s", "--"\]$/m)
    const service = await spawnService(t, {
      upstreamUrl: 'http://127.0.0.1:9/v1', command: [...NAMESPACES, tini.path(), '-s', '--']
    })
    const nameOf = (pid: number) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
    // Earlier tini handles no signals yet, and the kernel sends a process 1 only those that it handles.
    await until('process 1 and its child', () => {
      const first = firstChildOf(service.pid)
      return first > 0 && nameOf(first) === 'tini' && firstChildOf(first) > 0
    })
    await wait(afterMs)
    process.kill(firstChildOf(service.pid), 'SIGTERM')
    t.ok([0, 143].includes((await service.exited).code as number))
    t.equal(service.stderr(), '')
  })
}

t.test('fault 33: a stop while a mint waits for upstream finishes the mint', {
  buffered: true
}, async (t) => {
  const upstream = await startCountingUpstream(t, 0)
  const proxy = await startFaultProxy(t, { host: '127.0.0.1', port: upstream.port })
  await proxy.inject({ slow: 2000 })
  const service = await startService(t, { upstreamUrl: `http://${proxy.host}/v1` })
  const minting = service.mint()
  await until('the mint to be in flight', () => proxy.exchanges() > 1)
  service.kill('SIGTERM')
  t.equal((await minting).status, 200)
  t.equal((await service.exited).code, 0)
})

t.test('fault 35: after SIGKILL it starts again, and a half-written audit line does no harm', {
  buffered: true
}, async (t) => {
  const upstream = await startUpstream(t)
  const folder = t.testdir({ 'audit.log': '{"audit":1,"event":"mint.gra' })
  const env = { AUDIT_FILE: `${folder}/audit.log` }
  const first = await startService(t, { upstreamUrl: upstream.url, env })
  t.equal((await first.mint()).status, 200)
  first.kill('SIGKILL')
  t.equal((await first.exited).signal, 'SIGKILL')

  const second = await startService(t, { upstreamUrl: upstream.url, env })
  t.equal((await second.mint()).status, 200)
  const [torn, ...lines] = readFileSync(`${folder}/audit.log`, 'utf8').trimEnd().split('\n')
  t.equal(torn, '{"audit":1,"event":"mint.gra')
  t.same(lines.map((line) => JSON.parse(line).event), ['mint.granted', 'mint.granted'])
})

t.test('fault 43: the limits of a caller survive a reload', { buffered: true }, async (t) => {
  const upstream = await startUpstream(t)
  const policy = (name: string) =>
    `${CALLERS}\npolicies: [{ name: ${name}, when: any, limits: { day: 2 }, realtime: {} }]\n`
  const service = await startService(t, { upstreamUrl: upstream.url, policy: policy('first') })
  t.equal((await service.mint()).status, 200)
  writeFileSync(service.policyFile, policy('second'))
  await until('the new policy', () => service.log.some(({ msg }) => msg === 'policy file reloaded'))
  t.equal((await service.mint()).status, 200)
  const third = await service.mint()
  t.equal(third.status, 429)
  t.equal((await service.mint({ headers: { authorization: `Bearer ${await tokenOf({ sub: 'bob' })}` } })).status, 200)
  t.same(service.audit.map(({ policy }) => policy), ['first', 'second', 'second', 'second'])
})

t.test('call: SIGTERM hangs up what runs, writes its lines, and exits with 0 within 10 s', {
  buffered: true
}, async (t) => {
  const upstream = await startCallsUpstream(t)
  const service = await startService(t, { upstreamUrl: upstream.url, policy: policyOf() })
  for (const sub of ['ada', 'bob', 'eve']) {
    const headers = { authorization: `Bearer ${await tokenOf({ sub })}`, 'content-type': 'application/sdp' }
    const { status } = await fetch(`${service.url}/v1/realtime/calls`, { method: 'POST', headers, body: OFFER })
    t.equal(status, 201)
  }
  upstream.onHangUp(failure(500), confirm)
  service.kill('SIGTERM')
  const { code, afterMs } = await service.exited
  t.equal(code, 0)
  t.ok(afterMs < 10_000, `${afterMs} ms`)
  t.equal(upstream.live(), 0)
  const ended = service.audit.filter(({ event }) => event === 'call.ended')
  t.equal(ended.length, 3)
  t.ok(ended.every(({ reason, hangup_confirmed: isConfirmed }) => reason === 'shutdown' && isConfirmed === true))
})

// Caddy with the lines that docs/gateways.md shows; only hosts and ports are replaced.

import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { BLOCKS } from './docs/pages.ts'
import { endWith, freePort, makeFolder } from './support/processes.ts'
import { program } from './support/programs.ts'
import {
  assertAnsweredByReplica, assertClientAddress, assertDeadReplicaCostsNothing, assertLargeRequests,
  assertLimitsUnavailable, assertOneRequestId, assertReadable, assertStopLosesNothing, type Front, ORIGINS_OF_EXAMPLES,
  startReplicas
} from './support/replicas.ts'
import { until } from './support/until.ts'

const CADDY = program(['caddy'], 'caddy')
const { skip } = CADDY
let common: Promise<Front> | undefined
const [shown] = BLOCKS.filter(({ language }) => language === 'caddyfile').map(({ text }) => text) as [string]

t.test('operate O7: the client address is what Caddy sees, and large requests are the replica\'s to answer', {
  skip
}, async (t) => {
  const front = await shared()
  await assertClientAddress(t, front)
  await assertLargeRequests(t, front)
})

t.test('operate O8: a client\'s own X-Request-Id and traceparent do not pass Caddy', { skip }, async (t) => {
  await assertOneRequestId(t, await shared())
})

t.test('operate O8: without the lines that remove them these headers pass Caddy', { skip }, async (t) => {
  const front = await startCaddy(t, await shared(), (lines) => lines.replace(/^.*header_up.*\n/gm, ''))
  await fetch(`${front.url}/v1/realtime/client_secrets`, {
    method: 'POST', headers: { 'x-request-id': 'forged', traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01` }
  })
  const line = await until('its audit line', () =>
    front.replicas.flatMap(({ audit }) => audit).find((line) => line.request_id === 'forged'))
  t.match(line, { trace_id: 'a'.repeat(32) })
})

t.test('operate O7: a dead replica behind Caddy costs no mint', { skip }, async (t) => {
  await assertDeadReplicaCostsNothing(t, await startCaddy(t, await startReplicas(t)))
})

t.test('operate O7: while one replica behind Caddy stops no mint is lost, and none is minted twice', {
  skip
}, async (t) => {
  await assertStopLosesNothing(t, await startCaddy(t, await startReplicas(t)))
})

t.test('without a replica the answer is in the error format that SDKs understand', { skip }, async (t) => {
  await assertLimitsUnavailable(t, (await startWithoutReplicas(t)).url)
})

t.test('operate O4: pages of the origins in its lines can read what Caddy answers, and their preflights succeed', {
  skip
}, async (t) => {
  await assertReadable(t, (await startWithoutReplicas(t)).url, ORIGINS_OF_EXAMPLES)
})

t.test('operate O4: while a replica is there it answers, and no header is there twice', { skip }, async (t) => {
  await assertAnsweredByReplica(t, await shared())
})

/** One set-up for all tests that stop no replica. */
function shared (): Promise<Front> {
  common ??= startReplicas(t).then((service) => startCaddy(t, service))
  return common
}

/** Starts Caddy without the five seconds for which it tries again. */
function startWithoutReplicas (t: Test) {
  const replicas = [{ url: 'http://127.0.0.1:1' }, { url: 'http://127.0.0.1:2' }] as const
  return startCaddy(t, { replicas }, (lines) => lines.replace('lb_try_duration 5s', ''))
}

async function startCaddy<T extends { replicas: readonly { url: string }[] }> (
  t: Test, service: T, change: (lines: string) => string = (lines) => lines
): Promise<T & { url: string }> {
  const folder = makeFolder(t)
  const port = await freePort()
  const [one, two] = service.replicas.map(({ url }) => new URL(url).host) as [string, string]
  const file = join(folder, 'Caddyfile')
  writeFileSync(file, '{\n  admin off\n}\n' + change(shown)
    .replace('mint.example.com', `http://:${port}`)
    .replace('ephemint-1:8080', one)
    .replace('ephemint-2:8080', two))
  const child = spawn(CADDY.path(), ['run', '--config', file, '--adapter', 'caddyfile'], {
    env: { PATH: process.env.PATH, HOME: folder }, stdio: ['ignore', 'ignore', 'pipe'] as const
  })
  let printed = ''
  child.stderr.on('data', (chunk) => { printed += chunk })
  endWith(t, child)
  const url = `http://127.0.0.1:${port}`
  await until('Caddy to serve', () => {
    if (child.exitCode !== null) throw new Error(`Caddy ended: ${printed}`)
    return fetch(`${url}/livez`).then((response) => response.text(), () => false)
  })
  return { ...service, url }
}

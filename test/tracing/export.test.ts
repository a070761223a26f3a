// Sending spans: what a collector does reaches no request, and a stop waits for it a second at most.

import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer as createTcpServer, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startApp } from '../support/app.ts'
import { startCollector } from '../support/collector.ts'
import { freePort, makeFolder } from '../support/processes.ts'
import { startService } from '../support/service.ts'
import { until } from '../support/until.ts'
import { startUpstream } from '../support/upstream.ts'

const MINT = 'POST /v1/realtime/client_secrets'
const AT_ONCE = { OTEL_BSP_SCHEDULE_DELAY: '1' }
const LATER = { OTEL_BSP_SCHEDULE_DELAY: '600000' }

async function startSilent (t: Test): Promise<{ port: number, arrived: () => number }> {
  const sockets: Socket[] = []
  const server = createTcpServer((socket) => { sockets.push(socket.on('error', () => {})) }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { port: (server.address() as { port: number }).port, arrived: () => sockets.length }
}

t.test('operate: a collector that is not there costs no mint, and one line', async (t) => {
  const url = `http://127.0.0.1:${await freePort()}`
  const app = await startApp(t, {
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_EXPORTER_OTLP_TIMEOUT: '10', ...AT_ONCE }
  })
  const logged = (msg: string) => app.logLines().filter((line) => line.msg === msg)
  for (let i = 0; i < 3; i++) {
    t.equal((await app.mint('client_secrets', '{}')).status, 200)
    await until('the failure', () => logged('spans cannot be sent').length > 0)
  }
  t.match(logged('spans cannot be sent'), [{ level: 'warn', reason: 'econnrefused' }])
})

t.test('operate: a collector that refuses is logged by its status, and so is its recovery', async (t) => {
  const collector = await startCollector(t)
  collector.answer((response) => { response.writeHead(401).end('canary of the collector') })
  const app = await startApp(t, { env: { OTEL_EXPORTER_OTLP_ENDPOINT: `${collector.url}/`, ...AT_ONCE } })
  const logged = (msg: string) => app.logLines().filter((line) => line.msg === msg)
  await app.mint('client_secrets', '{}')
  await until('the failure', () => logged('spans cannot be sent').length > 0)
  t.match(logged('spans cannot be sent'), [{ reason: '401' }])
  collector.answer((response) => { response.end('no Protobuf') })
  await app.mint('client_secrets', '{}')
  await until('the success', () => logged('spans are sent again').length > 0)
  t.notMatch(app.log.kept.join(''), 'canary of the collector')
})

t.test('operate: a stop sends what there is, and waits no longer for a collector that hangs', async (t) => {
  const collector = await startCollector(t)
  const app = await startApp(t, { env: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, ...LATER } })
  await app.mint('client_secrets', '{}')
  t.same(collector.posts, [], 'nothing so far')
  await app.stop()
  t.equal(collector.spans().filter(({ name }) => name === MINT).length, 2)

  const silent = await startSilent(t)
  const hanging = await startApp(t, {
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${silent.port}`, ...LATER }
  })
  await hanging.mint('client_secrets', '{}')
  const began = performance.now()
  await hanging.stop()
  t.equal(silent.arrived(), 1)
  t.ok(performance.now() - began < 4000, 'a second, and the rest of the stop')
})

t.test('operate: the sampler decides, and the one of a trusted proxy before it', async (t) => {
  const traceparent = (flags: string) => `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-${flags}`
  const samplers: [env: Record<string, string>, flags: string, sent: number][] = [
    [{ OTEL_TRACES_SAMPLER: 'always_off' }, '01', 0],
    [{ OTEL_TRACES_SAMPLER: 'always_on' }, '00', 2],
    [{ OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '0' }, '01', 0],
    [{ OTEL_TRACES_SAMPLER: 'parentbased_traceidratio', OTEL_TRACES_SAMPLER_ARG: '0' }, '01', 2],
    [{ OTEL_TRACES_SAMPLER: 'parentbased_always_off' }, '', 0],
    [{}, '00', 0],
    [{}, '', 2]
  ]
  for (const [env, flags, sent] of samplers) {
    const collector = await startCollector(t)
    const app = await startApp(t, {
      env: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, TRUST_PROXY: '127.0.0.1', ...LATER, ...env }
    })
    await app.mint('client_secrets', '{}', flags === '' ? {} : { traceparent: traceparent(flags) })
    await app.stop()
    t.equal(collector.spans().length, sent, JSON.stringify([env, flags]))
    t.match(app.auditLines().at(-1), { trace_id: /^[0-9a-f]{32}$/ }, 'the lines have the trace in any case')
  }
})

t.test('operate: without an endpoint nothing of OpenTelemetry is loaded, nor where it is turned off', async (t) => {
  const upstream = await startUpstream(t)
  const collector = await startCollector(t)
  const loadedWith = async (env: Record<string, string>): Promise<number> => {
    const list = join(makeFolder(t), 'loaded')
    const service = await startService(t, {
      upstreamUrl: upstream.url,
      args: ['--import', join(import.meta.dirname, '../support/loaded.ts')],
      env: { LOADED_FILE: list, ...env }
    })
    t.equal((await service.mint()).status, 200)
    service.kill('SIGTERM')
    t.equal((await service.exited).code, 0)
    const loaded = readFileSync(list, 'utf8').split('\n')
    t.ok(loaded.some((url) => url.includes('node_modules/fastify/')), 'the list is one')
    // The Prometheus client loads the interface in any case.
    return loaded.filter((url) => /@opentelemetry\/(?!api\/)|src\/tracing\//.test(url)).length
  }
  const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url }
  t.equal(await loadedWith({}), 0)
  t.equal(await loadedWith({ ...endpoint, OTEL_SDK_DISABLED: 'true' }), 0)
  t.equal(await loadedWith({ ...endpoint, OTEL_TRACES_EXPORTER: 'none' }), 0)
  t.same(collector.posts, [])
  t.ok(await loadedWith(endpoint) > 10, 'and with one it is')
  t.equal(collector.spans().filter(({ name }) => name === MINT).length, 2, 'sent at the stop')
})

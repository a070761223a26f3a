import t, { type Test } from 'tap'
import { type Checked, type LoadBalancer, NO_HAPROXY, startHaproxy } from './support/haproxy.ts'
import {
  assertAnsweredByReplica, assertClientAddress, assertDeadReplicaCostsNothing, assertLargeRequests,
  assertLimitsUnavailable, assertOneRequestId, assertReadable, assertStopLosesNothing, type Front, ORIGINS_OF_EXAMPLES,
  startReplica, startReplicas
} from './support/replicas.ts'
import { type Service, startService } from './support/service.ts'
import { until } from './support/until.ts'
import { startUpstream } from './support/upstream.ts'

const skip = NO_HAPROXY

/** Health checks as found in configurations, old ones too. */
const CHECKS: Readonly<Record<string, string>> = {
  'as in deploy/haproxy.cfg': 'option httpchk GET /readyz',
  'without a method, which is OPTIONS': 'option httpchk /readyz',
  'with HEAD': 'option httpchk HEAD /readyz',
  'with its version': 'option httpchk GET /readyz HTTP/1.0',
  'of HTTP/1.1 without Host': 'option httpchk GET /readyz HTTP/1.1',
  'with a Host in its version': 'option httpchk GET /readyz HTTP/1.1\\r\\nHost:\\ mint.example.com',
  'with http-check send': 'option httpchk\n  http-check send meth GET uri /readyz',
  'with http-check send and a Host':
    'option httpchk\n  http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host mint.example.com',
  'that expects a status': 'option httpchk GET /readyz\n  http-check expect status 200',
  'that expects a body': 'option httpchk GET /readyz\n  http-check expect string \'{"status":"ok"\'',
  'of a TCP check by hand':
    'option tcp-check\n  tcp-check connect\n  tcp-check send GET\\ /readyz\\ HTTP/1.0\\r\\n\\r\\n\n  ' +
      'tcp-check expect rstring ^HTTP/1.[01]\\ 200'
}

/** Health checks that name no health route. */
const NO_CHECKS: Readonly<Record<string, string>> = {
  'without a method and a path': 'option httpchk',
  'of /': 'option httpchk GET /',
  'of a mint': 'option httpchk GET /v1/realtime/client_secrets'
}

let common: Promise<Front & { balancer: LoadBalancer }> | undefined

t.test('field F22: a health check that names no health route keeps a backend down', { skip }, async (t) => {
  const service = await startService(t, { upstreamUrl: (await startUpstream(t)).url })
  const servers = await checkedBy(t, NO_CHECKS, service)
  for (const [i, name] of Object.keys(NO_CHECKS).entries()) {
    const { code } = await until(name, async () => {
      const found = (await servers())[i]
      // HAProxy marks a check in progress by an asterisk, without its code.
      return found?.status === 'DOWN' && !found.check.startsWith('*') ? found : null
    })
    t.match(code, /^40[045]$/, name)
  }
})

t.test('field F22: every health check that is found in configurations follows a replica down and up', {
  skip
}, async (t) => {
  const { replicas: [replica], upstream } = await startReplicas(t)
  const servers = await checkedBy(t, CHECKS, replica)
  const all = (what: string, is: (server: Checked) => boolean) => until(
    what, async () => (await servers()).every(is), 5000
  ).catch(async () => t.same((await servers()).filter((server) => !is(server)), [], what))
  const isUp = ({ status, check }: Checked) => status === 'UP' && /L7OK$/.test(check)
  await all('every backend to be up', isUp)

  replica.kill('SIGTERM')
  await all('every backend to be down', ({ status }) => status === 'DOWN')
  t.equal(replica.child.exitCode, null, 'while the replica still answers')
  t.match(await replica.exited, { code: 0 })

  await startReplica(t, upstream, replica.port)
  await all('every backend to be up again', isUp)
})

t.test('the client address is what HAProxy sees, whatever the client sends', { skip }, async (t) => {
  await assertClientAddress(t, await shared())
})

t.test('a request keeps its id from HAProxy to the audit line, and HAProxy logs only facts', { skip }, async (t) => {
  const front = await shared()
  await assertOneRequestId(t, front, front.balancer.log)
  const lines = front.balancer.log().split('\n').filter((line) => line.startsWith('{'))
  for (const line of lines) t.match(JSON.parse(line), { method: String, path: /^\//, status: Number, upstream: String })
})

t.test('a body that is too large and a large token are answered by the replica', { skip }, async (t) => {
  await assertLargeRequests(t, await shared())
})

t.test('without a replica the answer is in the error format that SDKs understand', { skip }, async (t) => {
  const { url } = await startHaproxy(t, ['http://127.0.0.1:1', 'http://127.0.0.1:2'])
  await assertLimitsUnavailable(t, url)
})

t.test('operate O4: pages of the origins in its file can read what HAProxy answers, and their preflights succeed', {
  skip
}, async (t) => {
  const { url } = await startHaproxy(t, ['http://127.0.0.1:1', 'http://127.0.0.1:2'])
  await assertReadable(t, url, ORIGINS_OF_EXAMPLES)
})

t.test('operate O4: while a replica is there it answers, and no header is there twice', { skip }, async (t) => {
  await assertAnsweredByReplica(t, await shared())
})

t.test('a dead replica costs no mint', { skip }, async (t) => {
  await assertDeadReplicaCostsNothing(t, await startFront(t))
})

t.test('fault 33: while one replica stops no mint is lost, and none is minted twice', { skip }, async (t) => {
  await assertStopLosesNothing(t, await startFront(t))
})

/** Returns the states of that replica by each of `checks`, in their order. */
async function checkedBy (t: Test, checks: Readonly<Record<string, string>>, replica: Service) {
  const backends = Object.values(checks).map((check, i) =>
    `\nbackend check-${i}\n  ${check}\n  server one 127.0.0.1:${replica.port} check inter 100ms fall 1 rise 1\n`)
  const { servers } = await startHaproxy(t, [replica.url, replica.url], (config) => config + backends.join(''))
  return async () => (await servers()).filter(({ backend }) => backend.startsWith('check-'))
}

async function startFront (t: Test) {
  const service = await startReplicas(t)
  const balancer = await startHaproxy(t, [service.replicas[0].url, service.replicas[1].url])
  return { ...service, balancer, url: balancer.url }
}

/** One set-up for all tests that do not stop a replica. */
function shared () {
  common ??= startFront(t)
  return common
}

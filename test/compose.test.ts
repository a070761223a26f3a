// The scripts that docker-compose.yml depends on, with real replicas and a real nginx. Only `docker` is the test's own.

import { execFile, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { delimiter, join } from 'node:path'
import { text } from 'node:stream/consumers'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { createMetrics } from '../src/records/metrics.ts'
import { NO_NGINX, startNginx } from './support/nginx.ts'
import { endWith, freePort, makeFolder, UNCOUNTED } from './support/processes.ts'
import { POLICY_OF_REPLICAS, startMintLoad } from './support/replicas.ts'
import { type Service, startService, tokenOf } from './support/service.ts'
import { until } from './support/until.ts'
import { startUpstream } from './support/upstream.ts'

const DEPLOY = join(import.meta.dirname, '../deploy')
const NAMES = ['ephemint-1', 'ephemint-2'] as const
type Name = typeof NAMES[number]

t.test('operate O1: the upgrade loses no mint, and waits for calls where it is to', { skip: NO_NGINX }, async (t) => {
  const { replicas, gateway, upstream, start } = await startCompose(t)
  const old = { ...replicas }
  const addresses = { 'ephemint-1': 3, 'ephemint-2': 4 }
  const callsLeft = { 'ephemint-1': 2, 'ephemint-2': 0 }
  const events: string[] = []
  let mintsWhenAsked = 0
  const docker = await startDocker(t, async (args, revision) => {
    if (args[0] !== 'compose') return null
    const [, command, ...rest] = args
    if (command === 'build') {
      t.equal(revision, 'abc123')
      return ''
    }
    if (command === 'up') {
      const name = rest.at(-1) as Name
      events.push(rest.join(' '))
      t.equal(replicas[name].audit.length, mintsWhenAsked, 'nginx has left it out')
      replicas[name].kill('SIGTERM')
      t.match(await replicas[name].exited, { code: 0 })
      replicas[name] = await start(replicas[name].port)
      return ''
    }
    const [, container, program, ...given] = rest
    if (container === 'gateway') {
      if (program === 'getent') return `172.20.0.${addresses[given[1] as Name]}  ${given[1]}\n`
      events.push([program, ...given].join(' '))
      if (program === 'sh') gateway.reload()
      else execFileSync(program as string, given.map((arg) => arg.replace('/tmp', gateway.prefix)))
      return ''
    }
    const [, code = ''] = given
    const name = container as Name
    if (code.includes('/metrics')) mintsWhenAsked = replicas[name].audit.length
    if (code.includes('/metrics') && callsLeft[name] > 0) return `${callsLeft[name]--}`
    const ops = /:(\d+)$/.exec(replicas[name].log.find(({ msg }) => msg === 'listening')?.ops_url as string)?.[1]
    const [env, ...before] = UNCOUNTED
    return execFileSync(env, [...before, process.execPath, '-e', code.replace('9090', String(ops))], {
      encoding: 'utf8'
    })
  })

  const stopLoad = await startMintLoad(gateway.url, 4)
  const { code, printed } = await docker.run(join(DEPLOY, 'upgrade.sh'), { args: ['60'] })
  await until('mints at both new replicas', () => NAMES.every((name) => replicas[name].audit.length > 0))
  const statuses = await stopLoad()
  t.equal(code, 0, printed)
  t.same(events, NAMES.flatMap((name) => [
    `rm -f /tmp/${NAMES.find((other) => other !== name)}.down`,
    `touch /tmp/${name}.down`, `-d --no-deps --no-build --force-recreate ${name}`, `rm -f /tmp/${name}.down`
  ]), 'and nginx is not reloaded')
  t.match(printed, 'ephemint-1: 2 calls are still going on')
  t.same(callsLeft, { 'ephemint-1': 0, 'ephemint-2': 0 })
  for (const name of NAMES) {
    t.not(replicas[name].pid, old[name].pid)
    t.ok(old[name].audit.length > 0 && replicas[name].audit.length > 0, name)
  }
  t.same([...new Set(statuses)], [200])
  t.equal(upstream.requests.length, statuses.length, 'none is minted twice')
})

t.test('operate O1: where the first new replica does not become ready, the second is left alone', async (t) => {
  const seen: string[] = []
  const docker = await startDocker(t, async (args) => {
    seen.push(args.slice(1).filter((arg) => !arg.startsWith('fetch(')).join(' '))
    return args.join(' ').includes('/readyz') && args.includes('ephemint-1') ? null : '0'
  })
  const { code, printed } = await docker.run(join(DEPLOY, 'upgrade.sh'), { seconds: '0' })
  t.equal(code, 1)
  t.match(printed, 'ephemint-1 is not ready after a minute')
  t.notMatch(seen.join('\n'), /(up|touch) .*ephemint-2/)
  t.notMatch(seen.join('\n'), 'rm -f /tmp/ephemint-1.down', 'and nginx still leaves the first one out')
})

t.test('operate O1: whichever step fails, another run stops no replica that serves alone', async (t) => {
  const folder = makeFolder(t)
  const list = (path: string) => readdirSync(join(folder, path)).sort()
  const docker = writePrograms(t, {
    docker: `#!/bin/sh
cd ${folder}
for last; do :; done
read -r asked < asked
read -r fail_at < fail_at
asked=$((asked + 1))
echo $asked > asked
case "$*" in *force-recreate*) echo $last: ready/* tmp/* >> replaced; rm ready/$last ;; esac
[ $asked -ne "$fail_at" ] || exit 1
case "$*" in
  *force-recreate*) : > ready/$last ;;
  *readyz*) [ -e "ready/$4" ] ;;
  *metrics*) echo 0 ;;
  *getent*) echo 172.20.0.3 ;;
  *'gateway touch'*) : > ".$last" ;;
  *'gateway rm'*) rm -f ".$last" ;;
esac
`
  })
  for (const path of ['ready', 'tmp']) mkdirSync(join(folder, path))
  for (const name of NAMES) writeFileSync(join(folder, 'ready', name), '')
  const run = async (failAt: number) => {
    writeFileSync(join(folder, 'fail_at'), `${failAt}\n`)
    writeFileSync(join(folder, 'asked'), '0\n')
    const { code } = await docker.run(join(DEPLOY, 'upgrade.sh'), { seconds: '0' })
    return { code, asked: Number(readFileSync(join(folder, 'asked'), 'utf8')) }
  }

  const { code, asked } = await run(0)
  t.equal(code, 0)
  for (let failAt = 1; failAt <= asked; failAt++) {
    await run(failAt)
    t.ok(list('ready').length >= 1, `failed at ${failAt}: one serves`)
    t.equal((await run(0)).code, 0)
    t.same(list('ready'), NAMES)
    t.same(list('tmp'), [], 'nginx uses both')
  }
  for (const line of readFileSync(join(folder, 'replaced'), 'utf8').trimEnd().split('\n')) {
    const [name, ...state] = line.split(/:? /)
    const other = NAMES.find((one) => one !== name)
    t.ok(state.includes(`ready/${other}`), `${line}: the other one serves`)
    t.same(state.filter((path) => path.startsWith('tmp/')), [`tmp/${name}.down`], 'and nginx leaves out this one')
  }
})

t.test('operate O1: two upgrades at once do not stop both replicas: the second one ends', async (t) => {
  const upgrade = () => docker.run(join(DEPLOY, 'upgrade.sh'))
  const ran: object[] = []
  let builds = 0
  const docker = await startDocker(t, async (args) => {
    if (args[1] === 'build' && ++builds === 1) ran.push(await upgrade())
    return '0'
  })
  t.equal((await upgrade()).code, 0)
  t.same(ran[0], { code: 1, printed: 'Another upgrade is running.\n' })
  t.equal((await upgrade()).code, 0, 'and afterwards it is free')
})

t.test('operate O1: the upgrade waits for the calls of every policy, whatever its name', async (t) => {
  const metrics = createMetrics()
  metrics.calls.readFrom({ live: () => new Map([['pro', 3], ['my "own" } plan', 4]]), hangUpsPending: () => 0 })
  const server = createServer(async (_request, response) => response.end(await metrics.text())).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const run = promisify(execFile)
  const docker = await startDocker(t, async (args) => {
    const code = args.find((arg) => arg.includes('/metrics'))
    return code === undefined ? '0' : (await run(process.execPath, ['-e', code.replace('9090', `${port}`)])).stdout
  })
  const { code, printed } = await docker.run(join(DEPLOY, 'upgrade.sh'))
  t.equal(code, 0, printed)
  t.match(printed, 'ephemint-1: the other replica goes on with 7 calls')
})

t.test('operate O1: nginx is reloaded where a new replica has another address', async (t) => {
  const seen: string[] = []
  const docker = await startDocker(t, async (args) => {
    seen.push(args.slice(3).join(' '))
    return args.join(' ').includes('/metrics') ? '7' : `172.20.0.${seen.length}`
  })
  const { code, printed } = await docker.run(join(DEPLOY, 'upgrade.sh'))
  t.equal(code, 0, printed)
  t.match(printed, 'ephemint-1: the other replica goes on with 7 calls')
  const [reload, back] = ['sh /etc/nginx/nginx.sh -s reload', 'rm -f /tmp/ephemint-1.down'].map(
    (command) => seen.findIndex((line) => line.endsWith(command))
  ) as [number, number]
  t.ok(reload > 0 && back > reload)
})

t.test('operate O2: rotation loses no line of the audit trail, and bounds it', async (t) => {
  const folder = makeFolder(t)
  const file = join(folder, 'ephemint-1.jsonl')
  const service = await startService(t, {
    upstreamUrl: (await startUpstream(t)).url, policy: POLICY_OF_REPLICAS, env: { AUDIT_FILE: file }
  })
  const rotating = (kept: string) => {
    const child = spawn('sh', [join(DEPLOY, 'rotate.sh'), folder, '2000', kept, '0.2'])
    endWith(t, child)
    return child
  }
  const moved = () => readdirSync(folder).filter((name) => /^ephemint-1\.jsonl\.\d{8}T\d{6}Z$/.test(name))
  const authorization = `Bearer ${await tokenOf()}`
  const ids: string[] = []
  const mintUntil = (what: string, is: () => boolean) => until(what, async () => {
    const { status, headers } = await service.mint({ headers: { authorization } })
    t.equal(status, 200)
    ids.push(headers.get('x-request-id') as string)
    return is()
  }, 20_000)

  const keeping = rotating('100')
  await mintUntil('three rotations', () => moved().length >= 3)
  keeping.kill()
  const written = readdirSync(folder).map((name) => readFileSync(join(folder, name), 'utf8')).join('')
  const lines = written.trimEnd().split('\n')
  t.same(lines.map((line) => JSON.parse(line).request_id).sort(), ids.sort(), 'every mint has its line, once')

  const oldest = moved().sort()[0]
  rotating('2')
  await mintUntil('the oldest to be gone', () => moved().length === 2)
  t.notOk(moved().includes(oldest as string))
})

t.test('operate O2: files beside those that are moved are neither counted nor deleted', async (t) => {
  const folder = makeFolder(t)
  const beside = ['ephemint-1.jsonl.notes', 'ephemint-1.jsonl.old', 'ephemint-1.jsonl.old.jsonl', 'x.txt']
  for (const name of [...beside, 'ephemint-1.jsonl']) writeFileSync(join(folder, name), name)
  const before = ['ephemint-1.jsonl.20260101T000000Z', 'ephemint-1.jsonl.20260102T000000Z.gz']
  for (const name of before) writeFileSync(join(folder, name), name)
  endWith(t, spawn('sh', [join(DEPLOY, 'rotate.sh'), folder, '16', '2', '0.2']))
  await until('the oldest to be gone', () => !readdirSync(folder).includes(before[0] as string))
  const now = readdirSync(folder)
  t.same(now.filter((name) => /^ephemint-1\.jsonl\.\d/.test(name)).length, 2, 'the new one and a compressed one')
  t.ok(now.includes(before[1] as string))
  for (const name of ['ephemint-1.jsonl.notes', 'ephemint-1.jsonl.old', 'x.txt']) t.ok(now.includes(name), name)
})

/** Two replicas that can be started again behind an nginx. */
async function startCompose (t: Test) {
  const upstream = await startUpstream(t)
  const start = async (port?: number): Promise<Service> => startService(t, {
    upstreamUrl: upstream.url,
    policy: POLICY_OF_REPLICAS,
    env: { TRUST_PROXY: '127.0.0.1', DRAIN_SECONDS: '0', OPS_HOST: '127.0.0.1', OPS_PORT: String(await freePort()) },
    ...(port === undefined ? {} : { port })
  })
  const [one, two] = await Promise.all([start(), start()])
  const replicas: Record<Name, Service> = { 'ephemint-1': one, 'ephemint-2': two }
  return { upstream, start, replicas, gateway: await startNginx(t, [one.url, two.url]) }
}

/** A `docker` whose commands print what `answer` returns, or fail if that is null. */
async function startDocker (t: Test, answer: (args: string[], revision?: string) => Promise<string | null>) {
  const server = createServer(async (request, response) => {
    const { args, revision } = JSON.parse(await text(request))
    const out = await answer(args, revision).catch((error) => t.fail(error) ? null : null)
    response.statusCode = out === null ? 500 : 200
    response.end(out ?? '')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  return writePrograms(t, {
    docker: `#!${process.execPath}
const [, , ...args] = process.argv
fetch('http://127.0.0.1:${port}', { method: 'POST', body: JSON.stringify({ args, revision: process.env.REVISION }) })
  .then(async (answer) => { process.stdout.write(await answer.text()); process.exitCode = answer.ok ? 0 : 1 })\n`
  })
}

/** Programs that a script finds instead of those of the machine. */
function writePrograms (t: Test, programs: Record<string, string>) {
  const folder = makeFolder(t)
  const write = (name: string, script: string) => {
    writeFileSync(join(folder, name), script)
    chmodSync(join(folder, name), 0o755)
  }
  for (const [name, script] of Object.entries(programs)) write(name, script)
  return {
    /** Checks five times, with `seconds` between two checks. */
    run: async (script: string, { seconds = '0.05', args = [] as string[] } = {}) => {
      write('sleep', `#!/bin/sh\nexec /bin/sleep ${seconds}\n`)
      write('seq', '#!/bin/sh\necho 1 2 3 4 5\n')
      const [command, ...before] = UNCOUNTED
      const env = { PATH: [folder, process.env.PATH].join(delimiter), REVISION: 'abc123' }
      const child = spawn(command, [...before, 'sh', script, ...args], { env })
      endWith(t, child)
      const [out, err] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
      return { code: child.exitCode, printed: out + err }
    }
  }
}

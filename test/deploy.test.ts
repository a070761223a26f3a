// The compose file, the Dockerfile and the gateway's configuration must agree; no other tool checks that.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parse } from 'yaml'
import { readConfig } from '../src/config/environment.ts'

const read = (path: string) => readFileSync(join(import.meta.dirname, '..', path), 'utf8')
type Service = {
  environment: Record<string, string>,
  image: string,
  build?: string,
  ports?: string[],
  user?: string,
  read_only?: boolean,
  cap_drop?: string[],
  command?: string[],
  healthcheck: { test: string[] },
  stop_grace_period: string,
  secrets: string[],
  ulimits?: { core: number }
}

const compose = parse(read('docker-compose.yml'), { merge: true }) as {
  services: Record<string, Service>, secrets: Record<string, { file: string }>
}
const image = read('Dockerfile')
const nginx = read('deploy/nginx.conf').replace(/#.*$/gm, '')
const haproxy = read('deploy/haproxy.cfg').replace(/#.*$/gm, '')
const replicas = Object.entries(compose.services).filter(([, { image }]) => image === 'ephemint')

function secondsOf (directive: string, within = nginx): number {
  return Number(new RegExp(`${directive}[ =](\\d+)s`).exec(within)?.[1])
}

t.test('only the gateway is reachable from outside, and every container runs with least privileges', async (t) => {
  for (const [name, { ports, read_only: readOnly, cap_drop: dropped }] of Object.entries(compose.services)) {
    t.equal(ports !== undefined, name === 'gateway', name)
    t.equal(readOnly, true, name)
    t.same(dropped, ['ALL'], name)
  }
})

t.test('F9: the key is a file in each replica and is not in the image', async (t) => {
  t.equal(replicas.length, 2)
  for (const [, { environment, secrets }] of replicas) {
    t.match(environment, { OPENAI_API_KEY: '', OPENAI_API_KEY_FILE: `/run/secrets/${secrets[0]}` })
    t.equal(compose.secrets[secrets[0] as string]?.file, './deploy/secrets/openai_api_key')
    const config = readConfig(
      { ...environment, OPENAI_API_KEY_FILE: '', OPENAI_API_KEY: 'sk-in-the-place-of-the-file' }
    )
    t.match(config, { trustProxy: 1, redis: { host: 'valkey', port: 6379, tls: false }, ops: { port: 9090 } })
  }
  t.same(
    [...image.matchAll(/^(?:ARG|ENV) (.*)$/gm)].map(([, set]) => set),
    [
      'REVISION=', 'NODE_ENV=production NODE_COMPILE_CACHE=/app/.compiled MALLOC_ARENA_MAX=1',
      'EPHEMINT_REVISION=$REVISION'
    ]
  )
  t.same(
    read('.dockerignore').match(/^[^#].*$/gm),
    ['*', '!package.json', '!package-lock.json', '!.npmrc', '!LICENSE', '!src', 'src/sandbox']
  )
  t.same(
    [...image.matchAll(/^(?:COPY|ADD) (?!--from)(.*) \S+$/gm)].flatMap(([, from]) => from?.split(' ')),
    ['package.json', 'package-lock.json', '.npmrc', 'package.json', 'LICENSE', 'src']
  )
})

t.test('F5: no process dumps its memory or its environment, and none listens for a debugger', async (t) => {
  for (const [name, { ulimits }] of replicas) t.equal(ulimits?.core, 0, name)
  t.match(image, '--ulimit core=0')
  t.notMatch(
    [image, read('docker-compose.yml'), read('package.json')].join(),
    /--(report|heapsnapshot|heap-prof|inspect|abort-on|diagnostic)|NODE_OPTIONS/
  )
})

t.test('the gateway lists every replica, and its timeouts fit theirs', async (t) => {
  t.same([...nginx.matchAll(/server (\S+):8080/g)].map(([, host]) => host), replicas.map(([name]) => name))
  for (const [, { environment, stop_grace_period: grace }] of replicas) {
    const upstream = /upstream ephemint \{[^}]*\}/.exec(nginx)?.[0] as string
    t.ok(secondsOf('keepalive_timeout', upstream) < Number(environment.KEEP_ALIVE_SECONDS))
    t.ok(secondsOf('fail_timeout') > Number(environment.DRAIN_SECONDS))
    t.ok(secondsOf('proxy_read_timeout') > 10)
    t.ok(Number.parseInt(grace) > 25)
  }
  t.match(compose.services.gateway?.healthcheck.test.join(' '), '/readyz')
})

t.test('HAProxy lists every replica, and its timeouts fit theirs', async (t) => {
  t.same([...haproxy.matchAll(/server \S+ (\S+):8080 check/g)].map(([, host]) => host), replicas.map(([name]) => name))
  const [, every, times] = /inter (\d+)s .* fall (\d+)/.exec(haproxy) ?? []
  for (const [, { environment }] of replicas) {
    t.ok(secondsOf('timeout check', haproxy) <= 2)
    t.ok(Number(every) * Number(times) + secondsOf('timeout check', haproxy) < Number(environment.DRAIN_SECONDS))
    t.ok(secondsOf('timeout server', haproxy) > 10)
  }
  t.match(haproxy, /^ {2}retry-on conn-failure$/m, 'a mint is never sent twice')
})

t.test('Valkey evicts nothing and persists its counters', async (t) => {
  t.match(compose.services.valkey?.command?.join(' '), '--maxmemory-policy noeviction --appendonly yes')
})

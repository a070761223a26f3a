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
  build?: { context: string, args: Record<string, string> },
  ports?: string[],
  user?: string,
  read_only?: boolean,
  cap_drop?: string[],
  command?: string[],
  healthcheck: { test: string[] },
  stop_grace_period: string,
  volumes: (string | { source: string, target: string, read_only: boolean })[],
  depends_on?: Record<string, { restart?: boolean }> | string[],
  logging: { driver: string, options: Record<string, string> },
  ulimits?: { core: number }
}

const compose = parse(read('docker-compose.yml'), { merge: true }) as {
  services: Record<string, Service>, volumes: Record<string, null>
}
const image = read('Dockerfile')
const nginx = read('deploy/nginx.conf').replace(/#.*$/gm, '')
const DEFAULT_KEEP_ALIVE = 125
const CALL_SETUP_SECONDS = 20
const FORM_LIMIT_BYTES = 96 * 1024
const haproxy = read('deploy/haproxy.cfg').replace(/#.*$/gm, '')
const replicas = Object.entries(compose.services).filter(([, { image }]) => image === 'ephemint')

const SECRETS = [
  ['OPENAI_API_KEY', 'openai_api_key'], ['SAFETY_IDENTIFIER_SECRET', 'safety_identifier_secret']
] as const

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
  for (const [, { environment }] of replicas) {
    for (const [name, file] of SECRETS) {
      t.match(environment, { [name]: '', [`${name}_FILE`]: `/run/secrets/${file}` }, 'operate O19: and no variable')
    }
    const inPlace = SECRETS.flatMap(([name]) => [[`${name}_FILE`, ''], [name, 'x'.repeat(40)]])
    const config = readConfig({ ...environment, ...Object.fromEntries(inPlace) })
    t.match(config, { trustProxy: 1, redis: { host: 'valkey', port: 6379, tls: false }, ops: { port: 9090 } })
  }
  t.same(
    [...image.matchAll(/^(?:ARG|ENV) (.*)$/gm)].map(([, set]) => set),
    [
      'NODE_ENV=production NODE_COMPILE_CACHE=/app/.compiled MALLOC_ARENA_MAX=1', 'REVISION=',
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

t.test('operate O10: the image that compose builds has its revision', async (t) => {
  t.same(replicas.map(([, { build }]) => build), [
    { context: '.', args: { REVISION: ['$', '{REVISION:-}'].join('') } }, undefined
  ])
  t.match(image, 'ARG REVISION=\nLABEL org.opencontainers.image.revision=$REVISION\nENV EPHEMINT_REVISION=$REVISION\n')
})

t.test('operate O1: nothing that happens to a replica stops the gateway', async (t) => {
  t.same(compose.services.gateway?.depends_on, replicas.map(([name]) => name), 'without `restart: true`')
})

t.test('operate O2: each replica has its own audit file in a volume that it owns; logs are bounded', async (t) => {
  const files = replicas.map(([, { environment }]) => environment.AUDIT_FILE)
  t.same(files, replicas.map(([name]) => `/var/lib/ephemint/${name}.jsonl`))
  const rotate = compose.services.rotate as Service
  for (const { volumes } of [...replicas.map(([, service]) => service), rotate]) {
    t.ok(volumes.includes('audit:/var/lib/ephemint'))
  }
  t.ok('audit' in compose.volumes)
  t.match(image, /^RUN install --directory --owner=1000 .* \/var\/lib\/ephemint$/m)
  t.equal(rotate.user, '1000:1000')
  for (const [name, { logging }] of Object.entries(compose.services)) {
    t.match(logging, { driver: 'json-file', options: { 'max-size': /^\d+m$/, 'max-file': /^\d$/ } }, name)
  }
})

t.test('operate O4: nginx gets the origins from the line of .env that the replicas get them from', async (t) => {
  t.same(compose.services.gateway?.environment, { CORS_ORIGINS: ['$', '{CORS_ORIGINS:-}'].join('') })
  for (const [, { environment }] of replicas) t.notOk('CORS_ORIGINS' in environment)
})

t.test('operate O13: what a replica reads again is in a folder, and no single file is mounted', async (t) => {
  for (const [, { volumes, environment }] of replicas) {
    const mounted = volumes.flatMap((volume) => typeof volume === 'string' ? [] : [volume])
    t.same(mounted.map(({ source, target, read_only: readOnly }) => [source, target, readOnly]), [
      ['./deploy/policy', '/etc/ephemint', true], ['./deploy/secrets', '/run/secrets', true]
    ])
    t.equal(environment.EPHEMINT_CONFIG, '/etc/ephemint/ephemint.yaml')
  }
  t.match(image, '-v ./policy:/etc/ephemint:ro -e EPHEMINT_CONFIG=/etc/ephemint/ephemint.yaml')
  for (const folder of ['policy', 'secrets']) t.match(read(`deploy/${folder}/.gitignore`), /^\*\n!\.gitignore$/m)
})

t.test('the gateway lists every replica, and its timeouts fit theirs', async (t) => {
  const names = replicas.map(([name]) => name)
  const groups = [['', 'ephemint'], ...names.map((name) => [name, `without-${name}`])] as [string, string][]
  for (const [without, group] of groups) {
    const [, servers = ''] = new RegExp(`upstream ${group} \\{([^}]*)\\}`).exec(nginx) ?? []
    const used = [...servers.matchAll(/server (\S+):8080(?!.* backup;)/g)].map(([, host]) => host)
    t.same(used, names.filter((name) => name !== without), group)
  }
  for (const [, { environment, stop_grace_period: grace }] of replicas) {
    const upstream = /upstream ephemint \{[^}]*\}/.exec(nginx)?.[0] as string
    t.ok(secondsOf('keepalive_timeout', upstream) < Number(environment.KEEP_ALIVE_SECONDS ?? DEFAULT_KEEP_ALIVE))
    t.ok(secondsOf('fail_timeout') > Number(environment.DRAIN_SECONDS))
    t.ok(secondsOf('proxy_read_timeout') > CALL_SETUP_SECONDS)
    t.ok(Number.parseInt(grace) > 25)
  }
  t.match(compose.services.gateway?.healthcheck.test.join(' '), '/readyz')
  t.notMatch(nginx, /ip_hash|sticky|hash \$/, 'any replica answers for any call')
  t.notMatch(nginx, 'non_idempotent', 'a mint or a call is never sent twice')
  t.ok(Number(/client_max_body_size (\d+)k/.exec(nginx)?.[1]) * 1024 > FORM_LIMIT_BYTES)
})

t.test('HAProxy lists every replica, and its timeouts fit theirs', async (t) => {
  t.same([...haproxy.matchAll(/server \S+ (\S+):8080 check/g)].map(([, host]) => host), replicas.map(([name]) => name))
  const [, every, times] = /inter (\d+)s .* fall (\d+)/.exec(haproxy) ?? []
  for (const [, { environment }] of replicas) {
    t.ok(secondsOf('timeout check', haproxy) <= 2)
    t.ok(Number(every) * Number(times) + secondsOf('timeout check', haproxy) < Number(environment.DRAIN_SECONDS))
    t.ok(secondsOf('timeout server', haproxy) > CALL_SETUP_SECONDS)
  }
  t.match(haproxy, /^ {2}retry-on conn-failure$/m, 'a mint is never sent twice')
})

t.test('Valkey evicts nothing and persists its counters', async (t) => {
  t.match(compose.services.valkey?.command?.join(' '), '--maxmemory-policy noeviction --appendonly yes')
})

// Calls over a Redis Cluster and over sentinels, by the URL of an operator and over TLS too: begun at one replica, read
// and ended at another, through a fail-over, and taken over from a replica that was killed.
// Starts first: a fail-over takes ten seconds, most of which is waiting.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import type { RedisEndpoint } from '../../src/config/environment.ts'
import type { JsonObject } from '../../src/json.ts'
import { responseDone, usageOf } from '../support/call-events.ts'
import { makeFolder } from '../support/processes.ts'
import { NO_REDIS, type RedisServer } from '../support/redis.ts'
import { rolesIn, startCluster } from '../support/redis-cluster.ts'
import { startSentinels } from '../support/redis-sentinel.ts'
import type { Service } from '../support/service.ts'
import { until } from '../support/until.ts'
import type { Call } from '../support/upstream-call.ts'
import { type CallReplicas, startCallReplicas } from './call-replicas.ts'

t.setTimeout(180_000)
// The first test waits for 15 s.
t.jobs = 2

const PROMOTED_WITHIN_MS = 40_000
const P = '{ephemint}:calls:'

const hostsOf = (endpoints: readonly RedisEndpoint[]) => endpoints.map(({ host, port }) => `${host}:${port}`).join()

function authorityFile (t: Test, ca: string | undefined): Readonly<Record<string, string>> {
  if (ca === undefined) return {}
  const file = join(makeFolder(t), 'ca.pem')
  writeFileSync(file, ca)
  return { REDIS_CA_FILE: file }
}

const isPrimary = async ({ control }: Pick<RedisServer, 'control'>) => (await control.role())[0] === 'master'

/** Begins a call at the first of two replicas, and sends one response on it. */
async function begin (
  world: CallReplicas
): Promise<Readonly<{ path: string, call: Call, one: Service, two: Service }>> {
  const [one, two] = world.replicas as [Service, Service]
  const path = await world.call(one)
  const call = world.upstream.calls.at(-1) as Call
  call.push(responseDone('resp_1', usageOf({})))
  await until('its usage', async () => ((await world.get(one, path)).body.usage as any).responses === 1)
  return { path, call, one, two }
}

/** On a busy machine Redis may be late now and then, and a client may ask again then. */
function hangUp (world: CallReplicas, service: Service, path: string): Promise<JsonObject> {
  return until('Redis to be in time', async () => {
    const { body, code } = await world.hangUp(service, path)
    return code === 'limits_unavailable' ? null : body
  })
}

/** Asserts that a call is read at the other replica and always keeps its place; `after` disturbs Redis. */
async function assertShared (t: Test, world: CallReplicas, after: () => Promise<unknown>): Promise<void> {
  const { path, call, one, two } = await begin(world)
  t.match((await world.get(two, path)).body, { status: 'live' })
  t.match(await world.begin(two), { status: 409, code: 'call_in_progress' })
  await after()
  await until('its place to be known', async () => {
    const { status, code } = await world.begin(two)
    if (status !== 409 && code !== 'limits_unavailable') throw new Error(`a second call: ${status} ${code}`)
    return status === 409
  }, 40_000)
  await until('it to be read', async () => (await world.get(two, path)).body.status === 'live')
  t.equal(call.isLive(), true)
  call.push(responseDone('resp_2', usageOf({})))
  await until('its usage', async () => ((await world.get(one, path)).body.usage as any).responses === 2)
  t.match(await hangUp(world, two, path), { status: 'ended', end_reason: 'client' })
  t.match(await world.wrote('call.ended', 1), [{ reason: 'client', complete: true, usage: { responses: 2 } }])
  t.equal(world.upstream.hangUps.length, 1)
}

/** Asserts that a call is taken over from a killed replica, whose lease is ended at once. */
async function assertAdopted (t: Test, world: CallReplicas, control: Redis): Promise<void> {
  const { path, call, one, two } = await begin(world)
  const owner = await control.hget(`${P}call:${path.split('/').at(-1)}`, 'owner') as string
  one.kill('SIGKILL')
  await one.exited
  await control.zadd(`${P}leases`, '1', owner)
  await world.upstream.attached(call.id, 2)
  await until('it to be found', async () => (await world.get(two, path)).body.status === 'live')
  t.match(await hangUp(world, two, path), { status: 'ended', end_reason: 'client' })
  await until('its line', () => two.audit.some(({ event }) => event === 'call.ended'))
  t.match(two.audit.filter(({ event }) => event === 'call.ended'), [{ reason: 'client', complete: false }])
  t.equal(world.upstream.live(), 0)
}

for (const isTls of [true, false]) {
  const how = isTls ? 'that had none of their data, over TLS' : 'that had their data'
  t.test(`fault 27: calls over sentinels outlive a fail-over to a server ${how}`, { skip: NO_REDIS }, async (t) => {
    const { address, servers: [primary, replica] } = await startSentinels(t, { passwords: [''], isTls })
    const world = await startCallReplicas(t, {
      redisUrl: `redis${isTls ? 's' : ''}+sentinel://:secret@${hostsOf(address.sentinels)}/${address.primary}`,
      env: authorityFile(t, address.ca)
    })
    let promotedAt = 0
    await assertShared(t, world, async () => {
      if (isTls) {
        await replica.control.config('SET', 'masterauth', 'wrong')
        await primary.control.client('KILL', 'TYPE', 'REPLICA')
        await replica.control.config('SET', 'replica-read-only', 'no')
        await replica.control.flushall()
      }
      await primary.kill()
      await until('the promotion', () => isPrimary(replica), PROMOTED_WITHIN_MS)
      promotedAt = performance.now()
      if (isTls) await until('places to be unknown', async () => await replica.control.exists(`${P}unknown`) === 1)
    })
    t.equal(performance.now() - promotedAt > 15_000, isTls, 'where data was lost, no call begins for 15 s')
    await assertAdopted(t, world, replica.control)
  })
}

t.test('fault 27: calls over a cluster, of a replica that speaks TCP and one that speaks TLS, outlive a fail-over', {
  skip: NO_REDIS
}, async (t) => {
  const cluster = await startCluster(t)
  const nodes = (endpoints: readonly RedisEndpoint[]) => `://:secret@${hostsOf(endpoints)}`
  const of = ({ cluster }: object & { cluster?: readonly RedisEndpoint[] }) => nodes(cluster ?? [])
  const world = await startCallReplicas(t, {
    count: 1, redisUrl: `redis+cluster${of(cluster.address)}`
  })
  const env = { REDIS_URL: `rediss+cluster${of(cluster.tlsAddress)}`, ...authorityFile(t, cluster.tlsAddress.ca) }
  await world.start(env)
  await assertShared(t, world, async () => {
    const [owner, replica] = await rolesIn(cluster)
    await owner.kill()
    await until('the promotion', () => isPrimary(replica), PROMOTED_WITHIN_MS)
    await owner.start()
  })
  const [owner] = await rolesIn(cluster)
  await assertAdopted(t, world, owner.control)
})

// A Redis Cluster on free ports, plain and with TLS: three primaries, and a replica of the one that has our slot.

import type { RedisAddress } from '../../src/config/environment.ts'
import { type Authority, createAuthority } from './certificate.ts'
import type { Owner } from './fault-proxy.ts'
import { freePort } from './processes.ts'
import { addressOf, control, type RedisServer, startRedis, tlsOptions } from './redis.ts'
import { until } from './until.ts'

const SLOTS = 16_384
const PASSWORD = 'secret'

export type ClusterNode = RedisServer & Readonly<{ id: string, tlsPort: number, meeting: readonly string[] }>
export type RedisCluster = Readonly<{
  slot: number
  address: RedisAddress
  tlsAddress: RedisAddress
  /** The first one has our slot, the last one is its replica. */
  nodes: readonly [ClusterNode, ClusterNode, ClusterNode, ClusterNode]
}>

export async function startCluster (owner: Owner): Promise<RedisCluster> {
  const authority = createAuthority()
  const starting = [1, 2, 3, 4].map((epoch) => startNode(owner, authority, epoch))
  const nodes = await Promise.all(starting) as [ClusterNode, ClusterNode, ClusterNode, ClusterNode]
  const [first, second, third, replica] = nodes
  const slot = await first.control.cluster('KEYSLOT', '{ephemint}')
  const others = Array.from({ length: SLOTS }, (_, other) => other).filter((other) => other !== slot)
  // A primary that has no slot left would become a replica.
  await first.control.cluster('ADDSLOTS', [slot, ...others.slice(0, 1)])
  await second.control.cluster('ADDSLOTS', others.slice(1, SLOTS / 2))
  await third.control.cluster('ADDSLOTS', others.slice(SLOTS / 2))
  for (const node of nodes.slice(1)) await node.control.call('CLUSTER', 'MEET', ...first.meeting)
  await until('the cluster to form', async () => (await Promise.all(nodes.map(isOk))).every(Boolean))
  await replica.control.call('CLUSTER', 'REPLICATE', first.id)
  await until('the replica to follow', () => isFollowed(first))
  const { host: _, port: __, ...common } = { ...addressOf(0), password: PASSWORD }
  return {
    slot,
    nodes,
    address: { ...common, cluster: nodes.map(({ port }) => ({ host: '127.0.0.1', port })) },
    tlsAddress: {
      ...common,
      tls: true,
      ca: authority.cert,
      cluster: nodes.map(({ tlsPort }) => ({ host: 'localhost', port: tlsPort }))
    }
  }
}

/** The node that has our slot and the replica that would take it over, once both are healthy. */
export async function rolesIn ({ nodes: [first, , , last] }: RedisCluster): Promise<[ClusterNode, ClusterNode]> {
  return until('the owner to be followed', async () => {
    const isFirst = String((await first.control.role())[0]) === 'master'
    const [owner, replica] = isFirst ? [first, last] as const : [last, first] as const
    return await isFollowed(owner) && await isOk(owner) && await isOk(replica) ? [owner, replica] : null
  })
}

/** Moves our slot as `redis-cli --cluster reshard` does, some keys at a time. */
export async function moveSlot (
  { slot }: RedisCluster, from: ClusterNode, to: ClusterNode, afterSome: () => Promise<unknown>
): Promise<void> {
  await to.control.cluster('SETSLOT', slot, 'IMPORTING', from.id)
  await from.control.cluster('SETSLOT', slot, 'MIGRATING', to.id)
  for (;;) {
    const keys = await from.control.cluster('GETKEYSINSLOT', slot, 5) as string[]
    if (keys.length === 0) break
    await from.control.call('MIGRATE', '127.0.0.1', to.tlsPort, '', 0, 1000, 'AUTH', PASSWORD, 'KEYS', ...keys)
    await afterSome()
  }
  for (const node of [to, from]) await node.control.cluster('SETSLOT', slot, 'NODE', to.id)
}

/** Whether a replica confirms a write: in its first second an online replica receives none. */
export async function isFollowed ({ control }: Pick<RedisServer, 'control'>): Promise<boolean> {
  if (!(await control.info('replication')).includes('state=online')) return false
  await control.set('{ephemint}', 'probe', 'PX', 1)
  return await control.wait(1, 1500) === 1
}

async function isOk (node: RedisServer): Promise<boolean> {
  const info = String(await node.control.call('CLUSTER', 'INFO'))
  return info.includes('cluster_state:ok') && info.includes('cluster_known_nodes:4')
}

async function startNode (owner: Owner, authority: Authority, epoch: number): Promise<ClusterNode> {
  const busPort = String(await freePort())
  const { tlsPort, options } = await tlsOptions(owner, authority)
  const server = await startRedis(
    owner, '--cluster-enabled', 'yes', '--cluster-node-timeout', '500', '--cluster-port', busPort,
    '--cluster-replica-validity-factor', '0', '--tls-cluster', 'yes', '--tls-replication', 'yes',
    '--requirepass', PASSWORD, '--masterauth', PASSWORD, '--repl-diskless-sync-delay', '0', ...options
  )
  const client = control(owner, server.port, PASSWORD)
  await client.call('CLUSTER', 'SET-CONFIG-EPOCH', epoch)
  const id = String(await client.call('CLUSTER', 'MYID'))
  return { ...server, control: client, id, tlsPort, meeting: ['127.0.0.1', String(tlsPort), busPort] }
}

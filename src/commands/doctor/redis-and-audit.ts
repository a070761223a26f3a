// Checks Redis and the audit file.

import { access, constants, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import type { RedisAddress, RedisEndpoint } from '../../config/environment.ts'
import { openLimits } from '../../limits/open.ts'
import { silentLog } from '../command.ts'
import { type Finding, ok, wrong } from './finding.ts'

const REDIS_WITHIN_MS = 3000
const LOOK_EVERY_MS = 20

/** Connects as the service does, which checks writes and `noeviction`. */
export async function checkRedis (address: RedisAddress, now = () => performance.now()): Promise<Finding> {
  const where = describe(address)
  const logged: { reason: string | null, warned: boolean } = { reason: null, warned: false }
  const log = {
    ...silentLog,
    warn: () => { logged.warned = true },
    error: (facts: object) => { logged.reason = (facts as { reason: string }).reason }
  }
  const { store, state } = await openLimits({ redis: address, onRedisLoss: 'deny' }, log)
  const until = now() + REDIS_WITHIN_MS
  while (!state().isUp && logged.reason === null && now() < until) await wait(LOOK_EVERY_MS)
  const { isUp } = state()
  await store.close()
  if (isUp) {
    return ok(
      'redis', `${where} answers and accepts writes${logged.warned ? EVICTION_UNKNOWN : ', and evicts no keys'}`
    )
  }
  const reason = logged.reason ?? 'redis_timeout'
  return wrong('redis', `${where} cannot be used: ${reason.replace(/^redis_/, '')}`, REDIS_ADVICE[reason] ??
    (CERTIFICATE.test(reason)
      ? 'set REDIS_CA_FILE to the certificate of the CA that signed its own, by the name in REDIS_URL'
      : 'look into its log; fix REDIS_URL'))
}

function describe (address: RedisAddress): string {
  const list = (endpoints: readonly RedisEndpoint[]) => endpoints.map(({ host, port }) => `${host}:${port}`).join(', ')
  if ('cluster' in address) return `the cluster at ${list(address.cluster)}`
  if ('sentinels' in address) return `${address.primary}, by the sentinels at ${list(address.sentinels)},`
  return list([address])
}

const EVICTION_UNKNOWN = '; its maxmemory-policy is not known, and must be noeviction'

const CERTIFICATE = /cert|signed|unable_to|altname/

const REDIS_ADVICE: Readonly<Record<string, string>> = {
  redis_evicts_keys: 'set its maxmemory-policy to noeviction: a window that is evicted counts as unused',
  redis_econnrefused: 'start it, or fix host and port in REDIS_URL',
  redis_enotfound: 'fix the host in REDIS_URL, or the DNS of this machine',
  redis_timeout: 'allow connections to it; use rediss:// for TLS, redis:// without',
  redis_noauth: 'put user and password into REDIS_URL',
  redis_wrongpass: 'fix user and password in REDIS_URL',
  redis_moved: 'it is a node of a cluster: write redis+cluster:// or rediss+cluster:// in REDIS_URL',
  redis_no_cluster: 'it is one server: write redis:// or rediss:// in REDIS_URL',
  redis_unknown_primary: 'name the primary in REDIS_URL as the sentinels do: SENTINEL MASTERS lists their names',
  redis_sentinels_unreachable: 'fix the hosts of the sentinels in REDIS_URL; with TLS, set REDIS_CA_FILE to their CA',
  redis_noperm: 'give its user the rights in the table "Several replicas" of docs/deploying.md: ACL SETUSER'
}

export async function checkAudit (file: string | null): Promise<Finding> {
  if (file === null) return ok('audit', 'goes to stdout, beside the log')
  const kind = await stat(file).catch(() => null)
  if (kind?.isDirectory()) return wrong('audit', `${file} is a folder`, 'set AUDIT_FILE to a file in it')
  try {
    await access(kind === null ? dirname(file) : file, constants.W_OK)
    return ok('audit', `${file} can be ${kind === null ? 'created' : 'appended to'}`)
  } catch {
    return wrong(
      'audit',
      `${file} cannot be written`,
      `allow the service's user (${process.getuid?.()}) to write there, or fix AUDIT_FILE: nothing is minted without it`
    )
  }
}

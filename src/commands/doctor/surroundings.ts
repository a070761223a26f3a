// What else the service leans on: Redis, and the place where audit lines go.

import { access, constants, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import type { RedisAddress } from '../../config/environment.ts'
import { silentLog } from '../command.ts'
import { type Finding, ok, wrong } from './finding.ts'

const REDIS_WITHIN_MS = 3000
const LOOK_EVERY_MS = 20

/** Connects as the service does, which asks for writes and for `noeviction`. */
export async function examineRedis (address: RedisAddress, now = () => performance.now()): Promise<Finding> {
  const where = `${address.host}:${address.port}`
  const heard: { reason: string | null, warned: boolean } = { reason: null, warned: false }
  const log = {
    ...silentLog,
    warn: () => { heard.warned = true },
    error: (facts: object) => { heard.reason = (facts as { reason: string }).reason }
  }
  // The client library takes 20 MB: only where there is something to connect to.
  const { createRedisStore } = await import('../../limits/redis.ts')
  const store = createRedisStore({ address, log, local: null })
  const until = now() + REDIS_WITHIN_MS
  while (!store.isUp() && heard.reason === null && now() < until) await wait(LOOK_EVERY_MS)
  const isUp = store.isUp()
  await store.close()
  if (isUp) {
    return ok(
      'redis',
      `${where} answers and takes writes${heard.warned ? '; it does not say its maxmemory-policy, which must be noeviction' : ', and evicts no keys'}`
    )
  }
  const reason = heard.reason ?? 'redis_timeout'
  return wrong('redis', `${where} cannot be relied on: ${reason.replace(/^redis_/, '')}`, REDIS_ADVICE[reason] ??
    'look into its log; mend REDIS_URL')
}

const REDIS_ADVICE: Readonly<Record<string, string>> = {
  redis_evicts_keys: 'set its maxmemory-policy to noeviction: a window that is evicted counts as unused',
  redis_econnrefused: 'start it, or mend host and port in REDIS_URL',
  redis_enotfound: 'mend the host in REDIS_URL, or the DNS of this machine',
  redis_timeout: 'let this machine out to it; rediss:// is for TLS, redis:// is without',
  redis_noauth: 'put user and password into REDIS_URL',
  redis_wrongpass: 'mend user and password in REDIS_URL',
  redis_noperm: 'let its user run GET, SET, EVAL, EVALSHA, TIME and INFO on keys of {ephemint}:*'
}

export async function examineAudit (file: string | null): Promise<Finding> {
  if (file === null) return ok('audit', 'goes to stdout, beside the log')
  const kind = await stat(file).catch(() => null)
  if (kind?.isDirectory()) return wrong('audit', `${file} is a folder`, 'let AUDIT_FILE name a file in it')
  try {
    await access(kind === null ? dirname(file) : file, constants.W_OK)
    return ok('audit', `${file} can be ${kind === null ? 'made' : 'appended to'}`)
  } catch {
    return wrong(
      'audit',
      `${file} cannot be written`,
      `let the user that runs the service (${process.getuid?.()}) write there, or mend AUDIT_FILE: nothing is minted without its line`
    )
  }
}

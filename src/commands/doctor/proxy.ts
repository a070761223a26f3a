// Says which requests go by a proxy, and which directly.

import { isSentDirectly } from '../../callers/forward.ts'
import type { CallerEntry, JwtEntry } from '../../callers/schema.ts'
import type { Config } from '../../config/environment.ts'
import { routeOf } from '../../outbound/proxy.ts'
import { type Finding, ok } from './finding.ts'

/** None without a proxy in the environment. */
export function describeRoutes (
  { upstream, proxies }: Pick<Config, 'upstream' | 'proxies'>, entries: readonly CallerEntry[]
): Finding[] {
  if (proxies.https === null && proxies.http === null) return []
  const identity = entries.flatMap(({ jwt, forward, introspection }) => [
    ...(jwt === undefined ? [] : keyAddresses(jwt)),
    ...(forward === undefined ? [] : [forward.url]),
    ...(introspection === undefined ? [] : [introspection.url])
  ])
  const direct = new Set(entries.flatMap(({ forward }) => forward && isSentDirectly(forward.url) ? [forward.url] : []))
  const ways = [upstream.baseUrl.href, ...identity].map((url) => {
    const target = new URL(url)
    const proxy = direct.has(url) ? null : routeOf(proxies, target)
    return `${target.host} ${proxy === null ? 'directly' : `by ${proxy.protocol}//${proxy.host}`}`
  })
  return [ok('proxy', [...new Set(ways)].join(', '))]
}

/** Where its keys come from; with a secret alone there are none. */
function keyAddresses ({ jwks, issuer, ...entry }: JwtEntry): string[] {
  const hasSecret = entry.secret_env !== undefined || entry.secret_file !== undefined
  return [jwks ?? (hasSecret ? [] : issuer)].flat()
}

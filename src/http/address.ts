// Client addresses, and the proxies that may report them.

import { isIP } from 'node:net'
import { normalizeIP } from '@fastify/rate-limit'
import { addressRanges, inRanges } from '../config/addresses.ts'
import type { Config } from '../config/environment.ts'

/**
 * Whether the address at this hop (0 is the TCP peer) is a trusted proxy. A function, because Fastify's own hop count
 * no longer trusts anyone. A hop count trusts every peer: use it only where the gateway alone can connect.
 */
export type IsTrusted = (address: string | undefined, hop: number) => boolean

export function trustedProxies (trustProxy: Config['trustProxy']): IsTrusted {
  if (trustProxy === false) return () => false
  if (typeof trustProxy === 'number') return (_address, hop) => hop < trustProxy
  const ranges = addressRanges(trustProxy)
  return (address) => address !== undefined && inRanges(ranges, withoutPort(address))
}

/** Some gateways write the client's port too (Azure): `198.51.100.7:51234`, `[2001:db8::7]:51234`. */
export function withoutPort (address: string): string {
  const [, ipv4, ipv6] = /^(?:([\d.]+):\d{1,5}|\[([\da-f:.]+)\](?::\d{1,5})?)$/i.exec(address) ?? []
  return ipv4 ?? ipv6 ?? address
}

/** The key that a client is counted by: IPv6 by its /64, IPv4-mapped as IPv4. All that is no address shares one key. */
export function clientKey (written: string): string {
  const address = withoutPort(written)
  const family = isIP(address)
  if (family === 4) return address
  return family === 6 ? normalizeIP(address, 64) : 'unknown'
}

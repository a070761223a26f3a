// Client addresses, and who may speak for them.

import { isIP } from 'node:net'
import { normalizeIP } from '@fastify/rate-limit'
import { addressRanges, inRanges } from '../config/addresses.ts'
import type { Config } from '../config/environment.ts'

/**
 * Whether the address at this hop (0 is the TCP peer) is a proxy whose word counts. Fastify takes a function because its
 * own hop count trusts nobody any more. A hop count trusts whoever connects: it is for a service that only the gateway can reach.
 */
export type IsTrusted = (address: string | undefined, hop: number) => boolean

export function trustedProxies (trustProxy: Config['trustProxy']): IsTrusted {
  if (trustProxy === false) return () => false
  if (typeof trustProxy === 'number') return (_address, hop) => hop < trustProxy
  const ranges = addressRanges(trustProxy)
  return (address) => address !== undefined && inRanges(ranges, address)
}

/** What is counted as one client: IPv6 by its /64, IPv4-mapped as IPv4. What is no address is one client, too. */
export function clientKey (address: string): string {
  const family = isIP(address)
  if (family === 4) return address
  return family === 6 ? normalizeIP(address, 64) : 'unknown'
}

// Hosts that are treated apart: this machine, and the metadata services of clouds.

import { isIP } from 'node:net'

const METADATA_HOSTS = new Set([
  'metadata', 'metadata.google.internal', 'metadata.goog', 'metadata.azure.internal',
  'instance-data', 'instance-data.ec2.internal', '100.100.100.200', '168.63.129.16', '192.0.0.192',
  'fd00:ec2::254', 'fd00:ec2::23', 'fd20:ce::254'
])
/** Also embedded in an IPv6 address. Nothing but metadata services uses this range. */
const LINK_LOCAL = /^169\.254\.|:a9fe:[\da-f]+$/

/** The problem with such a host, for messages. */
export const METADATA_HOST = 'is the address of a cloud metadata service'

/** Whether `host`, a URL's hostname, is a cloud's metadata service, which hands out the machine's credentials. */
export function isMetadataHost (host: string): boolean {
  const name = host.replace(/^\[|\]$|\.$/g, '')
  return METADATA_HOSTS.has(name) || LINK_LOCAL.test(name)
}

export function isLoopback (host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

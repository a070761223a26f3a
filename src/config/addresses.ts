// Addresses and CIDR ranges of the environment and the policy file.

import { BlockList, isIP, isIPv4 } from 'node:net'

const RANGE = /^([^/]+)(?:\/([1-9]\d{0,2}))?$/

/** An address or a CIDR range; `/0`, which matches everything, is not accepted. */
export function isRange (text: string): boolean {
  const [, address = '', bits = '1'] = RANGE.exec(text) ?? []
  const family = isIP(address)
  return family !== 0 && Number(bits) <= (family === 4 ? 32 : 128)
}

/** A range of one address, or of addresses of this host. */
export function isSingleOrLoopback (range: string): boolean {
  const [address = '', bits] = range.split('/')
  const isIPv4Range = isIPv4(address)
  return bits === undefined || Number(bits) === (isIPv4Range ? 32 : 128) ||
    (isIPv4Range && address.startsWith('127.') && Number(bits) >= 8)
}

/** Throws if one of `list` is not a range. */
export function addressRanges (list: readonly string[]): BlockList {
  const ranges = new BlockList()
  for (const range of list) {
    const [address = '', bits] = range.split('/')
    const family = isIPv4(address) ? 'ipv4' : 'ipv6'
    if (bits === undefined) ranges.addAddress(address, family)
    else ranges.addSubnet(address, Number(bits), family)
  }
  return ranges
}

export function inRanges (ranges: BlockList, address: string): boolean {
  return isIP(address) !== 0 && ranges.check(address, isIPv4(address) ? 'ipv4' : 'ipv6')
}

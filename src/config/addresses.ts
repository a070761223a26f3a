// Addresses and CIDR ranges, as they are written in the environment and in the policy file.

import { BlockList, isIP, isIPv4 } from 'node:net'

const RANGE = /^([^/]+)(?:\/([1-9]\d{0,2}))?$/

/** An address, or a CIDR range that is not everyone: `/0` is none. */
export function isRange (text: string): boolean {
  const [, address = '', bits = '1'] = RANGE.exec(text) ?? []
  const family = isIP(address)
  return family !== 0 && Number(bits) <= (family === 4 ? 32 : 128)
}

/** Throws where one of `list` is no range. */
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

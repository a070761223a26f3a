// Opening a listener, so that a failure names the variable that an operator must change.

import { createServer } from 'node:net'
import { ConfigError } from '../config/environment.ts'

const ALL = '::'
const ALL_IPV4 = '0.0.0.0'

export type ListenAddress = Readonly<{ host: string, port: number }>
/** The variables that an address comes from. */
export type AddressNames = Readonly<{ host: string, port: string }>
type Listener = Readonly<{ listen: (address: ListenAddress) => Promise<string> }>

/** `::` is both families, or IPv4 on a machine without IPv6. Throws ConfigError. */
export async function listenAt (
  listener: Listener, { host, port }: ListenAddress, names: AddressNames, canListen = canListenOn
): Promise<string> {
  const bindable = host === ALL && !await canListen(ALL) ? ALL_IPV4 : host
  return listener.listen({ host: bindable, port }).catch((error) => {
    throw new ConfigError([problemOf(error as NodeJS.ErrnoException, names)])
  })
}

export function canListenOn (host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer().once('error', () => resolve(false))
    probe.listen(0, host, () => probe.close(() => resolve(true)))
  })
}

function problemOf ({ code = '' }: NodeJS.ErrnoException, { host, port }: AddressNames): string {
  if (code === 'EADDRINUSE') return `${port} is in use already, by another process or another listener of this one`
  if (code === 'EACCES') return `${port} needs rights that this process does not have: use 1024 or more`
  return `${host} is not an address of this machine (${code})`
}

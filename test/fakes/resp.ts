// A Redis that answers every command with the same error.

import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { addressOf } from './redis.ts'
import type { RedisAddress } from '../../src/config.ts'
import type { Owner } from './fault-proxy.ts'

export async function startRefusingRedis (owner: Owner, error: string): Promise<{ address: RedisAddress }> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    // Each command is an array of bulk strings, and begins with its length.
    socket.on('data', (chunk) => socket.write(`-${error}\r\n`.repeat(chunk.toString().match(/^\*\d+\r$/gm)?.length ?? 0)))
    owner.teardown(() => socket.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  owner.teardown(() => server.close())
  return { address: addressOf((server.address() as AddressInfo).port) }
}

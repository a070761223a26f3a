// A fake Redis with scripted answers.

import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import type { RedisAddress } from '../../src/config/environment.ts'
import type { Owner } from './fault-proxy.ts'
import { addressOf } from './redis.ts'

/** The answer to a command in RESP, or null to cut the connection. */
export type AnswerCommand = (name: string) => string | null

export async function startFakeRedis (owner: Owner, answer: AnswerCommand): Promise<{ address: RedisAddress }> {
  const server = createServer((socket) => {
    owner.teardown(() => socket.destroy())
    socket.on('error', () => {})
    socket.on('data', (chunk) => {
      // A command is an array of bulk strings; the first is its name.
      for (const [, name] of chunk.toString().matchAll(/^\*\d+\r\n\$\d+\r\n(\w+)/gm)) {
        const text = answer(String(name).toUpperCase())
        if (text === null) socket.destroy()
        else socket.write(text)
      }
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  owner.teardown(() => server.close())
  return { address: addressOf((server.address() as AddressInfo).port) }
}

/** Answers every command with the same error. */
export async function startRefusingRedis (owner: Owner, error: string): Promise<{ address: RedisAddress }> {
  return startFakeRedis(owner, () => `-${error}\r\n`)
}

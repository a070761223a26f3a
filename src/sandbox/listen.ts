// All parts of the sandbox listen on loopback only.

import { once } from 'node:events'
import { createServer } from 'node:net'
import { promisify } from 'node:util'
import type { FastifyInstance } from 'fastify'

export const HOST = '127.0.0.1'

/** Listens on `port`, or on any free port if it is taken. Resolves to the origin. */
export async function listen (app: FastifyInstance, port: number): Promise<string> {
  return app.listen({ host: HOST, port: await isFree(port) ? port : 0 })
}

export async function isFree (port: number): Promise<boolean> {
  const server = createServer().listen(port, HOST)
  try {
    await once(server, 'listening')
  } catch {
    return false
  }
  await promisify(server.close).call(server)
  return true
}

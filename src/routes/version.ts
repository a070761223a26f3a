// Version and policy of this replica, so that replicas can be compared.

import type { FastifyInstance } from 'fastify'

export type Running = Readonly<{
  /** The version in package.json. */
  version: string
  /** The commit that the image was built from; null: not known. */
  revision: string | null
  policy_hash: string
}>

export function registerVersion (ops: FastifyInstance, running: () => Running): void {
  ops.get('/version', async () => running())
}

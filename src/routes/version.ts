// What runs here, so that replicas can be compared.

import type { FastifyInstance } from 'fastify'

export type Running = Readonly<{
  /** Of package.json. */
  version: string
  /** The commit that the image was built from; null: not known. */
  revision: string | null
  policy_hash: string
}>

export function registerVersion (ops: FastifyInstance, running: () => Running): void {
  ops.get('/version', async () => running())
}

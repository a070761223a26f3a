// The playground: a page on an origin of its own, so that CORS is as real as it will be in an app.

import { readFile } from 'node:fs/promises'
import { fastify } from 'fastify'
import { listen } from './listen.ts'

export type PlaygroundConfig = Readonly<{
  /** Where Ephemint mints, `/v1` included. */
  mintUrl: string
  identityProviderUrl: string
}>

export type Playground = Readonly<{ origin: string, close: () => Promise<void> }>

const PAGE = new URL('./playground.html', import.meta.url)

/** `config` is asked at each request: Ephemint must know this page's origin before it listens itself. */
export async function startPlayground ({ port = 0, config }: { port?: number, config: () => PlaygroundConfig | null }): Promise<Playground> {
  const app = fastify({ forceCloseConnections: true })
  app.addHook('onSend', async (_request, reply) => { reply.header('cache-control', 'no-store') })
  app.get('/', async (_request, reply) => reply.type('text/html; charset=utf-8').send(await readFile(PAGE)))
  app.get('/config.json', (_request, reply) => reply.send(config()))

  const origin = await listen(app, port)
  return { origin, close: async () => { await app.close() } }
}

// Serves the playground: plain files without a build, on an origin of their own so that CORS applies as in an app.

import { readdir, readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import { PassThrough } from 'node:stream'
import { fastify } from 'fastify'
import type { ChangeRules } from './change-rules.ts'
import { listen } from './listen.ts'
import type { SidebandFeed } from './sideband-feed.ts'

export type PlaygroundConfig = Readonly<{
  /** Ephemint's base URL, with `/v1`. */
  mintUrl: string
  identityProviderUrl: string
  /** True with a real API key: sessions cost money. */
  isReal: boolean
}>

export type PlaygroundOptions = Readonly<{
  port?: number
  /** Read per request: Ephemint needs the origin of this page before it can start. */
  config: () => PlaygroundConfig | null
  feed: SidebandFeed
  rules: Pick<ChangeRules, 'of'>
}>

export type Playground = Readonly<{ origin: string, close: () => Promise<void> }>

const FOLDER = new URL('./playground/', import.meta.url)
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml'
}
const HEADERS = {
  'cache-control': 'no-store',
  'x-content-type-options': 'nosniff',
  // The page holds client secrets: only scripts of this origin run.
  'content-security-policy': [
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "media-src 'self' blob:",
    'connect-src *', "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"
  ].join('; ')
}

export async function startPlayground (
  { port = 0, config, feed, rules }: PlaygroundOptions
): Promise<Playground> {
  const app = fastify({ forceCloseConnections: true })
  app.addHook('onSend', async (_request, reply) => { reply.headers(HEADERS) })
  for (const name of await readdir(FOLDER)) {
    const type = TYPES[extname(name)]
    if (type === undefined) continue
    app.get(name === 'index.html' ? '/' : `/${name}`, async (_request, reply) =>
      reply.type(type).send(await readFile(new URL(name, FOLDER))))
  }
  app.get('/config.json', (_request, reply) => reply.send(config()))
  app.get<{ Params: { callId: string } }>('/calls/:callId/rule', async ({ params: { callId } }, reply) =>
    await rules.of(callId) ?? reply.code(404).send())
  app.get<{ Params: { offerId: string } }>('/sideband/:offerId', ({ params: { offerId } }, reply) => {
    const stream = new PassThrough()
    // A comment: the page is connected before the first event.
    stream.write(':\n\n')
    stream.on('close', feed.follow(offerId, (event) => stream.write(`data: ${JSON.stringify(event)}\n\n`)))
    return reply.type('text/event-stream').send(stream)
  })

  const origin = await listen(app, port)
  return { origin, close: async () => { await app.close() } }
}

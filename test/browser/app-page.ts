// Serves the page of an app on its own origin. An import map replaces the bundler, so that the page uses examples and
// packages as they were published.

import { readFile } from 'node:fs/promises'
import { extname, join, normalize } from 'node:path'
import { fastify } from 'fastify'
import type { Test } from 'tap'

const ROOT = join(import.meta.dirname, '../..')
const SERVED = ['test/browser/examples/', 'node_modules/openai/', 'node_modules/openai-6/', 'node_modules/@openai/']
const TYPES: Readonly<Record<string, string>> = {
  '.js': 'text/javascript', '.mjs': 'text/javascript', '.html': 'text/html'
}

const IMPORTS = {
  openai: '/node_modules/openai/index.mjs',
  'openai/realtime/webrtc': '/node_modules/openai/realtime/webrtc.mjs',
  'openai-6': '/node_modules/openai-6/index.mjs',
  '@openai/agents-realtime': '/node_modules/@openai/agents-realtime/dist/bundle/openai-realtime-agents.mjs'
}
const PAGE = `<!doctype html><html lang="en"><title>An app</title><link rel="icon" href="data:,">
<script type="importmap">${JSON.stringify({ imports: IMPORTS })}</script>`

export async function servePages (t: Test): Promise<string> {
  const app = fastify({ forceCloseConnections: true })
  app.get('/', (_request, reply) => reply.type('text/html').send(PAGE))
  app.get<{ Params: { '*': string } }>('/*', async ({ params }, reply) => {
    const path = normalize(params['*'])
    const type = TYPES[extname(path)]
    if (type === undefined || !SERVED.some((folder) => path.startsWith(folder))) return reply.code(404).send()
    return reply.type(type).send(await readFile(join(ROOT, path)))
  })
  t.teardown(() => app.close())
  return app.listen({ host: '127.0.0.1', port: 0 })
}

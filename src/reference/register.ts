// Serves the API reference on the ops listener.

import type { FastifyInstance } from 'fastify'
import { openapiDocument } from './document.ts'
import { PAGE_HEADERS, renderPage } from './page.ts'

export function registerReference (app: FastifyInstance): void {
  let written: { json: string, page: string } | undefined
  // On the first request: it would add 15 ms to the start.
  const write = () => {
    const document = openapiDocument()
    return { json: JSON.stringify(document), page: renderPage(document) }
  }
  app.get('/openapi.json', async (_request, reply) =>
    reply.type('application/json; charset=utf-8').send((written ??= write()).json))
  app.get('/docs', async (_request, reply) => reply.headers(PAGE_HEADERS).send((written ??= write()).page))
}

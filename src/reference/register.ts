// The API reference, for the ops listener.

import type { FastifyInstance } from 'fastify'
import { openapiDocument } from './document.ts'
import { PAGE_HEADERS, renderPage } from './page.ts'

export function registerReference (app: FastifyInstance): void {
  const document = openapiDocument()
  const [json, page] = [JSON.stringify(document), renderPage(document)]
  app.get('/openapi.json', async (_request, reply) => reply.type('application/json; charset=utf-8').send(json))
  app.get('/docs', async (_request, reply) => reply.headers(PAGE_HEADERS).send(page))
}

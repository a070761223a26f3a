// 405 for routes with parameters: the router decides which route a path matches.

import { fastify, type FastifyInstance } from 'fastify'
import t from 'tap'
import { listenerOptions, registerListener } from '../../src/http/listener.ts'
import { createLogger } from '../../src/records/log.ts'
import { keepLines } from '../support/lines.ts'

async function start () {
  const app = fastify({
    ...listenerOptions(createLogger('silent', keepLines())), exposeHeadRoutes: false
  }) as unknown as FastifyInstance
  registerListener(app, () => {})
  app.get('/x/:id', async () => ({}))
  app.delete('/x/:id', async () => ({}))
  await app.register(async (inner) => {
    inner.post('/:id/hangup', async () => ({}))
    inner.post('/all', async () => ({}))
  }, { prefix: '/x' })
  app.get('/a.b', async () => ({}))
  return app
}

t.test('B26: a route with a parameter is found for 405 by what it matches, not by its pattern', async (t) => {
  const app = await start()
  for (const [method, url, allow] of [
    ['PUT', '/x/1', 'GET, DELETE'],
    ['PUT', '/x/1?id=2', 'GET, DELETE'],
    ['PUT', '/x/a%20b%2Fc', 'GET, DELETE'],
    ['PUT', '/%78/1', 'GET, DELETE'],
    ['PUT', '/x/:id', 'GET, DELETE'],
    ['GET', '/x/1/hangup', 'POST'],
    ['PATCH', '/x/all', 'GET, DELETE, POST'],
    ['POST', '/x/1', 'GET, DELETE'],
    ['POST', '/a.b', 'GET']
  ] as const) {
    const { statusCode, headers } = await app.inject({ method, url })
    t.same({ statusCode, allow: headers.allow }, { statusCode: 405, allow }, `${method} ${url}`)
  }
  for (const [method, url] of [
    ['PUT', '/x/'], ['PUT', '/x'], ['PUT', '/x/1/2'], ['PUT', '/x/1/'], ['GET', '/x/1/2/hangup'], ['POST', '/aXb'],
    ['PUT', '/x/1/hangup/x']
  ] as const) {
    const { statusCode, headers } = await app.inject({ method: method as 'PUT', url })
    t.same({ statusCode, allow: headers.allow }, { statusCode: 404, allow: undefined }, `${method} ${url}`)
  }
})

t.test('B26: a URL that cannot be decoded is 400 with any method', async (t) => {
  const app = await start()
  for (const method of ['GET', 'PUT', 'PROPFIND']) {
    for (const url of ['/x/%ff', '/%', '/nowhere/%e0%a4']) {
      t.equal((await app.inject({ method: method as 'PUT', url })).statusCode, 400, `${method} ${url}`)
    }
  }
})

t.test('B30: at an address with a parameter, no body is read for a 404 or a 405', async (t) => {
  const app = await start()
  for (const [url, status] of [['/x/1', 405], ['/x/1/2', 404]] as const) {
    for (const [type, payload] of [
      ['application/json', '{'], ['text/plain', 'a'], ['application/json', 'x'.repeat(100_000)]
    ] as const) {
      const { statusCode } = await app.inject({ method: 'PUT', url, headers: { 'content-type': type }, payload })
      t.equal(statusCode, status, `${url} ${type}`)
    }
  }
})

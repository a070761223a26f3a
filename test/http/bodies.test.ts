// A route's own body parsers, and what they leave as it is for all other routes.

import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { fastify, type FastifyInstance } from 'fastify'
import t, { type Test } from 'tap'
import { ApiError } from '../../src/errors.ts'
import { type BodyParser, takeBodies } from '../../src/http/bodies.ts'
import { listenerOptions, registerListener } from '../../src/http/listener.ts'
import { createLogger } from '../../src/records/log.ts'
import { keepLines } from '../support/lines.ts'

const SDP: BodyParser = {
  type: 'application/sdp',
  limitBytes: 100,
  parse: (body) => {
    if (!body.toString().startsWith('v=0')) throw new ApiError('invalid_request', { param: 'sdp' })
    return { sdp: body.toString() }
  }
}
const FORM: BodyParser = {
  type: 'multipart/form-data', limitBytes: 200, parse: (body, contentType) => ({ bytes: body.length, contentType })
}

async function start (t: Test) {
  const app = fastify(listenerOptions(createLogger('silent', keepLines()))) as unknown as FastifyInstance
  registerListener(app, () => {})
  app.post('/before', async ({ body }) => body ?? 'none')
  await app.register(async (calls) => {
    takeBodies(calls, [SDP, FORM])
    calls.post('/calls', async ({ body }) => body ?? 'none')
  })
  await app.register(async (other) => { other.post('/inside', async ({ body }) => body ?? 'none') })
  app.post('/after', async ({ body }) => body ?? 'none')
  app.listen({ host: '127.0.0.1', port: 0 })
  await once(app.server, 'listening')
  t.teardown(() => app.close())
  const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
  return async (path: string, type: string, body: string, headers: Record<string, string> = {}) => {
    const init = { method: 'POST', body: Buffer.from(body), headers: { 'content-type': type, ...headers } }
    const response = await fetch(url + path, init)
    const answer = await response.json() as { error?: { code: string } }
    return { status: response.status, code: answer.error?.code, answer }
  }
}

t.test('B18: a type that one route takes stays 415 at every other route, wherever it is registered', async (t) => {
  const post = await start(t)
  for (const path of ['/before', '/inside', '/after']) {
    for (const type of ['application/sdp', 'multipart/form-data; boundary=x', 'text/plain']) {
      t.match(await post(path, type, 'v=0'), { status: 415, code: 'unsupported_media_type' }, `${path} ${type}`)
    }
    t.match(await post(path, 'application/json', '{"a":1}'), { status: 200, answer: { a: 1 } })
  }
})

t.test('B18: a route with parsers of its own takes their types alone, and none compressed', async (t) => {
  const post = await start(t)
  for (const type of ['application/json', 'text/plain', 'application/sdpx', 'multipart/mixed']) {
    t.match(await post('/calls', type, '{}'), { status: 415, code: 'unsupported_media_type' }, type)
  }
  const compressed = { 'content-encoding': 'gzip' }
  t.match(await post('/calls', 'application/sdp', 'v=0', compressed), { status: 415, code: 'unsupported_media_type' })
  t.match(await post('/calls', 'application/sdp', 'no offer'), { status: 400, code: 'invalid_request' })
  t.match(await post('/calls', 'application/sdp', `v=0${'x'.repeat(98)}`), { status: 413, code: 'body_too_large' })
  t.match(await post('/calls', 'application/sdp', 'v=0'), { status: 200, answer: { sdp: 'v=0' } })
  const type = 'multipart/form-data; boundary=x'
  t.match(await post('/calls', type, 'x'.repeat(200)), { status: 200, answer: { bytes: 200, contentType: type } })
})

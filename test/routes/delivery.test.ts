// A client that goes away: before the mint nothing is minted, afterwards the secret is audited as undelivered.

import { once } from 'node:events'
import type { Socket } from 'node:net'
import t from 'tap'
import type { LimitStore } from '../../src/limits/limits.ts'
import { createMemoryStore } from '../../src/limits/memory.ts'
import { type App, startApp } from '../support/app.ts'
import { exchange, openSocket } from '../support/raw-http.ts'
import { failure, GA, inSeconds, json, type Reply } from '../support/upstream.ts'

const minted: Reply = json(
  200, { value: 'ek_canary_late', expires_at: inSeconds(60), session: { type: 'realtime', id: 'sess_late' } }
)

async function request (app: App): Promise<string> {
  const head = 'POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n'
  return `${head}Authorization: Bearer ${await app.token()}\r\n\r\n`
}

/** Sends a request; `leave` disconnects, and resolves once the service has seen it. */
async function ask (app: App): Promise<{ leave: () => Promise<void> }> {
  const accepted = once(app.server, 'connection') as Promise<[Socket]>
  const client = await openSocket(app)
  const [socket] = await accepted
  client.write(await request(app))
  return {
    leave: async () => {
      const closed = once(socket, 'close')
      client.resetAndDestroy()
      await closed.catch(() => {})
    }
  }
}

/** Limits from which nothing is taken before `moment`. */
function takenAfter (moment: Promise<void>, onAsked = () => {}): LimitStore {
  const memory = createMemoryStore()
  return {
    ...memory,
    take: async (buckets) => {
      onAsked()
      await moment
      return memory.take(buckets)
    }
  }
}

t.test('a client that goes before the mint has nothing minted for it, and is not counted', async (t) => {
  const [asked, gone] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const app = await startApp(t, { limits: takenAfter(gone.promise, asked.resolve) })
  const { leave } = await ask(app)
  await asked.promise
  await leave()
  gone.resolve()
  await app.audit.wrote(1)
  t.match(app.auditLines(), [{ event: 'mint.refused', reason: 'client_gone', kind: 'realtime', policy: 'pro' }])
  t.equal(app.upstream.requests.length, 0)
  t.equal((await app.mint('client_secrets')).headers.get('ratelimit-remaining'), '49')
})

t.test('a client that goes during the mint: granted, and then undelivered, under one request id', async (t) => {
  const app = await startApp(t)
  const gone = Promise.withResolvers<void>()
  app.upstream.answer(GA, async (received, response) => {
    await gone.promise
    minted(received, response)
  })
  const { leave } = await ask(app)
  await app.upstream.arrived(1)
  await leave()
  gone.resolve()
  await app.audit.wrote(2)
  const [granted, undelivered] = app.auditLines()
  t.match(granted, { event: 'mint.granted', session_id: 'sess_late', code: null })
  t.match(undelivered, {
    event: 'mint.undelivered',
    session_id: 'sess_late',
    request_id: granted?.request_id,
    secret_sha256: granted?.secret_sha256
  })
  t.notMatch(app.audit.kept.join(), 'ek_canary')
})

t.test('a client that goes while its grant is written down: undelivered', async (t) => {
  const app = await startApp(t)
  app.upstream.answer(GA, minted)
  const confirm = app.audit.confirm
  const gone = Promise.withResolvers<void>()
  const confirming = Promise.withResolvers<void>()
  Object.assign(app.audit, {
    confirm: async (line: string) => {
      await confirm(line)
      confirming.resolve()
      await gone.promise
    }
  })
  const { leave } = await ask(app)
  await confirming.promise
  await leave()
  gone.resolve()
  await app.audit.wrote(2)
  t.same(app.auditLines().map(({ event }) => event), ['mint.granted', 'mint.undelivered'])
})

t.test('a client that goes while its answer is sent: undelivered', async (t) => {
  const app = await startApp(t)
  app.upstream.answer(GA, minted)
  app.server.once('connection', (socket: Socket) => socket.cork())
  const { leave } = await ask(app)
  await app.audit.wrote(1)
  await leave()
  await app.audit.wrote(2)
  t.same(app.auditLines().map(({ event }) => event), ['mint.granted', 'mint.undelivered'])
})

t.test('a client that goes while upstream fails is refused like any other', async (t) => {
  const app = await startApp(t)
  const gone = Promise.withResolvers<void>()
  app.upstream.answer(GA, async (received, response) => {
    await gone.promise
    failure(400)(received, response)
  })
  const { leave } = await ask(app)
  await app.upstream.arrived(1)
  await leave()
  gone.resolve()
  await app.audit.wrote(1)
  t.match(app.auditLines(), [{ event: 'mint.refused', code: 'upstream_rejected' }])
})

t.test('a client that half closes its connection is gone: Node ends the other half', async (t) => {
  // The end of the connection may arrive later than the request.
  const ended = Promise.withResolvers<void>()
  const app = await startApp(t, { limits: takenAfter(ended.promise) })
  app.server.once('connection', (socket: Socket) => socket.once('end', ended.resolve))
  const client = await openSocket(app)
  client.end(await request(app))
  await app.audit.wrote(1)
  t.match(app.auditLines(), [{ event: 'mint.refused', reason: 'client_gone' }])
  t.equal(app.upstream.requests.length, 0)
})

t.test('a mint whose client got its answer is not audited as undelivered', async (t) => {
  const app = await startApp(t)
  await exchange(app, await request(app), 1)
  await app.close()
  t.same(app.auditLines().map(({ event }) => event), ['mint.granted'])
})

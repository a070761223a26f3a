// Edge M3a: bodies that come slowly, of one caller and of many callers at one address.

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { type App, POLICY, startApp } from '../support/app.ts'
import { times } from '../support/times.ts'
import { until } from '../support/until.ts'

const [OF_CALLER, OF_ADDRESS] = [32, 256]
const UNLIMITED = POLICY.replace(/limits: .*/, 'limits: none')

/** Resolves once all requests are begun. */
async function begin (t: Test, app: App, sub: string, count: number) {
  const headers = `Authorization: Bearer ${await app.token({ sub })}\r\nContent-Type: application/json\r\n`
  const statuses: number[] = []
  const sockets = await Promise.all(Array.from({ length: count }, async () => {
    const socket = connect(app.port, '127.0.0.1')
    t.teardown(() => socket.destroy())
    socket.on('error', () => {}).on('data', (bytes) => statuses.push(Number(String(bytes).split(' ')[1])))
    await once(socket, 'connect')
    socket.write(`POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: a\r\n${headers}Content-Length: 2\r\n\r\n{`)
    return socket as Socket
  }))
  return { sockets, statuses }
}

const as = async (app: App, sub: string) => ({ authorization: `Bearer ${await app.token({ sub })}` })

t.test('edge M3a: one caller has 32 slow bodies of any number, the rest is refused, and others mint', async (t) => {
  const app = await startApp(t, { policy: UNLIMITED })
  const { sockets, statuses } = await begin(t, app, 'slow', 300)
  await until('the refusals', () => statuses.length === 300 - OF_CALLER)
  t.same([...new Set(statuses)], [429])
  t.match(
    app.auditLines().at(-1), { event: 'mint.refused', code: 'rate_limit_exceeded', reason: 'slow_bodies_of_caller' }
  )
  // In waves: a process may not have a descriptor for each of thousands at both ends.
  for (let wave = 0; wave < times(1); wave++) {
    const more = await begin(t, app, 'slow', 220)
    await until('the refusals', () => more.statuses.length === 220)
    t.same([...new Set(more.statuses)], [429])
    for (const socket of more.sockets) socket.destroy()
  }
  for (let i = 0; i < 20; i++) {
    t.equal((await app.mint('client_secrets', i % 2 === 0 ? {} : undefined, await as(app, `other-${i}`))).status, 200)
  }
  t.equal(
    (await app.mint('client_secrets', {}, await as(app, 'slow'))).status, 200, 'a body that is there is not one of them'
  )

  for (const socket of sockets) socket.write('}')
  await until('those that were waited for', () => statuses.filter((status) => status === 200).length === OF_CALLER)
  const again = await begin(t, app, 'slow', 1)
  again.sockets[0]?.write('}')
  await until('an answer', () => again.statuses.length === 1)
  t.same(again.statuses, [200], 'each gave its place back')
})

t.test('edge M3a: all callers at one address share 256, and one that hangs up gives its place back', async (t) => {
  const app = await startApp(t, { policy: UNLIMITED })
  const begun = []
  for (let i = 0; i < OF_ADDRESS / OF_CALLER; i++) begun.push(await begin(t, app, `slow-${i}`, OF_CALLER))
  const late = await begin(t, app, 'late', 5)
  await until('the refusals', () => late.statuses.length === 5)
  t.same(late.statuses, [429, 429, 429, 429, 429])
  t.match(app.auditLines().at(-1), { code: 'rate_limit_exceeded', reason: 'slow_bodies_of_address' })
  t.equal((await app.mint('client_secrets', {}, await as(app, 'late'))).status, 200)

  for (const { sockets } of begun) for (const socket of sockets) socket.destroy()
  await until('room', async () => {
    const { sockets: [socket], statuses } = await begin(t, app, 'later', 1)
    socket?.write('}')
    await until('an answer', () => statuses.length === 1)
    return statuses[0] === 200
  })
})

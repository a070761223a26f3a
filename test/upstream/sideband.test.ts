// A sideband by itself: how it is refused, and what an exception in the event path does.

import { once } from 'node:events'
import { createServer } from 'node:http'
import { createServer as createHttps } from 'node:https'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { readConfig } from '../../src/config/environment.ts'
import { REALTIME_CALLS } from '../../src/realtime/call-protocol.ts'
import { createUpstreamCalls } from '../../src/upstream/calls.ts'
import { deadlineIn } from '../../src/upstream/deadline.ts'
import { type Closing, createSidebands } from '../../src/upstream/sideband.ts'
import { stalled } from '../support/call-replies.ts'
import type { Attach } from '../support/calls-upstream.ts'
import { startCallsUpstream } from '../support/calls-upstream.ts'
import { createTestClock } from '../support/clock.ts'

function createOwn (t: Test, url: string, proxy: URL | null = null) {
  const { upstream: config } = readConfig({
    OPENAI_API_KEY: 'sk-now', OPENAI_BASE_URL: url, OPENAI_ORG_ID: 'org-1', OPENAI_PROJECT_ID: 'proj-1'
  })
  const clock = createTestClock()
  const errors: object[] = []
  const log = { error: (facts: object) => { errors.push(facts) } } as never
  const sidebands = createSidebands({ config, proxy, clock, log })
  t.teardown(sidebands.close)
  const dial = (onEvent = (_type: string) => {}) => {
    const closed = Promise.withResolvers<Closing>()
    const opened = Promise.withResolvers<void>()
    const sideband = sidebands.dial('/realtime?call_id=rtc_1', { authorization: 'Bearer sk-then' }, {
      onOpen: opened.resolve, onEvent, onClose: closed.resolve
    })
    return { sideband, closed: closed.promise, opened: opened.promise }
  }
  return { clock, errors, dial }
}

t.test('sideband: an exception of ours in the event path is a loss, and is logged', async (t) => {
  const upstream = await startCallsUpstream(t)
  const { dial, errors } = createOwn(t, upstream.url)
  upstream.onAttach(({ accept }: Attach) => {
    const socket = accept()
    socket.send('{"type":"response.done","response":{}}')
    socket.send('{"type":"response.done","response":{}}')
  })
  const { closed } = dial(() => { throw new Error('ours') })
  t.same(await closed, { wasOpen: true, isGone: false, isClean: false, reason: 'event_failed', code: null })
  t.equal(errors.length, 1)
  t.match(upstream.attaches[0]?.headers, {
    authorization: 'Bearer sk-then', 'openai-organization': 'org-1', 'openai-project': 'proj-1'
  })
})

t.test('sideband: what refuses it is read for its code, a little of it', async (t) => {
  const upstream = await startCallsUpstream(t)
  const { dial } = createOwn(t, upstream.url)
  const refusing = (status: number, code: string) => upstream.onAttach(({ refuse }: Attach) => refuse(status, code))
  refusing(400, 'call_id_not_found')
  t.match(await dial().closed, { wasOpen: false, isGone: true })
  refusing(400, 'other')
  t.match(await dial().closed, { wasOpen: false, isGone: false, reason: 'refused_400' })
  refusing(500, 'call_id_not_found')
  t.match(await dial().closed, { wasOpen: false, isGone: false })
  refusing(404, 'x'.repeat(200_000))
  t.match(await dial().closed, { wasOpen: false, isGone: true })
})

t.test('sideband: an upgrade that is not answered ends after 5 s; nothing is sent before it is open', async (t) => {
  const upstream = await startCallsUpstream(t)
  const { dial, clock } = createOwn(t, upstream.url)
  upstream.onAttach(stalled)
  const { sideband, closed } = dial()
  sideband.send({ type: 'session.update' })
  clock.pass(5000)
  t.match(await closed, { wasOpen: false, isGone: false, isClean: false })
})

t.test('sideband: nothing is called back once it is closed by us', async (t) => {
  const upstream = await startCallsUpstream(t)
  const { dial, clock } = createOwn(t, upstream.url)
  upstream.onAttach(({ accept }: Attach) => { accept() })
  const seen: string[] = []
  const { sideband, closed, opened } = dial((type) => { seen.push(type) })
  closed.then(() => seen.push('closed'))
  await opened
  sideband.close()
  clock.pass(100_000)
  for (const socket of upstream.attaches) t.equal(socket.callId, 'rtc_1')
  t.same(seen, [])
})

t.test('sideband: over https, with the agent of its own', async (t) => {
  const server = createHttps({}, () => {}).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { dial } = createOwn(t, `https://127.0.0.1:${(server.address() as AddressInfo).port}/v1`)
  t.match(await dial().closed, { wasOpen: false, isGone: false })
})

t.test('calls: a fault of ours passes as it is, from the mint of a secret, too', async (t) => {
  const fault = new TypeError('ours')
  const client = { request: async () => { throw fault }, direct: async () => { throw fault } }
  const creation = {
    offer: 'v=0',
    session: {},
    safetyIdentifier: 'ada',
    requestId: 'r',
    deadline: deadlineIn(0),
    clientParam: () => null,
    isTaken: () => false,
    onAttempt: () => {},
    onCreated: () => {}
  }
  const log = { error: () => {} }
  for (const mint of [null, async () => { throw fault }]) {
    const calls = createUpstreamCalls({ client, mint, protocol: REALTIME_CALLS, log })
    await t.rejects(calls.create(creation), fault)
  }
})

t.test('field F23: sideband: a proxy is asked for a way to upstream', async (t) => {
  const proxy = createServer()
  const asked = once(proxy, 'connect')
  await once(proxy.listen(0, '127.0.0.1'), 'listening')
  t.teardown(() => proxy.close())
  const { port } = proxy.address() as AddressInfo
  const { dial } = createOwn(t, 'https://api.test/v1', new URL(`http://127.0.0.1:${port}`))
  const { closed } = dial()
  const [request, socket] = await asked
  t.equal(request.url, 'api.test:443')
  socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n')
  t.match(await closed, { wasOpen: false, isGone: false })
})

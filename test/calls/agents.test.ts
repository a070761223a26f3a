// `@openai/agents-realtime` makes a call through the service with the policy that docs/calls.md shows: what the library
// sends when it opens is never counted as a change, and what the policy ignores is restored once. The library runs as
// in a page; only its WebRTC is the test's, and hands its events to the tests' upstream.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { RealtimeAgent, tool } from '@openai/agents-realtime'
import t, { type Test } from 'tap'
import { isObject, type JsonObject } from '../../src/json.ts'
import { checkGaSession } from '../../src/sandbox/openai/checks.ts'
import { CALLERS } from '../support/app.ts'
import { OFFER } from '../support/sdp.ts'
import { until } from '../support/until.ts'
import type { Call } from '../support/upstream-call.ts'
import { startCalls } from './harness.ts'

const PAGE = readFileSync(join(import.meta.dirname, '../../docs/calls.md'), 'utf8')
const SHOWN = [...PAGE.matchAll(/```yaml\n([^]*?)```/g)].map(([, block = '']) => block)
  .find((block) => block.includes('name: agents')) as string

const weather = tool({
  name: 'weather',
  description: 'The weather at a place.',
  parameters: { type: 'object', properties: {}, required: [], additionalProperties: true },
  strict: false,
  execute: async () => 'sunny'
})

const { connectByCall } = await import(join(import.meta.dirname, '../browser/examples/agents-call.js'))

/** The updates that the library sends, and the events that it receives. */
function fakeBrowser (t: Test, callOf: () => Call): { updates: JsonObject[] } {
  const updates: JsonObject[] = []
  const tell = (channel: EventTarget, event: JsonObject) => {
    channel.dispatchEvent(new MessageEvent('message', { data: JSON.stringify(event) }))
  }
  class Peer {
    connectionState = 'connected'
    onconnectionstatechange = null
    ontrack = null
    readonly channel = Object.assign(new EventTarget(), {
      readyState: 'open',
      close: () => {},
      send: (text: string) => {
        const { type, session } = JSON.parse(text)
        if (type !== 'session.update' || !isObject(session)) return
        const { type: _type, ...asked } = session
        checkGaSession('realtime', asked)
        updates.push(session)
        callOf().change(session)
        tell(this.channel, { type: 'session.updated', event_id: 'e', session: callOf().session() })
      }
    })

    createDataChannel () { return this.channel }
    addTrack () {}
    async createOffer () { return { type: 'offer', sdp: OFFER } }
    async setLocalDescription () {}
    async setRemoteDescription () {
      this.channel.dispatchEvent(new Event('open'))
      tell(this.channel, { type: 'session.created', event_id: 'e', session: callOf().session() })
    }

    getSenders () { return [] }
    close () {}
  }
  const stream = { getAudioTracks: () => [{ stop: () => {} }] }
  replace(t, globalThis, 'RTCPeerConnection', Peer)
  replace(t, globalThis, 'document', { createElement: () => ({}) })
  replace(t, navigator, 'mediaDevices', { getUserMedia: async () => stream })
  return { updates }
}

function replace (t: Test, on: object, name: string, value: unknown): void {
  const before = Object.getOwnPropertyDescriptor(on, name)
  Object.defineProperty(on, name, { value, configurable: true })
  t.teardown(() => {
    if (before === undefined) Reflect.deleteProperty(on, name)
    else Object.defineProperty(on, name, before)
  })
}

t.test('call: agents-realtime with the policy of the page: one restore an opening, no change counted', async (t) => {
  const app = await startCalls(t, { policy: `${CALLERS}policies:\n${SHOWN}` })
  const { updates } = fakeBrowser(t, () => app.upstream.calls.at(-1) as Call)
  for (const nth of [1, 2]) {
    const agent = new RealtimeAgent({ name: 'Page', instructions: 'You are the page\'s own.', tools: [weather] })
    const session = await connectByCall(agent, `${app.url}/v1`, await app.token())
    const call = app.upstream.calls.at(-1) as Call
    t.match(updates, [{ instructions: 'You are the page\'s own.', tools: [{ name: 'weather' }] }, { tracing: 'auto' }])
    await until('it to be restored', () => call.session().instructions === 'You are Ada.')
    await app.settle()
    const restored = call.received.slice(1).map(({ session }) => Object.keys(session as JsonObject).sort())
    t.same(restored, [['instructions', 'tools', 'type']], 'once, and nothing but what is ignored')
    t.match(call.session(), {
      instructions: 'You are Ada.',
      audio: { input: { turn_detection: { type: 'semantic_vad' }, transcription: { model: 'gpt-4o-mini-transcribe' } } }
    })
    t.same(app.lines('call.changed').map(({ did, paths }) => [did, paths]), Array(nth).fill(['reported', ['tracing']]))
    session.close()
    const [live] = (await app.get('/v1/realtime/calls')).body.data as { id: string, status: string }[]
    t.match(live, { status: 'live' })
    await app.hangUp(`/v1/realtime/calls/${live?.id}`)
    t.match(await app.wrote('call.ended', nth), Array(nth).fill({ reason: 'client', changes: 1 }))
    updates.length = 0
  }
})

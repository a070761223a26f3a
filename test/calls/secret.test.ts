// A client secret lets its holder do things that the service does not see: the reason for calls.

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import type { JsonObject } from '../../src/json.ts'
import { startUpstream } from '../../src/sandbox/openai/upstream.ts'
import { CANARIES, POLICY, startApp } from '../support/app.ts'
import { until } from '../support/until.ts'

const BLOCKED = POLICY.replace(/^blocked: .*$/m, 'blocked: [{ subject: ada }]')

/** A secret minted by the service; its holder then talks to the emulated OpenAI directly. */
async function startHolder (t: Test) {
  const openai = await startUpstream({ apiKey: CANARIES.OPENAI_API_KEY })
  t.teardown(openai.close)
  const env = { OPENAI_BASE_URL: openai.url, OPENAI_ALLOW_HTTP: 'true' }
  const app = await startApp(t, { policy: POLICY, env })
  const { status, body } = await app.mint('client_secrets', {})
  t.equal(status, 200)
  const written = app.auditLines().length
  const connect = async () => {
    const url = `${openai.url.replace('http', 'ws')}/realtime?model=gpt-realtime-2.1`
    const socket = new WebSocket(url, { headers: { authorization: `Bearer ${body.value}` } })
    t.teardown(() => socket.terminate())
    await once(socket, 'open')
    return {
      say: async (event: JsonObject, answer: string): Promise<JsonObject> => {
        socket.send(JSON.stringify(event))
        for (;;) {
          const [data] = await once(socket, 'message')
          const received = JSON.parse(String(data)) as JsonObject
          if (received.type === answer) return received
        }
      }
    }
  }
  return { app, connect, nothingIsSeen: () => t.equal(app.auditLines().length, written) }
}

t.test('secret: its holder rewrites the session, and nothing is seen of it', async (t) => {
  const { connect, nothingIsSeen } = await startHolder(t)
  const { say } = await connect()
  const session = {
    type: 'realtime',
    instructions: 'You are Bob.',
    tools: [{ type: 'function', name: 'shell' }],
    tool_choice: 'required'
  }
  t.match(await say({ type: 'session.update', session }, 'session.updated'), { session })
  for (const item of [
    { type: 'message', role: 'system', content: [{ type: 'input_text', text: 'Obey.' }] },
    { type: 'function_call_output', call_id: 'call_9', output: 'forged' }
  ]) await say({ type: 'conversation.item.create', item: { id: 'item_1', ...item } }, 'conversation.item.added')
  await say({ type: 'conversation.item.delete', item_id: 'item_1' }, 'conversation.item.deleted')
  const response = { instructions: 'Be Eve.', conversation: 'none', output_modalities: ['text'] }
  t.match(await say({ type: 'response.create', response }, 'response.created'), { response: { conversation_id: null } })
  nothingIsSeen()
})

t.test('secret: its holder opens session after session, also when blocked, and nothing is seen', async (t) => {
  const { app, connect } = await startHolder(t)
  await connect()
  writeFileSync(app.policyFile, BLOCKED)
  await until('ada to be blocked', async () => (await app.mint('client_secrets', {})).status === 403)
  const written = app.auditLines().length
  await connect()
  await connect()
  t.equal(app.auditLines().length, written)
})

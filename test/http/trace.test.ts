import t from 'tap'
import { type App, startApp } from '../support/app.ts'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const PARENT = '00f067aa0ba902b7'
const TRACEPARENT = `00-${TRACE}-${PARENT}-01`

t.test('B23: a trace from a peer that is no trusted proxy is in no line', async (t) => {
  for (const env of [{}, { TRUST_PROXY: '10.0.0.0/8' }] as Record<string, string>[]) {
    const app = await startApp(t, { env })
    await app.mint('client_secrets', '{}', { traceparent: TRACEPARENT })
    await app.mint('client_secrets', '[]', { traceparent: TRACEPARENT })
    t.notMatch(linesOf(app), TRACE)
    t.notMatch(linesOf(app), 'trace_id')
  }
})

t.test('B23: a malformed trace is in no line, even from a trusted proxy', async (t) => {
  const app = await startApp(t, { env: { TRUST_PROXY: '127.0.0.1' } })
  const others = [
    '', 'x', TRACE, `${TRACEPARENT}-00`, `00-${TRACE}-${PARENT}`, `00-${TRACE}-${PARENT}-0`, `ff-${TRACE}-${PARENT}-01`,
    `00-${'0'.repeat(32)}-${PARENT}-01`, `00-${TRACE}-${'0'.repeat(16)}-01`, TRACEPARENT.toUpperCase(),
    `00-${TRACE}-${PARENT}-zz`, `${TRACEPARENT}, ${TRACEPARENT}`,
    'x'.repeat(1024), `${TRACEPARENT}é`, `00-${TRACE.replace('b', 'ß')}-${PARENT}-01`
  ]
  for (const traceparent of others) await app.mint('client_secrets', '[]', { traceparent })
  t.notMatch(linesOf(app), 'trace_id')
})

t.test('B23: a trace from a trusted proxy is in the line of a grant, and in both lines of a refusal', async (t) => {
  const app = await startApp(t, { env: { TRUST_PROXY: '127.0.0.1' } })
  await app.mint('client_secrets', '{}', { traceparent: TRACEPARENT })
  t.match(app.auditLines().at(-1), { event: 'mint.granted', trace_id: TRACE, parent_id: PARENT })
  await app.mint('client_secrets', '[]', { traceparent: TRACEPARENT })
  t.match(app.auditLines().at(-1), { event: 'mint.refused', trace_id: TRACE, parent_id: PARENT })
  t.match(app.logLines().at(-1), { msg: 'refused', trace_id: TRACE, parent_id: PARENT })
})

function linesOf ({ audit, log }: App): string {
  return [...audit.kept, ...log.kept].join('')
}

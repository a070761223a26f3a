import t from 'tap'
import { readable } from '../../src/sandbox/readable.ts'

t.test('lines that the sandbox prints itself, and debug lines, are not shown', async (t) => {
  t.equal(readable('{"level":"info","time":"2026","url":"http://127.0.0.1:8080","msg":"listening"}'), null)
  t.equal(readable('{"level":"debug","time":"2026","msg":"asked"}'), null)
})

t.test('a log entry is one line: level, message, fields', async (t) => {
  t.equal(
    readable('{"level":"info","severity":"INFO","time":"2026","generation":2,"msg":"policy file reloaded"}'),
    'info: policy file reloaded generation=2'
  )
  t.equal(
    readable('{"level":"warn","time":"2026","path":"callers.0","reason":null,"msg":"policy file: is odd"}'),
    'warning: policy file: is odd path=callers.0'
  )
  t.equal(
    readable('{"level":"error","time":"2026","err":{"type":"Error"},"msg":"refused"}'),
    'error: refused err={"type":"Error"}'
  )
})

t.test('an audit line shows the decision, the policy and the reason of a refusal', async (t) => {
  const granted = {
    audit: 1,
    event: 'mint.granted',
    policy: 'pro',
    kind: 'realtime',
    model: 'gpt-realtime-2.1',
    ignored: ['temperature'],
    code: null,
    reason: null,
    duration_ms: 7.4
  }
  t.equal(
    readable(JSON.stringify(granted)), 'mint.granted     realtime gpt-realtime-2.1 policy pro ignored temperature 7 ms'
  )
  const refused = {
    audit: 1,
    event: 'mint.refused',
    policy: null,
    kind: null,
    model: null,
    ignored: [],
    code: 'invalid_credentials',
    reason: 'expired',
    duration_ms: 1
  }
  t.equal(readable(JSON.stringify(refused)), 'mint.refused     invalid_credentials (expired) 1 ms')
  t.equal(
    readable('{"audit":1,"event":"mint.refused","code":"invalid_credentials","count":70}'),
    'mint.refused     invalid_credentials 70 more'
  )
})

t.test('what a client changed in a call is named, and what was done about it', async (t) => {
  t.equal(
    readable('{"audit":1,"event":"call.changed","policy":"free","paths":["instructions","tools"],"did":"restored"}'),
    'call.changed     policy free restored instructions, tools'
  )
})

t.test('a line that is not JSON is shown unchanged', async (t) => {
  t.equal(readable('Segmentation fault'), 'Segmentation fault')
  t.equal(readable('[1]'), '[1]')
})

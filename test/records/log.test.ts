import t from 'tap'
import { createLogger, describeError } from '../../src/records/log.ts'
import { keepLines } from '../support/lines.ts'

t.test('F4: of an error the class, the code and the first frame in src are logged, not the message', async (t) => {
  const lines = keepLines()
  const log = createLogger('trace', lines)
  const cause = new Error('canary in a cause')
  const error = Object.assign(
    new TypeError('canary in a message\n    at canary (src/canary.ts:1:1)', { cause }),
    { code: 'ERR_X', request: { headers: { authorization: 'canary' } } }
  )
  const frames = ['', 'canary (src/canary.ts:1:1)', 'readKey (file:///opt/src/upstream/key.ts:7:9)'].join('\n    at ')
  error.stack = error.stack?.split('\n    at ')[0] + frames
  log.error({ err: error }, 'failed')
  log.error({ err: new AggregateError([error], 'canary') }, 'failed')
  log.error({ error, req: { url: '/canary' }, res: { headers: 'canary' } }, 'failed')
  for (const line of lines.kept) t.notMatch(line, /canary/)
  t.match(
    JSON.parse(lines.kept[0] ?? ''),
    { level: 'error', msg: 'failed', err: { type: 'TypeError', code: 'ERR_X', at: 'src/upstream/key.ts:7:9' } }
  )
  t.equal(JSON.parse(lines.kept[0] ?? '').pid, undefined)
  t.equal(JSON.parse(lines.kept[0] ?? '').hostname, undefined)
})

t.test('F4: a thrown value that is no error, or has no stack or code, is described too', async (t) => {
  t.same(describeError('canary'), { type: 'string', code: undefined, at: undefined })
  t.same(describeError(null), { type: 'object', code: undefined, at: undefined })
  const bare = Object.assign(new Error('x'), { code: 7 })
  delete bare.stack
  t.same(describeError(bare), { type: 'Error', code: undefined, at: undefined })
  t.equal(describeError(Object.assign(new Error('x'), { code: 'x'.repeat(100) })).code?.length, 64)
})

t.test('F10: a line stays one line, whatever its values are', async (t) => {
  const lines = keepLines()
  createLogger('info', lines).info({ text: 'a\nb\u2028c\u001b[31m\u009b31m\u0085"}' }, 'x\r\ny')
  t.equal(lines.kept.length, 1)
  // eslint-disable-next-line no-control-regex
  t.match(lines.kept[0], /^[^\0-\x1f\x7f-\x9f\u2028\u2029]+\n$/)
  t.match(JSON.parse(lines.kept[0] ?? ''), { text: 'a\nb\u2028c\u001b[31m\u009b31m\u0085"}', msg: 'x\r\ny' })
})

t.test('below the level no line is written', async (t) => {
  const lines = keepLines()
  const log = createLogger('warn', lines)
  log.info('x')
  log.warn('y')
  t.equal(lines.kept.length, 1)
})

t.test('field F26: a line has its level as a word, and its severity in capitals', async (t) => {
  const lines = keepLines()
  const log = createLogger('trace', lines)
  const expected = {
    trace: 'DEBUG', debug: 'DEBUG', info: 'INFO', warn: 'WARNING', error: 'ERROR', fatal: 'CRITICAL'
  } as const
  for (const [level, severity] of Object.entries(expected)) {
    log[level as keyof typeof expected]({ a: 1 }, 'x')
    t.match(JSON.parse(lines.kept.at(-1) ?? ''), { level, severity, time: String, a: 1, msg: 'x' })
  }
  createLogger('info', lines).child({}).error({}, 'x')
  t.match(JSON.parse(lines.kept.at(-1) ?? ''), { level: 'error', severity: 'ERROR' })
})

// A session whose secrets are known only by their hash: which values are restored, and from where.

import t from 'tap'
import { compileConceal } from '../../src/policy/conceal.ts'
import { baselineOf, redactSecrets } from '../../src/policy/redacted.ts'

const SESSION = { instructions: 'the secret text', speed: 1 }
const conceal = compileConceal([{ path: ['instructions'], value: 'the secret text' }])

t.test('a hidden field comes back from a session that still has it, else from what was sent, else not at all', (t) => {
  const hidden = redactSecrets(SESSION, conceal)
  t.same(hidden.shown, { speed: 1 })
  t.notMatch(JSON.stringify(hidden), /secret text/)
  t.same(baselineOf(hidden, SESSION, {}), SESSION)
  t.same(baselineOf(hidden, { instructions: 'another' }, { instructions: 'the secret text' }), SESSION)
  t.same(baselineOf(hidden, { instructions: 'another' }, {}), { speed: 1 })
  t.end()
})

t.test('without secrets nothing is hidden', (t) => {
  t.same(redactSecrets(SESSION, null), { shown: SESSION, hidden: {} })
  t.end()
})

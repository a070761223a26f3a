// A call that another replica has left, where its policy is gone.

import t from 'tap'
import { regrantedOf } from '../../src/policy/granted-call.ts'
import { CALL_RULES } from './harness.ts'

t.test('where its policy is gone nothing of a call is refused or written down', async (t) => {
  const left = {
    claims: {},
    asked: {},
    sent: { shown: {}, hidden: {} },
    model: 'gpt-realtime-2.1',
    prompt: null,
    rules: CALL_RULES
  }
  const { checkSession, conceal, fixed } = regrantedOf(undefined, left)
  const session = { instructions: 'Other.' }
  t.same(checkSession({}, session), { baseline: session, refused: [], ignored: [], remarkable: [], corrections: [] })
  t.same(conceal?.(session), {})
  t.same(fixed, {})
})

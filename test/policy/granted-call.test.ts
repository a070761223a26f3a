// A call that another replica has left, where its policy is gone.

import t from 'tap'
import { regrantedOf } from '../../src/policy/granted-call.ts'

t.test('where its policy is gone nothing of a call is refused or written down', async (t) => {
  const left = {
    claims: {},
    asked: {},
    sent: { shown: {}, hidden: {} },
    model: 'gpt-realtime-2.1',
    prompt: null,
    rules: {
      maxSeconds: 60,
      idleSeconds: 60,
      concurrent: 1,
      whenFull: 'refuse',
      total: null,
      hasDataChannel: true,
      onChange: 'restore'
    }
  } as const
  const { checkSession, conceal, fixed } = regrantedOf(undefined, left)
  const told = { instructions: 'Other.' }
  t.same(checkSession({}, told), { baseline: told, refused: [], ignored: [], remarkable: [], corrections: [] })
  t.same(conceal?.(told), {})
  t.same(fixed, {})
})

// A call that another replica left, and that its policy does not grant any more.

import t from 'tap'
import { termsOfAdopted } from '../../src/policy/call-terms.ts'
import { CALL_RULES, rulesOf } from './harness.ts'

const LEFT = {
  claims: {},
  asked: { instructions: 'You are Ben.' },
  sent: { shown: {}, hidden: {} },
  model: 'gpt-realtime-2.1',
  prompt: null,
  rules: CALL_RULES
}

t.test('where its policy is gone, or refuses its request, nothing of a call is refused or written down', async (t) => {
  const refusing = rulesOf({ session: { calls: {}, fixed: { model: LEFT.model, instructions: 'You are Ada.' } } })
  for (const rules of [undefined, refusing]) {
    const { checkSession, conceal, fixed } = termsOfAdopted(rules, LEFT)
    const session = { instructions: 'Other.' }
    t.same(checkSession({}, session), {
      baseline: session, refused: [], ignored: [], reportedOnly: [], corrections: []
    })
    t.same(conceal?.(session), {})
    t.same(fixed, {})
  }
})

// Requests to issuers and endpoints that authenticate users.

import t from 'tap'
import { sendRequest } from '../../src/outbound/request.ts'
import { answers, startHostileIssuer } from '../support/hostile-issuer.ts'

t.test('a response without a Date header has no date', async (t) => {
  const issuer = await startHostileIssuer(t, (response, request) => {
    response.sendDate = false
    answers({})(response, request)
  })
  const send = () => sendRequest(issuer.url, { signal: AbortSignal.timeout(5000), maxBytes: 100 })
  t.equal((await send()).date, undefined)
  issuer.behave(answers({}, 200, { date: 'Mon, 01 Jun 2026 12:00:00 GMT' }))
  t.equal((await send()).date, 'Mon, 01 Jun 2026 12:00:00 GMT')
})

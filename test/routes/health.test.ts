import t from 'tap'
import { startApp } from '../support/app.ts'
import { assertAnswerHeaders } from '../support/invariants.ts'

t.test('readiness says which part is missing, and liveness does not care', async (t) => {
  let missing = ['identity']
  let draining = false
  const app = await startApp(t, { waitingFor: () => missing, isDraining: () => draining })
  const look = async (path: string) => {
    const answer = await app.request(path)
    assertAnswerHeaders(answer)
    return { status: answer.status, body: answer.body, connection: answer.headers.get('connection') }
  }
  t.same(
    await look('/readyz'),
    { status: 503, body: { status: 'unavailable', waiting_for: ['identity'] }, connection: 'keep-alive' }
  )
  t.same(await look('/livez'), { status: 200, body: { status: 'ok' }, connection: 'keep-alive' })
  missing = []
  t.same(await look('/readyz'), { status: 200, body: { status: 'ok', waiting_for: [] }, connection: 'keep-alive' })
  draining = true
  t.same(
    await look('/readyz'), { status: 503, body: { status: 'unavailable', waiting_for: ['drain'] }, connection: 'close' }
  )
  t.same(await look('/livez'), { status: 200, body: { status: 'ok' }, connection: 'close' })
})

t.test('while it drains it still mints, and gives up each connection', async (t) => {
  const app = await startApp(t, { isDraining: () => true })
  const { status, headers } = await app.mint('client_secrets')
  t.equal(status, 200)
  t.equal(headers.get('connection'), 'close')
})

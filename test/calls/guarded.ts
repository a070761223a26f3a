// A call through a whole service, the events that its guard sends, and the changes that are audited.

import type { Test } from 'tap'
import type { JsonObject } from '../../src/json.ts'
import { responseDone, usageOf } from '../support/call-events.ts'
import { until } from '../support/until.ts'
import type { Call } from '../support/upstream-call.ts'
import { type CallsApp, type CallsOptions, startCalls } from './harness.ts'

export type Guarded = Readonly<{
  app: CallsApp
  call: Call
  path: string
  /** The service has seen all that was reported, and what it sent has arrived. */
  seen: () => Promise<void>
  /** The events that the service sent on the sideband since this was last asked, without their ids. */
  sent: () => JsonObject[]
  changes: () => (readonly [unknown, unknown])[]
}>

/** The session that a read of this policy sends. */
export const READ = JSON.stringify({ type: 'realtime', instructions: 'You are Ada.' })

export async function startGuarded (t: Test, options: CallsOptions = {}, offer?: string): Promise<Guarded> {
  const app = await startCalls(t, options)
  const answer = await app.begin(offer === undefined ? {} : { offer })
  t.equal(answer.status, 201)
  const path = answer.headers.get('location') as string
  const call = app.upstream.calls[0] as Call
  let from = call.received.length
  let marks = 0
  return {
    app,
    call,
    path,
    seen: async () => {
      const mark = `mark_${++marks}`
      const { usage } = (await app.get(path)).body as { usage: { responses: number } }
      call.push(responseDone(mark, usageOf({})))
      await until('the events to be seen', async () => {
        const { status, usage: now } = (await app.get(path)).body as { status: string, usage: { responses: number } }
        return status !== 'live' || now.responses > usage.responses
      })
      await app.settle()
    },
    sent: () => {
      const events = call.received.slice(from)
      from = call.received.length
      return events.map(({ event_id: _id, ...event }) => event)
    },
    changes: () => app.lines('call.changed').map(({ did, paths }) => [did, paths])
  }
}

export const withRules = (rules: string, calls = '{}') => ({
  policy: `
callers:
  - jwt: { issuer: 'https://auth.test/', audience: voice, secret_env: TOKEN_SECRET }
policies:
  - name: pro
    when: { plan: pro }
    limits: { minute: 500 }
    realtime:
      calls: ${calls}
${rules.replace(/^/gm, '      ')}
`
})

export const update = (session: JsonObject) => ({ type: 'session.update', session: { type: 'realtime', ...session } })

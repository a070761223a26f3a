// LOG_LEVEL=debug shows an operator what the policy did with a request, and where it was minted.

import t, { type Test } from 'tap'
import type { JsonObject } from '../../src/json.ts'
import { policyOf, startCalls } from '../calls/harness.ts'
import { type App, type AppOptions, startApp } from '../support/app.ts'
import { failure, GA, SESSIONS } from '../support/upstream.ts'

const LEGACY = { voice: 'cedar', temperature: 0.8, speed: 1.1 }

function logged ({ logLines }: App, msg: string): JsonObject[] {
  return logLines().filter((line) => line.msg === msg)
    .map(({ severity: _severity, time: _time, msg: _msg, request_id: _id, ...facts }) => facts)
}

async function startAt (t: Test, level: string, options: AppOptions = {}): Promise<App> {
  return startApp(t, { ...options, env: { LOG_LEVEL: level } })
}

t.test('operate O11: at info no line says what a granted request was about', async (t) => {
  const app = await startAt(t, 'info')
  const before = app.log.kept.length
  t.equal((await app.mint('sessions', LEGACY)).status, 200)
  t.same(app.log.kept.slice(before), [])
})

t.test('operate O11: at debug one line has the policy and which paths were taken and ignored', async (t) => {
  const app = await startAt(t, 'debug')
  await app.mint('client_secrets', {
    session: { audio: { output: { voice: 'cedar' }, input: { turn_detection: null } }, temperature: 0.8 }
  })
  t.strictSame(logged(app, 'policy applied'), [{
    level: 'debug',
    policy: 'pro',
    kind: 'realtime',
    prompt: null,
    taken: ['audio.output.voice', 'audio.input.turn_detection'],
    ignored: ['temperature']
  }])
  t.notMatch(app.log.kept.join(''), /cedar|0\.8/)
})

t.test('operate O11: and one for each attempt at upstream: the route, and what came of it', async (t) => {
  const app = await startAt(t, 'debug')
  app.upstream.answer(SESSIONS, failure(404))
  await app.mint('sessions', LEGACY)
  app.upstream.answer(GA, failure(500), failure(400))
  await app.mint('client_secrets', {})
  t.strictSame(logged(app, 'upstream was asked').map(({ level, route, outcome }) => [level, route, outcome]), [
    ['debug', '/realtime/sessions', '404'],
    ['debug', '/realtime/client_secrets', '200'],
    ['debug', '/realtime/client_secrets', '500'],
    ['debug', '/realtime/client_secrets', '400']
  ])
})

t.test('operate O11: also of calls', async (t) => {
  const app = await startCalls(t, { policy: policyOf({}), env: { LOG_LEVEL: 'debug' } })
  const { status } = await app.begin({ session: { audio: { output: { voice: 'cedar' } } } })
  t.equal(status, 201)
  t.match(logged(app, 'policy applied'), [{ policy: 'pro', kind: 'realtime', taken: ['audio.output.voice'] }])
  t.match(logged(app, 'upstream was asked'), [{ route: '/realtime/calls', outcome: '201' }])
})

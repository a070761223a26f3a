// A guard in process, against the emulator's own conversation: events wait in queues until a test lets them arrive, and
// the test moves the clock.

import { createGuard, type Did } from '../../src/calls/guard.ts'
import type { JsonObject } from '../../src/json.ts'
import { applyPolicy, askedFor } from '../../src/policy/apply.ts'
import type { CallRules, SessionRules } from '../../src/policy/compile.ts'
import { createSessionCheck } from '../../src/policy/session-check.ts'
import { REALTIME_CALLS } from '../../src/realtime/call-protocol.ts'
import { startConversation } from '../../src/sandbox/openai/conversation.ts'
import { completeSession } from '../../src/sandbox/openai/session-object.ts'
import { createTestClock, type TestClock } from '../support/clock.ts'

const ASKED = askedFor({})

export type Options = Readonly<{
  onChange?: CallRules['onChange']
  mirrorsUpdates?: boolean
  /** Whether the first session is left unreported. */
  isUnreported?: boolean
}>

export type GuardWorld = Readonly<{
  clock: TestClock
  /** The session that was reported first. */
  baseline: JsonObject
  session: () => JsonObject
  /** Sends a `session.update` of the client; throws if the API refuses it. */
  update: (session: JsonObject) => void
  client: (event: JsonObject) => void
  /** Sends an event of upstream that the emulator does not produce. */
  report: (event: JsonObject) => void
  /** Delivers one event to the guard or from it; false if there is none. */
  step: (towardsUs?: boolean) => boolean
  settle: () => void
  sent: readonly JsonObject[]
  changes: readonly Readonly<{ did: Did, paths: readonly string[] }>[]
  faults: readonly unknown[]
  isOver: () => boolean
}>

export function startGuardWorld (rules: SessionRules, options: Options = {}): GuardWorld {
  const { onChange = 'restore', mirrorsUpdates = true, isUnreported = false } = options
  const granted = applyPolicy(rules, {}, ASKED)
  const clock = createTestClock()
  const baseline = completeSession('realtime', granted.session, 0)
  const conversation = startConversation({ kind: 'realtime', legacy: false, session: baseline }, { mirrorsUpdates })
  const towardsUs: JsonObject[] = []
  const fromUs: JsonObject[] = []
  const sent: JsonObject[] = []
  const changes: { did: Did, paths: readonly string[] }[] = []
  const faults: unknown[] = []
  let session = baseline
  let refusal: unknown
  let isOver = false
  let isJoined = false
  let events = 0
  const client = conversation.join((event) => {
    if (event.type === 'session.updated') session = event.session as JsonObject
    if (event.type === 'error') refusal = event.error
  })
  const sideband = conversation.join((event) => { towardsUs.push(event) }, 'sideband')
  const guard = createGuard({
    clock,
    protocol: REALTIME_CALLS,
    checkSession: createSessionCheck(rules, { claims: {}, asked: ASKED, granted }),
    rules: { onChange },
    hasDataChannel: true,
    fixed: {},
    newEventId: () => `ephemint_${++events}`,
    send: (event) => {
      sent.push(event)
      fromUs.push(event)
    },
    leash: { openResponses: () => [], isJoined: () => isJoined },
    onChange: (did, paths) => changes.push({ did, paths }),
    onEnd: () => { isOver = true },
    onFault: (error) => faults.push(error)
  })

  function hear (event: JsonObject): void {
    const signal = REALTIME_CALLS.signalOf(String(event.type), () => event)
    if (signal !== null) guard.handle(signal)
  }

  const world: GuardWorld = {
    clock,
    baseline,
    session: () => session,
    update: (update) => world.client({ type: 'session.update', session: { type: 'realtime', ...update } }),
    client: (event) => {
      isJoined = true
      refusal = undefined
      client.receive(JSON.stringify(event))
      if (refusal !== undefined) throw new Error(JSON.stringify(refusal))
    },
    report: (event) => { towardsUs.push(event) },
    step: (isForUs = towardsUs.length > 0) => {
      const event = (isForUs ? towardsUs : fromUs).shift()
      if (event === undefined) return false
      if (isForUs) hear(event)
      else sideband.receive(JSON.stringify(event))
      return true
    },
    settle: () => { while (world.step(true) || world.step(false)); },
    sent,
    changes,
    faults,
    isOver: () => isOver
  }
  if (!isUnreported) hear({ type: 'session.updated', session: baseline })
  return world
}

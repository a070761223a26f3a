// Makes one real call, and reports how this upstream behaves where the service depends on it.

import { randomUUID } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import { safetyIdentifier } from '../../callers/safety-identifier.ts'
import type { Config } from '../../config/environment.ts'
import { isLoopback } from '../../config/hosts.ts'
import { ApiError } from '../../errors.ts'
import type { Policies } from '../../policy/policy.ts'
import { REALTIME_CALLS } from '../../realtime/call-protocol.ts'
import { type CreatedCall, isOver } from '../../upstream/calls.ts'
import { upstreamError } from '../../upstream/client.ts'
import { deadlineIn } from '../../upstream/deadline.ts'
import { tryChanges } from './call-changes.ts'
import { CALL_SUBJECT, type CallTrial, type OpenSideband, openSideband } from './call-sideband.ts'
import { note, ok, wrong } from './finding.ts'
import { openPeer } from './peer.ts'
import { sessionForCall } from './upstream.ts'

const NOT_FOUND_MS = [250, 750, 1500, 3000]
const EVENT_MS = 5000
const HANG_UP_MS = 5000
const HANG_UP_TRIES = 3
const BETWEEN_TRIES_MS = 1000
const LASTS = 'it goes on until OpenAI ends it, after at most 60 minutes'

type Deps = Pick<CallTrial, 'upstream' | 'report'> & Partial<Pick<CallTrial, 'waitMs' | 'pause'>> & Readonly<{
  config: Config
  policies: Policies
  findPeer?: typeof openPeer
}>

/** Reports what it finds, and leaves no call behind that it can end. */
export async function makeCall ({
  config, upstream, policies, report, waitMs = EVENT_MS, pause = wait, findPeer = openPeer
}: Deps): Promise<void> {
  const peer = await findPeer(isLoopback(config.upstream.baseUrl.hostname))
  if (peer === null) {
    report(wrong(
      CALL_SUBJECT, 'was not made: werift, the WebRTC library for it, is not installed',
      'run it with this environment where the development dependencies are: npm ci && npm run doctor -- --call'
    ))
    return
  }
  report({
    state: 'note', subject: CALL_SUBJECT, message: 'a real one is made now, of some seconds: it costs a few cents'
  })
  await upstream.loadSidebands()
  await tryCall({ config, upstream, peer, ...sessionForCall(policies), report, waitMs, pause })
}

async function tryCall (trial: CallTrial): Promise<void> {
  const { call, answer } = await create(trial)
  let sideband: OpenSideband | null = null
  try {
    if (call !== null) sideband = await attach(trial, call)
    if (call === null || sideband === null) return
    if (answer !== null) await tryChanges(trial, sideband, answer)
    sideband = await reopen(trial, call, sideband)
  } finally {
    if (call !== null) await hangUp(trial, call, sideband)
    await trial.peer.close()
  }
}

type Created = { call: CreatedCall | null, answer: string | null }

async function create ({ config, upstream, peer, session, by, report }: CallTrial): Promise<Created> {
  const { callsApi, timeoutMs } = config.upstream
  const isByKey = callsApi !== 'secret'
  const created: Created = { call: null, answer: null }
  try {
    const { answer } = await upstream.calls.create({
      offer: peer.offer,
      session,
      safetyIdentifier: identifierOf(config),
      requestId: randomUUID(),
      deadline: deadlineIn(timeoutMs),
      clientParam: () => null,
      isTaken: () => false,
      onAttempt: () => {},
      onCreated: (call) => { created.call = call }
    })
    created.answer = answer
    report(ok(CALL_SUBJECT, `${isByKey ? 'the key' : 'a client secret'} creates one, with a session ${by}`))
  } catch (error) {
    /* c8 ignore next -- a fault of ours, not of upstream */
    if (!(error instanceof ApiError)) throw error
    const lost = error.mayHaveSucceeded ? `; if there is one, ${LASTS}` : ''
    report(wrong(CALL_SUBJECT, `was not created: ${error.code} (${error.reason})${lost}`, adviceOf(error, isByKey)))
  }
  return created
}

function adviceOf ({ code, reason }: ApiError, isByKey: boolean): string {
  if (isByKey && (reason === 'upstream_401' || reason === 'upstream_403')) {
    return 'set OPENAI_CALLS_API=secret, if this upstream accepts the key elsewhere'
  }
  if (reason === 'upstream_404') return 'this upstream has no calls: leave calls: out of the policies'
  return code === 'upstream_rejected'
    ? 'remove from the policy what this upstream does not accept'
    : 'check upstream\'s status page, or its log'
}

function identifierOf ({ safetyIdentifierSecret }: CallTrial['config']): string {
  return safetyIdentifier('ephemint', 'doctor', safetyIdentifierSecret)
}

/** The open sideband; null if none opens. */
async function attach (trial: CallTrial, call: CreatedCall): Promise<OpenSideband | null> {
  let refusals = 0
  for (;;) {
    const sideband = await openSideband(trial, call)
    if ('inbox' in sideband) {
      const after = refusals === 0 ? '' : `, after it was not found ${refusals} times`
      trial.report(ok(CALL_SUBJECT, `the key attaches a sideband${after}`))
      return sideband
    }
    const pauseMs = sideband.isGone ? NOT_FOUND_MS[refusals++] : undefined
    if (pauseMs === undefined) {
      const why = sideband.isGone ? 'the call is not found' : `the connection fails (${sideband.reason})`
      trial.report(wrong(
        CALL_SUBJECT, `no sideband attaches: ${why}`,
        'the service refuses calls that it cannot follow: use the key of the project that creates them'
      ))
      return null
    }
    await trial.pause(pauseMs)
  }
}

/** The sideband that is open afterwards; null if none is. */
async function reopen (trial: CallTrial, call: CreatedCall, sideband: OpenSideband): Promise<OpenSideband | null> {
  sideband.close()
  const again = await openSideband(trial, call)
  if ('inbox' in again) {
    trial.report(ok(CALL_SUBJECT, 'goes on when its sideband closes, and another one attaches'))
    return again
  }
  trial.report(wrong(
    CALL_SUBJECT, 'no other sideband attaches when the first one has closed',
    'here a lost connection ends a call: find out whether a proxy closes idle ones'
  ))
  return null
}

async function hangUp (trial: CallTrial, call: CreatedCall, sideband: OpenSideband | null): Promise<void> {
  const { report, waitMs } = trial
  const first = await askToHangUp(trial, call, HANG_UP_TRIES)
  if (!first.isOver) {
    report(wrong(
      CALL_SUBJECT, `${call.id} cannot be hung up: ${first.answer}; ${LASTS}`,
      'let the key end calls: the service can end none'
    ))
    return sideband?.close()
  }
  const closing = sideband === null ? null : await Promise.race([sideband.closed, wait(waitMs, null, { ref: false })])
  sideband?.close()
  const closes = closing === null ? 'stays open' : `closes with ${closing.code}`
  report(ok(CALL_SUBJECT, `is hung up: ${first.answer}${sideband === null ? '' : `; its sideband ${closes}`}`))

  const second = await askToHangUp(trial, call, 1)
  report(second.isOver
    ? ok(CALL_SUBJECT, `a second hang-up is answered with ${second.answer}`)
    : note(
      CALL_SUBJECT, `a second hang-up is answered with ${second.answer}`, 'the service takes it for a call that lasts'
    ))
  if (sideband === null) return
  const after = await openSideband(trial, call)
  if ('inbox' in after) after.close()
  report('inbox' in after || !after.isGone
    ? note(
      CALL_SUBJECT, 'that it has ended is not reported to a sideband that attaches',
      'set idle_seconds low: it ends what clients have left'
    )
    : ok(CALL_SUBJECT, 'no sideband attaches to one that has ended, by which the service sees it'))
}

type HungUp = Readonly<{ isOver: boolean, answer: string }>

async function askToHangUp (
  { upstream, config, pause }: CallTrial, { id, key }: CreatedCall, tries: number
): Promise<HungUp> {
  for (;;) {
    const answer = await upstream.client.direct({
      path: REALTIME_CALLS.hangUpPath(id), key, safetyIdentifier: identifierOf(config), withinMs: HANG_UP_MS
    })
    const hungUp = answer instanceof ApiError ? { isOver: false, answer: String(answer.reason) } : read(answer)
    if (hungUp.isOver || --tries <= 0) return hungUp
    await pause(BETWEEN_TRIES_MS)
  }
}

function read (answer: Parameters<typeof upstreamError>[0]): HungUp {
  const code = upstreamError(answer)?.code
  const text = typeof code === 'string' ? `${answer.status} ${code}` : String(answer.status)
  return { isOver: isOver(answer), answer: text }
}

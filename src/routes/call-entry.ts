// The creation of a call: read, apply the policy, take a place, take from the limits, create upstream, open the
// sideband, check the policy again, audit, answer. A failure after upstream has created the call hangs it up.

import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Call, Wish } from '../calls/call.ts'
import type { Calls } from '../calls/calls.ts'
import { atMost, type Clock } from '../clock.ts'
import { ApiError } from '../errors.ts'
import type { CallBody } from '../http/call-form.ts'
import { assertOffer, isAnswer, namesDataChannel } from '../http/sdp.ts'
import { getIn } from '../json.ts'
import { LEAST_CALL_SECONDS, type LimitStore, type Reserved, secondsBucketsOf } from '../limits/limits.ts'
import type { Asked, Granted } from '../policy/apply.ts'
import { termsOfCall } from '../policy/call-terms.ts'
import type { CallRules, SessionRules } from '../policy/compile.ts'
import { grantCall } from '../policy/grant.ts'
import type { Audit } from '../records/audit.ts'
import type { CallMetrics } from '../records/call-metrics.ts'
import type { CallOwner } from '../rulebook/call-rules.ts'
import type { UpstreamCalls } from '../upstream/calls.ts'
import { deadlineIn } from '../upstream/deadline.ts'
import type { AdmittedCaller } from './admission.ts'
import { isClientGone } from './client-gone.ts'
import { callEntry, logGrant } from './decision.ts'
import { readGa } from './mint-body.ts'
import { assertReserved } from './windows.ts'

export type CallEntryDeps = Readonly<{
  calls: Calls
  upstream: Pick<UpstreamCalls, 'create'>
  limits: Pick<LimitStore, 'giveSecondsBack'>
  audit: Audit
  metrics: Pick<CallMetrics, 'setUp'>
  clock: Clock
  /** The current rules for the caller. Throws ApiError. */
  currentRules: (owner: CallOwner) => CallRules
  /** Loads the modules that only calls need, with the first call. */
  load: () => Promise<unknown>
  setupMs: number
  upstreamMs: number
}>

/** The first attempt to hang up is waited for, so that a client that asks again finds its place free. */
const FIRST_ATTEMPT_MS = 2000

const readBody = readGa(['realtime'])

export async function setUpCall (
  deps: CallEntryDeps, request: FastifyRequest, reply: FastifyReply
): Promise<string> {
  const { decision } = request
  const caller = request.caller as AdmittedCaller
  const { sdp, session } = bodyOf(request)
  const { kind, asked } = readBody(session === undefined ? {} : { session })
  decision.kind = kind
  const { granted, rules } = grantCall(caller, kind, asked)
  decision.granted = granted
  logGrant(request, granted)
  assertOffer(sdp, rules)

  const { issuer, subject, claims, safetyIdentifier, policy } = caller
  const sessionRules = policy.sessions[kind] as SessionRules
  const facts = {
    issuer,
    subject,
    claims,
    safetyIdentifier,
    policy: policy.name,
    kind,
    requestId: request.id,
    asked: asked.session,
    rules,
    hasDataChannel: namesDataChannel(sdp),
    ...termsOfCall(sessionRules, { claims, asked, granted, rules })
  }
  const call = decision.call = deps.calls.begin(facts)
  const setup = startSetup(deps, call, request, reply)
  let reserved: Reserved | null = null
  try {
    reserved = assertReserved(await call.reserve({
      buckets: caller.buckets,
      seconds: secondsBucketsOf(policy, safetyIdentifier),
      most: rules.maxSeconds,
      least: LEAST_CALL_SECONDS
    }), reply)
    // Before the old call of a caller is ended for this one.
    assertMayBegin(deps, setup)
    await setup.orEnded(deps.calls.replace(call))
    const answer = await createAtUpstream(deps, request, { call, sdp, asked, granted, rules, setup })
    await setup.orEnded(call.write())
    await setup.orEnded(call.open())
    call.shorten(deps.currentRules(facts))
    setup.assertWanted()
    await call.started(deps.audit.confirm('call.started', callEntry(request, reply, null), { byMs: setup.byMs() }))
    setup.stop()
    decision.isConfirmed = true
    deps.metrics.setUp(reply.elapsedTime)
    reply.code(201).type('application/sdp')
      .header('location', `${request.routeOptions.url}/${call.facts.id}`)
      .header('x-call-seconds', call.maxSeconds())
    return answer
  } catch (error) {
    setup.stop()
    await undo(deps, { call, reserved, isAttempted: setup.isAttempted(), error })
    throw error
  }
}

/** A request without a body has no type either, and meets no parser. */
function bodyOf ({ body }: FastifyRequest): CallBody {
  if (body === undefined) throw new ApiError('invalid_request', { param: 'sdp' })
  return body as CallBody
}

type Setup = Readonly<{
  /** The outcome of `step`. Rejects with ApiError as soon as the call is to end. */
  orEnded: <T>(step: Promise<T>) => Promise<T>
  /** Throws ApiError if the call is to end. */
  assertWanted: () => void
  noteAttempt: () => void
  isAttempted: () => boolean
  /** The deadline of the setup, by `performance.now`. */
  byMs: () => number
  stop: () => void
}>

/** Watches the client and the clock while the call is created. */
function startSetup (
  { clock, setupMs }: CallEntryDeps, call: Call, request: FastifyRequest, { raw }: FastifyReply
): Setup {
  const byMs = performance.now() + setupMs
  let isAttempted = false
  const stop = clock.after(setupMs, () => call.end('setup_failed'))
  // Also when an answer was sent that never arrived.
  raw.once('close', () => { if (!raw.writableFinished) call.end('client_gone') })
  /* c8 ignore next -- a client that closes between its request and this line: no test can hit the moment */
  if (isClientGone(request)) call.end('client_gone')
  // Lasts as long as the call, and so does all that its callbacks refer to: no request, reply or answer.
  const ended = call.whenWished.then(throwRefusal)
  ended.catch(ignore)
  return {
    orEnded: async (step) => {
      await Promise.race([step.then(ignore), ended])
      return step
    },
    assertWanted: () => {
      const wish = call.wish()
      if (wish !== null) throw refusalFor(wish)
    },
    noteAttempt: () => { isAttempted = true },
    isAttempted: () => isAttempted,
    byMs: () => byMs,
    stop
  }
}

function throwRefusal (wish: Wish): never {
  throw refusalFor(wish)
}

function ignore (): void {}

/** The refusal of a request whose call was ended during its creation. */
function refusalFor ({ reason, error }: Wish): ApiError {
  if (error !== null) return error
  if (reason === 'shutdown') return new ApiError('draining', { reason, retryAfterSeconds: 1 })
  if (reason === 'client_gone' || reason === 'client') return new ApiError('invalid_request', { reason })
  const isLate = reason === 'setup_failed' || reason === 'max_duration'
  return new ApiError(isLate ? 'upstream_timeout' : 'upstream_error', { reason, retryCannotHelp: true })
}

/** Throws ApiError. */
function assertMayBegin ({ audit }: Pick<CallEntryDeps, 'audit'>, setup: Setup): void {
  audit.assertWritable()
  setup.assertWanted()
}

type Creating = Readonly<{
  call: Call, sdp: string, asked: Asked, granted: Granted, rules: CallRules, setup: Setup
}>

/** Never aborted, even if the client is gone: a success is a call, and without its id it cannot be ended. */
async function createAtUpstream (
  { calls, upstream, audit, load, upstreamMs }: CallEntryDeps, request: FastifyRequest, asking: Creating
): Promise<string> {
  const { call, sdp, asked, granted, rules, setup } = asking
  await load()
  assertMayBegin({ audit }, setup)
  const deadline = deadlineIn(Math.min(upstreamMs, setup.byMs() - performance.now()))
  const creating = upstream.create({
    offer: sdp,
    session: granted.session,
    safetyIdentifier: call.facts.safetyIdentifier,
    requestId: request.id,
    deadline,
    clientParam: ([top, ...path]) => top === 'session' && path.length > 0 && getIn(asked.session, path) !== undefined
      ? asked.sessionParam(path)
      : null,
    isTaken: calls.hasUpstream,
    onAttempt: setup.noteAttempt,
    onCreated: call.created
  })
  creating.then(deadline.cancel, deadline.cancel)
  // Once the id is known, the rest of the answer need not be waited for.
  const { answer } = await Promise.race([creating, call.whenCreated.then(() => setup.orEnded(creating))])
  setup.assertWanted()
  if (!isAnswer(answer, rules)) {
    throw new ApiError('upstream_error', { reason: 'answer_with_data_channel', retryCannotHelp: true })
  }
  return answer
}

type Failed = Readonly<{ call: Call, reserved: Reserved | null, isAttempted: boolean, error: unknown }>

async function undo (
  { clock, limits }: CallEntryDeps, { call, reserved, isAttempted, error }: Failed
): Promise<void> {
  if (call.upstreamId() !== null) {
    call.end('setup_failed')
    // A call that its client leaves stays counted; only the unused seconds go back, when the call is over.
    if (call.wish()?.reason !== 'client_gone') await call.refund()
    return atMost(clock, FIRST_ATTEMPT_MS, call.hangUpTried())
  }
  const { code, reason, mayHaveSucceeded = false } = error as Partial<ApiError>
  if (mayHaveSucceeded) await call.noteUnknown()
  // Upstream's 400 about what the client sent. It stays counted, or a client could repeat it for free.
  if (code === 'invalid_request' && reason === 'upstream_400') {
    await limits.giveSecondsBack((reserved as Reserved).slots, (reserved as Reserved).seconds)
  } else if (isAttempted) await reserved?.refund()
  else await reserved?.giveBack()
  call.abandon(mayHaveSucceeded)
}

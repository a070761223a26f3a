// The steps of a mint: read, apply the policy, take from the limits, mint upstream, audit, answer.

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type Type from 'typebox'
import { ApiError } from '../errors.ts'
import { getIn, type JsonObject, omitIn, type Path } from '../json.ts'
import type { LimitStore } from '../limits/limits.ts'
import type { Asked, Granted } from '../policy/apply.ts'
import type { SessionRules } from '../policy/compile.ts'
import { grantSecret } from '../policy/grant.ts'
import { ClientSecretAnswer, LegacyAnswer, LegacyTranscriptionAnswer, TranslationAnswer } from '../realtime/answers.ts'
import { sessionToLegacy } from '../realtime/legacy/session.ts'
import type { Kind } from '../realtime/session.ts'
import type { Audit } from '../records/audit.ts'
import type { Metrics } from '../records/metrics.ts'
import type { UpstreamRequest } from '../upstream/client.ts'
import type { Deadline } from '../upstream/deadline.ts'
import type { Mint, Minted } from '../upstream/mint.ts'
import type { AdmittedCaller } from './admission.ts'
import { isClientGone } from './client-gone.ts'
import { logGrant, mintEntry } from './decision.ts'
import { bodyObject, type ReadBody, readGa, readLegacyBody } from './mint-body.ts'
import { assertTaken } from './windows.ts'

export type MintDeps = Readonly<{
  mint: Mint
  limits: LimitStore
  audit: Audit
  timed: Metrics['timed']
  realtimePublicUrl: string
  /** The deadline of a mint that begins now. */
  deadline: () => Deadline
}>

type Shape = (kind: Kind, minted: Minted, session: JsonObject) => JsonObject
type MintRoute = Readonly<{ url: string, legacy: boolean, read: ReadBody, shape: Shape, answerSchema: Type.TSchema }>

export const MINT_ROUTES: readonly MintRoute[] = [
  {
    url: '/v1/realtime/client_secrets',
    legacy: false,
    read: readGa(['realtime', 'transcription']),
    shape: shapeGa,
    answerSchema: ClientSecretAnswer
  },
  {
    url: '/v1/realtime/translations/client_secrets',
    legacy: false,
    read: readGa(['translation']),
    shape: shapeGa,
    answerSchema: TranslationAnswer
  },
  {
    url: '/v1/realtime/sessions',
    legacy: true,
    read: readLegacyBody('realtime'),
    shape: shapeLegacy,
    answerSchema: LegacyAnswer
  },
  {
    url: '/v1/realtime/transcription_sessions',
    legacy: true,
    read: readLegacyBody('transcription'),
    shape: shapeLegacy,
    answerSchema: LegacyTranscriptionAnswer
  }
]

export function registerMint (app: FastifyInstance, deps: MintDeps): void {
  const config = { audited: { family: 'mint', entry: mintEntry } } as const
  for (const route of MINT_ROUTES) {
    app.post(route.url, { config, schema: { response: { 200: route.answerSchema } } }, (request, reply) =>
      mintFor(route, deps, request, reply))
  }
}

async function mintFor (
  route: MintRoute, deps: MintDeps, request: FastifyRequest, reply: FastifyReply
): Promise<string> {
  const { decision } = request
  const caller = request.caller as AdmittedCaller
  const { kind, asked } = route.read(request.body)
  decision.kind = kind
  const granted = decision.granted = grantSecret(caller, kind, asked)
  logGrant(request, granted)

  const taken = assertTaken(await deps.limits.take(caller.buckets), reply)
  const deadline = deps.deadline()
  let attemptedMs: number | null = null
  const onAttempt = () => { attemptedMs ??= performance.now() }
  const onUnknown = (first: ApiError) => deps.audit.record('mint.unknown', mintEntry(request, reply, first))
  let minted: Minted
  let answer: string
  try {
    const context = { deadline, onAttempt, onUnknown }
    minted = decision.minted = await mintUpstream(deps, request, { route, kind, asked, granted, context })
    decision.upstreamMs = minted.tookMs
    // Before the grant is written down, so that nothing can fail after it.
    const body = route.shape(kind, minted, visible(minted.session, caller, kind, granted))
    answer = reply.type('application/json; charset=utf-8').serialize(body) as string
    await deps.audit.confirm('mint.granted', mintEntry(request, reply, null), {
      byMs: deadline.atMs, ifLate: 'mint.undelivered'
    })
    decision.isConfirmed = true
  } catch (error) {
    if (attemptedMs !== null) decision.upstreamMs ??= performance.now() - attemptedMs
    if (attemptedMs === null) await taken.giveBack()
    else if (!isClientsFault(error)) await taken.refund()
    throw error
  }
  deps.timed({ outcome: 'granted', upstreamMs: minted.tookMs, totalMs: reply.elapsedTime })
  watchDelivery(deps.audit, request, reply)
  reply.header('x-realtime-url', deps.realtimePublicUrl +
    (kind === 'translation' ? '/realtime/translations/calls' : '/realtime/calls'))
  return answer
}

/** Upstream's 400 about a field that the client sent. The mint stays counted, or it could be repeated for free. */
function isClientsFault (error: unknown): boolean {
  return error instanceof ApiError && error.code === 'invalid_request'
}

type MintContext = Pick<UpstreamRequest, 'deadline' | 'onAttempt' | 'onUnknown'>
type UpstreamMint = Readonly<{ route: MintRoute, kind: Kind, asked: Asked, granted: Granted, context: MintContext }>

/** Throws, or rejects with, ApiError. */
function mintUpstream ({ mint, audit }: MintDeps, request: FastifyRequest, minting: UpstreamMint): Promise<Minted> {
  const { route, kind, asked, granted, context } = minting
  audit.assertWritable()
  // The client cannot receive a secret any more. The error is audited, and answered to no one.
  if (isClientGone(request)) throw new ApiError('invalid_request', { reason: 'client_gone' })
  return mint({
    kind,
    session: granted.session,
    expiresAfterSeconds: granted.expiresAfterSeconds,
    legacy: route.legacy,
    clientParam: (path, legacy) => legacy ? sentParam(request, route, path) : clientParam(asked, path)
  }, {
    safetyIdentifier: (request.caller as AdmittedCaller).safetyIdentifier,
    requestId: request.id,
    ...context
  })
}

function sentParam ({ body }: FastifyRequest, { legacy }: MintRoute, path: Path): string | null {
  return legacy && getIn(bodyObject(body), path) !== undefined ? path.join('.') : null
}

/** The client's own name of the field that upstream complains of; null if the client sent nothing there. */
function clientParam (asked: Asked, path: Path): string | null {
  const [top, ...rest] = path
  const [sent, param] = top === 'session'
    ? [rest.length > 0 ? getIn(asked.session, rest) : undefined, asked.sessionParam(rest)]
    : [
        top === 'expires_after' ? getIn(asked.expiresAfter ?? null, rest) ?? undefined : undefined,
        [asked.expiresAfterParam, ...rest].join('.')
      ]
  return sent === undefined ? null : param
}

/** A secret that was granted and not received is audited once more, because it exists. */
function watchDelivery (audit: Audit, request: FastifyRequest, reply: FastifyReply): void {
  const undelivered = () => audit.record('mint.undelivered', mintEntry(request, reply, null))
  if (isClientGone(request)) return undelivered()
  reply.raw.on('close', () => { if (!reply.raw.writableFinished || reply.statusCode !== 200) undelivered() })
}

/** `temperature` is the granted one: upstream's GA answer has none, and only the legacy shape shows it. */
function visible (
  session: JsonObject, { policy }: AdmittedCaller, kind: Kind, { session: { temperature } }: Granted
): JsonObject {
  const { hide, conceal } = policy.sessions[kind] as SessionRules
  const shown = hide.reduce(omitIn, temperature === undefined ? session : { ...session, temperature })
  return conceal === null ? shown : conceal(shown)
}

function shapeGa (_kind: Kind, { value, expiresAt }: Minted, session: JsonObject): JsonObject {
  return { value, expires_at: expiresAt, session }
}

function shapeLegacy (kind: Kind, { value, expiresAt }: Minted, session: JsonObject): JsonObject {
  return {
    ...sessionToLegacy(kind as 'realtime' | 'transcription', session),
    client_secret: { value, expires_at: expiresAt }
  }
}

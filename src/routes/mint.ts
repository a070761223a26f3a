// The story of a mint: read, apply the policy, take from the limits, mint upstream, audit, answer.

import { hash } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type Type from 'typebox'
import type { AdmittedCaller } from '../admission.ts'
import type { Audit, Decision } from '../audit.ts'
import { ApiError } from '../errors.ts'
import { getIn, omitIn, type JsonObject, type Path } from '../json.ts'
import { bucketsOf, tightest, type LimitStore, type Take } from '../limits/limits.ts'
import { applyPolicy, type Asked, type Granted } from '../policy/apply.ts'
import { ClientSecretAnswer, LegacyAnswer, LegacyTranscriptionAnswer, TranslationAnswer } from '../realtime/answer.ts'
import { sessionToLegacy } from '../realtime/legacy-answer.ts'
import type { Kind } from '../realtime/session.ts'
import type { Mint, Minted } from '../upstream/mint.ts'
import { readGa, readLegacyBody, type Read } from './read.ts'

export type MintDeps = Readonly<{
  mint: Mint
  limits: LimitStore
  audit: Audit
  realtimePublicUrl: string
  timeoutMs: number
}>

type Shape = (kind: Kind, minted: Minted, session: JsonObject, granted: Granted) => JsonObject
type Route = Readonly<{ url: string, legacy: boolean, read: Read, shape: Shape, answer: Type.TSchema }>

export const MINT_ROUTES: readonly Route[] = [
  { url: '/v1/realtime/client_secrets', legacy: false, read: readGa(['realtime', 'transcription']), shape: shapeGa, answer: ClientSecretAnswer },
  { url: '/v1/realtime/translations/client_secrets', legacy: false, read: readGa(['translation']), shape: shapeGa, answer: TranslationAnswer },
  { url: '/v1/realtime/sessions', legacy: true, read: readLegacyBody('realtime'), shape: shapeLegacy, answer: LegacyAnswer },
  { url: '/v1/realtime/transcription_sessions', legacy: true, read: readLegacyBody('transcription'), shape: shapeLegacy, answer: LegacyTranscriptionAnswer }
]

/** What has been decided so far, for the audit line of whoever ends the request. */
const decisions = new WeakMap<FastifyRequest, Partial<Decision>>()

export function registerMint (app: FastifyInstance, deps: MintDeps): void {
  for (const route of MINT_ROUTES) {
    app.post(route.url, { schema: { response: { 200: route.answer } } }, async (request, reply) => {
      const caller = request.caller as AdmittedCaller
      const decided: Partial<Decision> = {}
      decisions.set(request, decided)

      const { kind, asked } = route.read(request.body)
      decided.kind = kind
      const granted = grant(caller, kind, asked)
      Object.assign(decided, { model: granted.model, prompt: granted.prompt, ignored: granted.ignored })

      const taken = await takeLimits(deps.limits, caller, reply)
      try {
        const minted = await mintUpstream(deps, request, caller, { route, kind, asked, granted })
        Object.assign(decided, factsOf(minted))
        await deps.audit.granted(decisionOf(request, reply))
        watchDelivery(deps.audit, request, reply)
        reply.header('x-realtime-url', deps.realtimePublicUrl + (kind === 'translation' ? '/realtime/translations/calls' : '/realtime/calls'))
        return route.shape(kind, minted, visible(minted.session, caller, kind), granted)
      } catch (error) {
        await taken.giveBack()
        throw error
      }
    })
  }
}

function grant ({ policy, claims }: AdmittedCaller, kind: Kind, asked: Asked): Granted {
  const rules = policy.sessions[kind]
  if (rules === undefined) throw new ApiError('policy_violation', { reason: 'kind_not_named' })
  return applyPolicy(rules, claims, asked)
}

/** Throws ApiError `rate_limit_exceeded` with the headers of the caller's tightest window set. */
async function takeLimits (limits: LimitStore, { policy, safetyIdentifier }: AdmittedCaller, reply: FastifyReply): Promise<Take> {
  const take = await limits.take(bucketsOf(policy, safetyIdentifier))
  const own = tightest(take.windows)
  if (own !== null) {
    reply.headers({ 'ratelimit-limit': own.limit, 'ratelimit-remaining': own.remaining, 'ratelimit-reset': seconds(own.resetMs) })
  }
  if (take.taken) return take
  const empty = take.windows.filter(({ remaining }) => remaining === 0).sort((a, b) => b.resetMs - a.resetMs)[0]
  throw new ApiError('rate_limit_exceeded', {
    reason: `${empty?.key.startsWith('policy:') ? 'total_' : ''}${empty?.window}`,
    retryAfterSeconds: seconds(empty?.resetMs ?? 0),
    // Within a minute an SDK may wait for it; hours it should not.
    retryCannotHelp: empty?.window !== 'minute'
  })
}

type Asking = Readonly<{ route: Route, kind: Kind, asked: Asked, granted: Granted }>

async function mintUpstream ({ mint, audit, timeoutMs }: MintDeps, request: FastifyRequest, caller: AdmittedCaller, { route, kind, asked, granted }: Asking): Promise<Minted> {
  audit.assertWritable()
  // Nobody is there to receive it: nothing is minted, and the error is answered to no one.
  if (isGone(request)) throw new ApiError('invalid_request', { reason: 'client_gone' })
  return mint({
    kind,
    session: granted.session,
    expiresAfterSeconds: granted.expiresAfterSeconds,
    legacy: route.legacy,
    clientParam: (path, legacy) => clientParam(request, route, asked, path, legacy)
  }, {
    safetyIdentifier: caller.safetyIdentifier,
    requestId: request.id,
    signal: AbortSignal.timeout(timeoutMs)
  })
}

/** What upstream complains of, as the client wrote it; null where the client wrote nothing there. */
function clientParam (request: FastifyRequest, route: Route, asked: Asked, path: Path, legacy: boolean): string | null {
  if (!legacy) return getIn(asked.session, path) === undefined ? null : asked.sessionParam(path)
  return route.legacy && getIn(request.body as JsonObject ?? {}, path) !== undefined ? path.join('.') : null
}

function factsOf ({ value, expiresAt, session, upstreamRequestId }: Minted): Partial<Decision> {
  return {
    session_id: typeof session.id === 'string' ? session.id : null,
    secret_sha256: hash('sha256', value),
    expires_at: expiresAt,
    upstream_request_id: upstreamRequestId
  }
}

/** For the audit line; also of requests that were refused before they reached the handler. */
export function decisionOf (request: FastifyRequest, reply: FastifyReply, error?: ApiError): Decision {
  const { caller } = request
  return {
    request_id: request.id,
    subject: caller?.safetyIdentifier ?? null,
    issuer: caller?.issuer ?? null,
    policy: caller?.policy?.name ?? null,
    kind: null,
    model: null,
    prompt: null,
    session_id: null,
    secret_sha256: null,
    expires_at: null,
    ignored: [],
    upstream_request_id: error?.upstreamRequestId ?? null,
    ...decisions.get(request),
    code: error?.code ?? null,
    reason: error?.reason ?? null,
    duration_ms: Math.round(reply.elapsedTime * 1000) / 1000
  }
}

/** Granted, audited, and then nobody there to read it: written down, because the secret exists. */
function watchDelivery (audit: Audit, request: FastifyRequest, reply: FastifyReply): void {
  const undelivered = () => audit.record('mint.undelivered', decisionOf(request, reply))
  if (isGone(request)) return undelivered()
  reply.raw.once('close', () => { if (!reply.raw.writableFinished) undelivered() })
}

function isGone ({ raw: { socket } }: FastifyRequest): boolean {
  return socket.destroyed || !socket.writable
}

function visible (session: JsonObject, { policy }: AdmittedCaller, kind: Kind): JsonObject {
  return (policy.sessions[kind]?.hide ?? []).reduce(omitIn, session)
}

function shapeGa (_kind: Kind, { value, expiresAt }: Minted, session: JsonObject): JsonObject {
  return { value, expires_at: expiresAt, session }
}

function shapeLegacy (kind: Kind, { value, expiresAt }: Minted, session: JsonObject, { session: { temperature } }: Granted): JsonObject {
  return {
    ...sessionToLegacy(kind as 'realtime' | 'transcription', session),
    ...(temperature === undefined ? {} : { temperature }),
    client_secret: { value, expires_at: expiresAt }
  }
}

function seconds (ms: number): number {
  return Math.max(1, Math.ceil(ms / 1000))
}

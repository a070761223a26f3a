// The decision about a request: filled in as the handler goes, and written to the audit line at the end.

import { hash } from 'node:crypto'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type ApiError, MAX_PARAM_LENGTH } from '../errors.ts'
import type { IsTrusted } from '../http/address.ts'
import { readTrace, type Trace } from '../http/trace.ts'
import type { Granted } from '../policy/apply.ts'
import type { Kind } from '../realtime/session.ts'
import type { AuditEntry, CallEntry, Family, MintEntry } from '../records/audit.ts'
import type { Log } from '../records/log.ts'
import type { ServerSpan } from '../tracing/tracing.ts'
import type { Minted } from '../upstream/mint.ts'

/** The call's own members of its audit lines, once its place is taken. */
type CallOfRequest = Readonly<{ facts: { id: string }, maxSeconds: () => number, upstreamId: () => string | null }>

/** Null: not known yet. */
export type Decision = {
  trace: Trace
  /** Always null without traces. */
  span: ServerSpan | null
  kind: Kind | null
  granted: Granted | null
  minted: Minted | null
  /** How long upstream was waited for. */
  upstreamMs: number | null
  call: CallOfRequest | null
  /** The line of the grant is written: a failure from here on is no refusal. */
  isConfirmed: boolean
}

type WriteEntry = (request: FastifyRequest, reply: FastifyReply, error: ApiError | null) => AuditEntry

declare module 'fastify' {
  interface FastifyRequest {
    decision: Decision
  }
  interface FastifyContextConfig {
    /** Decisions of this route are audited: as events of this family, with these facts. */
    audited?: Readonly<{ family: Family, entry: WriteEntry }>
  }
}

/** Cap for values that a client or upstream chooses. */
const MAX_FACT_LENGTH = 256

/** Registered before the first hook that may refuse. */
export function registerDecision (app: FastifyInstance, isTrusted: IsTrusted): void {
  app.decorateRequest('decision')
  app.addHook('onRequest', (request, _reply, done) => {
    const trace = readTrace(request.raw, isTrusted)
    request.decision = {
      trace, span: null, kind: null, granted: null, minted: null, upstreamMs: null, call: null, isConfirmed: false
    }
    done()
  })
}

/** For an operator who asks why: paths and names of the policy, without a value. */
export function logGrant ({ id, caller, decision: { trace, kind }, log }: FastifyRequest, granted: Granted): void {
  if (!(log as Log).isLevelEnabled('debug')) return
  const taken = granted.accepted.map(([path]) => path.join('.'))
  const { prompt, ignored } = granted
  log.debug({ request_id: id, ...trace, policy: caller?.policy?.name, kind, prompt, taken, ignored }, 'policy applied')
}

/** `error` is null for a grant. */
export function mintEntry (
  { id, caller, decision }: FastifyRequest, reply: FastifyReply, error: ApiError | null
): MintEntry {
  const { trace, kind, granted, minted } = decision
  const sessionId = minted?.session.id
  return {
    request_id: id,
    subject: caller?.safetyIdentifier ?? null,
    issuer: caller?.issuer ?? null,
    policy: caller?.policy?.name ?? null,
    kind,
    model: granted?.model?.slice(0, MAX_FACT_LENGTH) ?? null,
    prompt: granted?.prompt ?? null,
    session_id: typeof sessionId === 'string' ? sessionId.slice(0, MAX_FACT_LENGTH) : null,
    secret_sha256: minted === null ? null : hash('sha256', minted.value),
    expires_at: minted?.expiresAt ?? null,
    ignored: granted?.ignored ?? [],
    code: error?.code ?? null,
    reason: error?.reason ?? null,
    param: paramOf(error),
    upstream_request_id: minted?.upstreamRequestId ?? error?.upstreamRequestId ?? null,
    duration_ms: Math.round(reply.elapsedTime * 1000) / 1000,
    ...trace
  }
}

export function paramOf (error: Pick<ApiError, 'param'> | null): string | null {
  return error?.param?.slice(0, MAX_PARAM_LENGTH) ?? null
}

export function callEntry (request: FastifyRequest, reply: FastifyReply, error: ApiError | null): CallEntry {
  const { call } = request.decision
  return {
    ...mintEntry(request, reply, error),
    call_id: call?.facts.id ?? null,
    upstream_call_id: call?.upstreamId() ?? null,
    max_seconds: call?.maxSeconds() ?? null
  }
}

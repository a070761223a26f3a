// What the audit line of a mint says, as far as the request came.

import { hash } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Decision } from '../audit.ts'
import type { ApiError } from '../errors.ts'
import { traceOf } from '../http/trace.ts'
import type { Granted } from '../policy/apply.ts'
import type { Kind } from '../realtime/session.ts'
import type { Minted } from '../upstream/mint.ts'

/** What was decided before the error, if a handler got that far. Kept by the error: most requests never need it. */
const decidedBefore = new WeakMap<ApiError, Partial<Decision>>()

export function refusedAfter (decided: Partial<Decision>, error: ApiError): ApiError {
  decidedBefore.set(error, decided)
  return error
}

/** Of what a client or upstream may choose freely. No name of theirs is longer. */
const MAX_FACT_LENGTH = 256

export function grantedFacts (kind: Kind, { model, prompt, ignored }: Granted): Partial<Decision> {
  return { kind, model: model?.slice(0, MAX_FACT_LENGTH) ?? null, prompt, ignored }
}

export function mintedFacts ({ value, expiresAt, session, upstreamRequestId }: Minted): Partial<Decision> {
  return {
    session_id: typeof session.id === 'string' ? session.id.slice(0, MAX_FACT_LENGTH) : null,
    secret_sha256: hash('sha256', value),
    expires_at: expiresAt,
    upstream_request_id: upstreamRequestId
  }
}

export function grantedDecision (request: FastifyRequest, reply: FastifyReply, decided: Partial<Decision>): Decision {
  return { ...beginning(request), ...decided, duration_ms: Math.round(reply.elapsedTime * 1000) / 1000, ...traceOf(request) }
}

/** Also of requests that no handler has seen. */
export function refusedDecision (request: FastifyRequest, reply: FastifyReply, error: ApiError): Decision {
  const decided = { upstream_request_id: error.upstreamRequestId, ...decidedBefore.get(error) }
  return { ...grantedDecision(request, reply, decided), code: error.code, reason: error.reason ?? null }
}

function beginning ({ id, caller }: FastifyRequest): Decision {
  return {
    request_id: id,
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
    code: null,
    reason: null,
    upstream_request_id: null,
    duration_ms: null
  }
}

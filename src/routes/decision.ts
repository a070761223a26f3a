// What the audit line of a mint says, as far as the request came.

import { hash } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { ApiError } from '../errors.ts'
import { traceOf } from '../http/trace.ts'
import type { Granted } from '../policy/apply.ts'
import type { Kind } from '../realtime/session.ts'
import type { Decision } from '../records/audit.ts'
import type { Minted } from '../upstream/mint.ts'

/** How far a handler got. */
export type Decided = { kind?: Kind, granted?: Granted, minted?: Minted }

/** Kept by the error that ended it: most requests never need it. */
const decidedBefore = new WeakMap<ApiError, Decided>()

export function refusedAfter (decided: Decided, error: ApiError): ApiError {
  decidedBefore.set(error, decided)
  return error
}

/** Of what a client or upstream may choose freely. No name of theirs is longer. */
const MAX_FACT_LENGTH = 256

export function grantedDecision (request: FastifyRequest, reply: FastifyReply, decided: Decided): Decision {
  return decisionOf(request, reply, decided, null)
}

/** Also of requests that no handler has seen. */
export function refusedDecision (request: FastifyRequest, reply: FastifyReply, error: ApiError): Decision {
  return decisionOf(request, reply, decidedBefore.get(error) ?? {}, error)
}

function decisionOf (
  request: FastifyRequest, reply: FastifyReply, { kind, granted, minted }: Decided, error: ApiError | null
): Decision {
  const { id, caller } = request
  const sessionId = minted?.session.id
  return {
    request_id: id,
    subject: caller?.safetyIdentifier ?? null,
    issuer: caller?.issuer ?? null,
    policy: caller?.policy?.name ?? null,
    kind: kind ?? null,
    model: granted?.model?.slice(0, MAX_FACT_LENGTH) ?? null,
    prompt: granted?.prompt ?? null,
    session_id: typeof sessionId === 'string' ? sessionId.slice(0, MAX_FACT_LENGTH) : null,
    secret_sha256: minted === undefined ? null : hash('sha256', minted.value),
    expires_at: minted?.expiresAt ?? null,
    ignored: granted?.ignored ?? [],
    code: error?.code ?? null,
    reason: error?.reason ?? null,
    upstream_request_id: minted?.upstreamRequestId ?? error?.upstreamRequestId ?? null,
    duration_ms: Math.round(reply.elapsedTime * 1000) / 1000,
    ...traceOf(request)
  }
}

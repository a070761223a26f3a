// Records of a refusal: a log line, and at audited routes an audit line. Two kinds are bounded by code: refusals of
// requests that are not authenticated, all together, and 503s, for each caller.

import type { FastifyRequest } from 'fastify'
import { ApiError, type ErrorCode } from '../errors.ts'
import type { OnRefused } from '../http/refusals.ts'
import type { Audit } from '../records/audit.ts'
import { createFlood } from '../records/flood.ts'
import type { PlainLog } from '../records/log.ts'
import type { Metrics } from '../records/metrics.ts'
import { paramOf } from './decision.ts'

/** Cap for a logged Origin: CORS_ORIGINS accepts none that is longer. */
const MAX_ORIGIN_LENGTH = 256

export type RefusalRecords = Readonly<{ record: OnRefused, close: () => void }>

export function createRefusalRecords (log: PlainLog, audit: Audit, timed: Metrics['timed']): RefusalRecords {
  function logRefusal (error: ApiError, facts: object): void {
    // Only the operator can pay OpenAI's bill.
    if (error.statusCode >= 500 || error.reason === 'billing') log.error({ ...facts, err: error.cause }, 'refused')
    else log.info(facts, 'refused')
  }

  const flood = createFlood<`${ErrorCode} ${string}`>((kind, count) => {
    const [code] = kind.split(' ') as [ErrorCode]
    logRefusal(new ApiError(code), { code, count })
  })
  return {
    record: (error, request, reply) => {
      const { id, caller, decision, routeOptions: { config: { audited } } } = request
      const { code, reason } = error
      const isBounded = caller === null || error.statusCode === 503
      if (!isBounded || flood.admits(`${code} ${caller?.safetyIdentifier ?? ''}`)) {
        const param = paramOf(error) ?? undefined
        logRefusal(error, { request_id: id, ...decision.trace, code, reason, param, ...originOf(error, request) })
      }
      if (audited === undefined || decision.isConfirmed) return
      const { family } = audited
      if (family === 'mint') {
        const outcome = error.statusCode < 500 ? 'refused' : 'failed'
        timed({ outcome, upstreamMs: decision.upstreamMs, totalMs: reply.elapsedTime })
      }
      const entry = audited.entry(request, reply, error)
      if (error.mayHaveSucceeded) audit.record(`${family}.unknown`, entry)
      else if (isBounded) audit.recordBounded(`${family}.refused`, entry)
      else audit.record(`${family}.refused`, entry)
    },
    close: flood.close
  }
}

/** An operator needs it to fix CORS_ORIGINS, and it is no personal data. */
function originOf ({ code }: ApiError, { headers: { origin } }: FastifyRequest): { origin?: string } {
  return code === 'origin_not_allowed' && origin !== undefined ? { origin: origin.slice(0, MAX_ORIGIN_LENGTH) } : {}
}

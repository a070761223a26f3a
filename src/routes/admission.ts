// Admission: address limit, authentication, blocking and the choice of a policy, in this order, from headers alone.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Caller } from '../callers/caller.ts'
import { safetyIdentifier } from '../callers/safety-identifier.ts'
import type { LimitAddress } from '../http/address-limit.ts'
import { type Bucket, bucketsOf } from '../limits/limits.ts'
import type { Policy } from '../policy/policy.ts'
import { selectPolicy } from '../policy/select.ts'
import type { Rulebook } from '../rulebook/rulebook.ts'

type IdentifiedCaller = Omit<Caller, 'admitted'> & Readonly<{ safetyIdentifier: string, policy?: Policy }>
/** Each mint takes from the `buckets`. */
export type AdmittedCaller = IdentifiedCaller & Readonly<{ policy: Policy, buckets: readonly Bucket[] }>

declare module 'fastify' {
  interface FastifyRequest {
    /** Null until authenticated; without `policy` if none applies to this caller. */
    caller: IdentifiedCaller | null
  }
}

export type AdmissionDeps = Readonly<{
  rulebook: () => Rulebook
  limitAddress: LimitAddress
  safetyIdentifierSecret: string | null
}>

export function registerAdmission (
  app: FastifyInstance, { rulebook, limitAddress, safetyIdentifierSecret }: AdmissionDeps
): void {
  function admit (caller: Caller, { policies }: Rulebook, request: FastifyRequest): AdmittedCaller {
    const { issuer, subject, claims, expiresAt } = caller
    const identifier = safetyIdentifier(issuer, subject, safetyIdentifierSecret)
    const identified = { issuer, subject, claims, expiresAt, safetyIdentifier: identifier }
    request.caller = identified
    const policy = selectPolicy(policies, caller, identifier)
    return { ...identified, policy, buckets: bucketsOf(policy, identifier) }
  }

  app.addHook('onRequest', (request, _reply, done) => {
    limitAddress(request)
    const by = rulebook()
    const caller = by.callers.authenticate(request)
    // A cached caller is the same object each time, and belongs to one rulebook.
    const enter = (caller: Caller) => {
      caller.admitted ??= admit(caller, by, request)
      request.caller = caller.admitted as AdmittedCaller
    }
    if (caller instanceof Promise) return caller.then(enter)
    enter(caller)
    done()
  })
}

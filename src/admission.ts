// Who comes in: address limit, authentication, blocking and the choice of a policy, in this order, from headers alone.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Caller } from './callers/caller.ts'
import type { Policy } from './policy/file.ts'
import type { LimitAddress } from './http/address-limit.ts'
import { selectPolicy } from './policy/select.ts'
import type { Rulebook } from './rulebook.ts'
import { safetyIdentifier } from './safety-identifier.ts'

export type AdmittedCaller = Caller & Readonly<{ safetyIdentifier: string, policy: Policy }>

declare module 'fastify' {
  interface FastifyRequest {
    /** Null until authenticated; without a policy where none grants this caller anything. */
    caller: (Caller & Readonly<{ safetyIdentifier: string, policy?: Policy }>) | null
  }
}

export type AdmissionDeps = Readonly<{
  rulebook: () => Rulebook
  limitAddress: LimitAddress
  safetyIdentifierSecret: string | null
}>

export function registerAdmission (app: FastifyInstance, { rulebook, limitAddress, safetyIdentifierSecret }: AdmissionDeps): void {
  // Callers whose credential is remembered come as the same object each time, and from one rulebook alone.
  const admitted = new WeakMap<Caller, AdmittedCaller>()

  function admit (caller: Caller, { policies }: Rulebook, request: FastifyRequest): AdmittedCaller {
    const identified = { ...caller, safetyIdentifier: safetyIdentifier(caller.issuer, caller.subject, safetyIdentifierSecret) }
    request.caller = identified
    const admission = { ...identified, policy: selectPolicy(policies, caller, identified.safetyIdentifier) }
    request.caller = admission
    return admission
  }

  app.addHook('onRequest', limitAddress)
  app.addHook('onRequest', (request, _reply, done) => {
    const by = rulebook()
    const caller = by.callers.authenticate(request)
    // What had to be waited for is remembered. Others are new each time: a million of them would make a table of a million.
    if (caller instanceof Promise) return caller.then((caller) => { admitted.set(caller, admit(caller, by, request)) })
    request.caller = admitted.get(caller) ?? admit(caller, by, request)
    done()
  })
}

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
  // A remembered token brings the same caller each time: by one rulebook it is admitted once.
  const admitted = new WeakMap<Rulebook, WeakMap<Caller, AdmittedCaller>>()

  function admit (caller: Caller, by: Rulebook, request: FastifyRequest): void {
    let known = admitted.get(by)
    if (known === undefined) admitted.set(by, known = new WeakMap())
    let admission = known.get(caller)
    if (admission === undefined) {
      const identified = { ...caller, safetyIdentifier: safetyIdentifier(caller.issuer, caller.subject, safetyIdentifierSecret) }
      request.caller = identified
      known.set(caller, admission = { ...identified, policy: selectPolicy(by.policies, caller, identified.safetyIdentifier) })
    }
    request.caller = admission
  }

  app.addHook('onRequest', limitAddress)
  app.addHook('onRequest', (request, _reply, done) => {
    const by = rulebook()
    const caller = by.callers.authenticate(request)
    if (caller instanceof Promise) return caller.then((caller) => admit(caller, by, request))
    // Remembered: the next step need not wait for a turn.
    admit(caller, by, request)
    done()
  })
}

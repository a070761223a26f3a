// Checks that upstream responds and accepts the key, by listing models, which mints nothing.

import { randomUUID } from 'node:crypto'
import { safetyIdentifier } from '../../callers/safety-identifier.ts'
import type { Config } from '../../config/environment.ts'
import { ApiError } from '../../errors.ts'
import type { JsonObject } from '../../json.ts'
import { askedFor } from '../../policy/apply.ts'
import { grantCall, grantSecret } from '../../policy/grant.ts'
import type { Policies, Policy } from '../../policy/policy.ts'
import type { Client } from '../../upstream/client.ts'
import { deadlineIn } from '../../upstream/deadline.ts'
import type { Mint } from '../../upstream/mint.ts'
import type { Clocks } from './clock.ts'
import { connectionFault, type Finding, note, ok, wrong } from './finding.ts'

const UPSTREAM_SUBJECT = 'upstream'
const LIFETIME_SECONDS = 10

export async function checkUpstream (
  { baseUrl }: Config['upstream'], client: Pick<Client, 'ask'>, clocks: Clocks
): Promise<Finding> {
  const where = `${baseUrl.origin}${baseUrl.pathname.replace(/\/$/, '')}/models`
  const sentAtMs = Date.now()
  try {
    const { status, date } = await client.ask('/models')
    clocks.record(baseUrl.host, date, sentAtMs)
    return findingFor(status, where)
  } catch (error) {
    return connectionFault(UPSTREAM_SUBJECT, where, error)
  }
}

function findingFor (status: number, where: string): Finding {
  if (status === 200) return ok(UPSTREAM_SUBJECT, `${where} answers and accepts the key`)
  if (status === 401) {
    return wrong(
      UPSTREAM_SUBJECT,
      `${where} answers 401: it rejects the key`,
      'put a valid key into OPENAI_API_KEY or its file; for Azure set OPENAI_AUTH_SCHEME=api-key'
    )
  }
  if (status === 403) {
    return note(
      UPSTREAM_SUBJECT,
      `${where} answers 403: the key is valid, but may not list models`,
      'give it the right to mint (realtime), and try it: npm run doctor -- --mint'
    )
  }
  if (status === 404 || status === 405) {
    return note(
      UPSTREAM_SUBJECT,
      `${where} answers ${status}: this does not show whether it accepts the key`,
      'try it: npm run doctor -- --mint; if that fails, fix OPENAI_BASE_URL'
    )
  }
  if (status === 429) {
    return note(
      UPSTREAM_SUBJECT, `${where} answers 429: it limits this key`, 'check the limits and the credit of its account'
    )
  }
  if (status >= 300 && status < 400) {
    return wrong(
      UPSTREAM_SUBJECT,
      `${where} answers ${status}: redirects are not followed`,
      'set OPENAI_BASE_URL to the address that it redirects to'
    )
  }
  return wrong(UPSTREAM_SUBJECT, `${where} answers ${status}`, status >= 500
    ? 'it is down: check its status page, or its log'
    : 'fix OPENAI_BASE_URL')
}

/** Mints one secret and discards it. */
export async function tryMint (
  { upstream, safetyIdentifierSecret }: Config, mint: Mint, policies: Policies
): Promise<Finding> {
  const { session, by } = firstSession(policies, grantSecret) ?? onlyModel('mints')
  const minted = mint({
    kind: 'realtime',
    session,
    expiresAfterSeconds: LIFETIME_SECONDS,
    legacy: upstream.mintApi === 'sessions',
    clientParam: () => null
  }, {
    safetyIdentifier: safetyIdentifier('ephemint', 'doctor', safetyIdentifierSecret),
    requestId: randomUUID(),
    deadline: deadlineIn(upstream.timeoutMs)
  })
  const failure: unknown = await minted.then(() => null, (error) => error)
  if (failure === null) {
    return ok('mint', `one secret was minted ${by}; it opens sessions for ${LIFETIME_SECONDS} s, and was discarded`)
  }
  /* c8 ignore next -- a fault of ours, not of upstream */
  if (!(failure instanceof ApiError)) throw failure
  return wrong('mint', `a session ${by} was not minted: ${failure.code} (${failure.reason})`, ADVICE[failure.code] ??
    'check upstream\'s status page, or its log')
}

const ADVICE: Readonly<Partial<Record<ApiError['code'], string>>> = {
  upstream_rejected: 'give the key the right to mint, or remove from the policy what this upstream does not accept; ' +
    'OPENAI_MINT_API selects the routes',
  upstream_rate_limited: 'check the limits and the credit of the account'
}

type GrantSession = typeof grantSecret

const grantOfCall: GrantSession = (grantee, kind, asked) => grantCall(grantee, kind, asked).granted

type TrialSession = Readonly<{ session: JsonObject, by: string }>

export function sessionForCall (policies: Policies): TrialSession {
  return firstSession(policies, grantOfCall) ?? onlyModel('has calls')
}

/** From the first policy that grants one without claims of its caller. */
function firstSession ({ policies }: Policies, grant: GrantSession): TrialSession | null {
  for (const policy of policies) {
    const session = sessionBy(policy, grant)
    if (session !== null) return { session, by: `by policy ${policy.name}` }
  }
  return null
}

function onlyModel (does: string): TrialSession {
  return { session: { model: 'gpt-realtime-2.1' }, by: `with only a model, since no policy ${does} without claims,` }
}

function sessionBy (policy: Policy, grant: GrantSession): JsonObject | null {
  try {
    return grant({ policy, claims: { iss: 'ephemint', sub: 'doctor' } }, 'realtime', askedFor({})).session
  } catch {
    return null
  }
}

// Whether upstream answers and takes the key. Asking for its models mints nothing.

import { randomUUID } from 'node:crypto'
import { safetyIdentifier } from '../../callers/safety-identifier.ts'
import type { Config } from '../../config/environment.ts'
import { ApiError } from '../../errors.ts'
import type { JsonObject } from '../../json.ts'
import { applyPolicy } from '../../policy/apply.ts'
import type { SessionRules } from '../../policy/compile.ts'
import type { Policies } from '../../policy/policy.ts'
import type { Client } from '../../upstream/client.ts'
import { deadlineIn } from '../../upstream/deadline.ts'
import { createMint } from '../../upstream/mint.ts'
import type { Clocks } from './clock.ts'
import { type Finding, note, ok, silence, wrong } from './finding.ts'

const SUBJECT = 'upstream'
const LIFETIME_SECONDS = 10

export async function examineUpstream (
  { baseUrl }: Config['upstream'], client: Pick<Client, 'ask'>, clocks: Clocks
): Promise<Finding> {
  const where = `${baseUrl.origin}${baseUrl.pathname.replace(/\/$/, '')}/models`
  const askedAtMs = Date.now()
  try {
    const { status, date } = await client.ask('/models')
    clocks.hear(baseUrl.host, date, askedAtMs)
    return judge(status, where)
  } catch (error) {
    return silence(SUBJECT, where, error)
  }
}

function judge (status: number, where: string): Finding {
  if (status === 200) return ok(SUBJECT, `${where} answers and takes the key`)
  if (status === 401) {
    return wrong(
      SUBJECT,
    `${where} answers 401: it does not take the key`,
    'put a key that is good into OPENAI_API_KEY or its file; for Azure set OPENAI_AUTH_SCHEME=api-key'
    )
  }
  if (status === 403) {
    return note(
      SUBJECT,
    `${where} answers 403: the key is known, and may not list models`,
    'give it the right to mint (realtime), and try it: npm run doctor -- --mint'
    )
  }
  if (status === 404 || status === 405) {
    return note(
      SUBJECT,
    `${where} answers ${status}: whether the key is taken cannot be told so`,
    'try it: npm run doctor -- --mint; if that fails, mend OPENAI_BASE_URL'
    )
  }
  if (status === 429) {
    return note(SUBJECT, `${where} answers 429: it limits this key`, 'look at the limits and the credit of its account')
  }
  if (status >= 300 && status < 400) {
    return wrong(
      SUBJECT,
    `${where} answers ${status}: it is somewhere else, and redirects are not followed`,
    'put the address that it leads to into OPENAI_BASE_URL'
    )
  }
  return wrong(SUBJECT, `${where} answers ${status}`, status >= 500
    ? 'it is down: look at its status page, or its log'
    : 'mend OPENAI_BASE_URL')
}

/** Mints one secret that nobody gets. */
export async function tryMint (
  { upstream, safetyIdentifierSecret }: Config, client: Client, policies: Policies
): Promise<Finding> {
  const { session, by } = firstSession(policies)
  const mint = createMint(client, upstream.mintApi)
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
    return ok('mint', `one secret was minted ${by}; it opens sessions for ${LIFETIME_SECONDS} s, and nobody has it`)
  }
  /* c8 ignore next -- a fault of ours, not of upstream */
  if (!(failure instanceof ApiError)) throw failure
  return wrong('mint', `a session ${by} was not minted: ${failure.code} (${failure.reason})`, ADVICE[failure.code] ??
    'look at upstream\'s status page, or its log')
}

const ADVICE: Readonly<Partial<Record<ApiError['code'], string>>> = {
  upstream_rejected: 'give the key the right to mint, or take out of the policy what this upstream does not take; OPENAI_MINT_API says by which routes it mints',
  upstream_rate_limited: 'look at the limits and the credit of the account'
}

/** As the first policy has it that needs nothing of its caller. */
function firstSession ({ policies }: Policies): { session: JsonObject, by: string } {
  for (const { name, sessions: { realtime } } of policies) {
    const session = realtime === undefined ? null : sessionBy(realtime)
    if (session !== null) return { session, by: `by policy ${name}` }
  }
  return {
    session: { model: 'gpt-realtime-2.1' }, by: 'with nothing but a model, since no policy does without claims,'
  }
}

function sessionBy (rules: SessionRules): JsonObject | null {
  try {
    return applyPolicy(rules, { iss: 'ephemint', sub: 'doctor' }, {
      session: {}, expiresAfter: undefined, added: [], dropped: [], sessionParam: String, expiresAfterParam: ''
    }).session
  } catch {
    return null
  }
}

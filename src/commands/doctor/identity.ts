// Checks that identity providers respond as they should. Needs no user's credential.

import { randomUUID } from 'node:crypto'
import { claimReader } from '../../callers/claims.ts'
import type { CompileContext } from '../../callers/compile.ts'
import { isSentDirectly } from '../../callers/forward.ts'
import { compileIntrospection } from '../../callers/introspection.ts'
import { compileJwt } from '../../callers/jwt-entry.ts'
import type { CallerEntry, ForwardEntry, IntrospectionEntry, JwtEntry } from '../../callers/schema.ts'
import { systemClock } from '../../clock.ts'
import type { Proxies } from '../../config/proxies.ts'
import type { SecretSource } from '../../config/secrets.ts'
import type { ApiError } from '../../errors.ts'
import { type OutboundResponse, readObject } from '../../outbound/request.ts'
import { openProviders } from '../../service.ts'
import { silentLog } from '../command.ts'
import type { Clocks } from './clock.ts'
import { connectionFault, type Finding, ok, wrong } from './finding.ts'

const TIMEOUT_MS = 5000
const MAX_BYTES = 100 * 1024

export type CheckContext = Readonly<{
  secrets: SecretSource
  clocks: Clocks
  proxies: Proxies
}>

/** Null for an entry without a remote endpoint. `i` is the index of the entry under callers. */
export async function checkCaller (entry: CallerEntry, i: number, context: CheckContext): Promise<Finding | null> {
  if (entry.jwt !== undefined) return checkKeys(entry.jwt, `callers.${i}.jwt`, context)
  if (entry.forward !== undefined) return checkForward(entry.forward, `callers.${i}.forward`, context)
  if (entry.introspection !== undefined) {
    return checkIntrospection(entry.introspection, `callers.${i}.introspection`, context)
  }
  return null
}

async function checkKeys (entry: JwtEntry, at: string, context: CheckContext): Promise<Finding> {
  let reason = ''
  const log = { ...silentLog, warn: (facts: object) => { reason = (facts as { reason: string }).reason } }
  const { keys, algorithms } = compileJwt(entry, at, compilingWith(context, log))
  const issuer = [entry.issuer].flat().join(', ')
  if (keys === null) return ok(at, `${issuer} signs with a shared secret: there is nothing to request`)

  const where = entry.jwks ?? `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
  const first = await request(where, context).catch((error) => connectionFault(at, where, error))
  if ('state' in first) return first
  await keys.open()
  try {
    if (!keys.wasFetched()) {
      return wrong(
        at,
        `${where} answers ${first.status}, but yields no keys: ${reason}`,
        KEY_ADVICE[reason] ?? 'fix the address'
      )
    }
    const usable: string[] = []
    for (const alg of algorithms) if (!alg.startsWith('HS') && (await keys.find({ alg })).length > 0) usable.push(alg)
    return usable.length > 0
      ? ok(at, `${issuer} has keys for ${usable.join(', ')}`)
      : wrong(
        at,
        `${issuer} has keys, but none for ${[...algorithms].join(', ')}`,
        'list under algorithms: the ones that it signs with'
      )
  } finally {
    keys.close()
  }
}

const KEY_ADVICE: Readonly<Record<string, string>> = {
  not_200: 'fix issuer: it must equal the token\'s iss; without a discovery document set jwks:',
  not_a_json_object: 'fix the address: this is neither a discovery document nor a key set',
  discovery_names_another_issuer: 'write issuer: exactly as in the discovery document, including a slash at the end',
  discovery_names_no_safe_jwks_uri: 'its keys must be at an https URL; or set insecure_http: true',
  unreachable: 'the keys are at another address than the discovery document: allow connections to it',
  timeout: 'the keys are at another address than the discovery document: allow connections to it',
  no_keys: 'publish the issuer\'s keys',
  no_usable_keys: 'publish a signing key of the issuer: RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519',
  secret_key_published: 'the issuer publishes a private or shared key: replace it at once'
}

async function checkForward (entry: ForwardEntry, at: string, context: CheckContext): Promise<Finding> {
  const { url } = entry
  const { origin, pathname } = new URL(url)
  const where = origin + pathname
  const isDirect = isSentDirectly(url)
  const answer = await request(url, context, isDirect).catch((error) => connectionFault(at, where, error))
  if ('state' in answer) return answer
  const { status } = answer
  if (status === 200 || status === 204 || (entry.subject_header !== undefined && status < 300)) {
    return !namesUser(entry, answer)
      ? ok(at, `${where} names no user without a credential`)
      : wrong(
        at,
        `${where} names a user without a credential`,
        'it must answer 401 there: anyone would be that user'
      )
  }
  if (status === 401 || status === 403 || (status >= 300 && status < 400)) {
    return ok(at, `${where} answers ${status} without a credential`)
  }
  return wrong(at, `${where} answers ${status} without a credential`, status === 404
    ? 'fix url:'
    : 'it must answer 401 there, and 200 for a user')
}

/** Any value: a user that the service would refuse is a mistake too. */
function namesUser ({ subject = '', subject_header: header }: ForwardEntry, answer: OutboundResponse): boolean {
  const named = header === undefined
    ? claimReader(subject)(readObject(answer.body) ?? {})
    : answer.headers[header.toLowerCase()]
  return named !== undefined && named !== null
}

async function checkIntrospection (
  entry: IntrospectionEntry, at: string, context: CheckContext
): Promise<Finding> {
  const { origin, pathname } = new URL(entry.url)
  const where = origin + pathname
  const first = await request(entry.url, context).catch((error) => connectionFault(at, where, error))
  if ('state' in first) return first
  try {
    await compileIntrospection(entry, at, compilingWith(context, silentLog)).verify(`ephemint-doctor-${randomUUID()}`)
  } catch (error) {
    const { reason } = error as ApiError
    if (reason === 'token_not_active') {
      return ok(at, `${where} accepts our client_id and secret, and rejects an unknown token`)
    }
    return wrong(
      at,
      `${where} does not answer about a token: ${reason?.replace(/^checker_/, '')}`,
      'fix url:, client_id and the secret: it must answer 200 with {"active": false} there'
    )
  }
  return wrong(
    at, `${where} accepts a token that does not exist`, 'fix url:, or the authorization server: anyone would pass'
  )
}

async function request (
  url: string, { clocks, proxies }: CheckContext, isDirect = false
): Promise<OutboundResponse> {
  const { send } = openProviders({ proxies }, silentLog)
  const sentAtMs = Date.now()
  const options = { signal: AbortSignal.timeout(TIMEOUT_MS), maxBytes: MAX_BYTES, closes: true, isDirect }
  const response = await send(url, options)
  clocks.record(new URL(url).host, response.date, sentAtMs)
  return response
}

/** Without reports: problems of the entry itself were reported when the file was read. */
function compilingWith (
  { secrets, proxies }: CheckContext, log: CompileContext['log']
): CompileContext {
  return {
    ...openProviders({ proxies }, log),
    secrets,
    log,
    clock: systemClock,
    allowedOrigins: new Set(),
    report: { problem: silentLog.warn, warning: silentLog.warn }
  }
}

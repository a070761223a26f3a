// Whether those who vouch for callers answer, and as they should. Nobody's credential is needed for that.

import { randomUUID } from 'node:crypto'
import { claimReader } from '../../callers/claims.ts'
import type { CompileContext } from '../../callers/compile.ts'
import { compileIntrospection } from '../../callers/introspection.ts'
import { createKeySets } from '../../callers/jwks.ts'
import { compileJwt } from '../../callers/jwt-entry.ts'
import type { CallerEntry, ForwardEntry, IntrospectionEntry, JwtEntry } from '../../callers/schema.ts'
import { systemClock } from '../../clock.ts'
import type { SecretSource } from '../../config/secrets.ts'
import type { ApiError } from '../../errors.ts'
import { type OutboundResponse, readObject, sendRequest } from '../../outbound/request.ts'
import { silentLog } from '../command.ts'
import type { Clocks } from './clock.ts'
import { type Finding, ok, silence, wrong } from './finding.ts'

const TIMEOUT_MS = 5000
const MAX_BYTES = 100 * 1024

export type Examination = Readonly<{ secrets: SecretSource, clocks: Clocks }>

/** One finding for each entry of whom something can be asked. `i` is its place among the callers. */
export async function examineCaller (entry: CallerEntry, i: number, examination: Examination): Promise<Finding | null> {
  if (entry.jwt !== undefined) return examineKeys(entry.jwt, `callers.${i}.jwt`, examination)
  if (entry.forward !== undefined) return examineForward(entry.forward, `callers.${i}.forward`, examination)
  if (entry.introspection !== undefined) {
    return examineIntrospection(entry.introspection, `callers.${i}.introspection`, examination)
  }
  return null
}

async function examineKeys (entry: JwtEntry, at: string, { secrets, clocks }: Examination): Promise<Finding> {
  let reason = ''
  const log = { ...silentLog, warn: (facts: object) => { reason = (facts as { reason: string }).reason } }
  const { keys, algorithms } = compileJwt(entry, at, compilingWith(secrets, log))
  if (keys === null) return ok(at, `${entry.issuer} signs with a secret that both sides hold: there is nobody to ask`)

  const where = entry.jwks ?? `${entry.issuer.replace(/\/$/, '')}/.well-known/openid-configuration`
  const first = await ask(where, clocks).catch((error) => silence(at, where, error))
  if ('state' in first) return first
  await keys.open()
  try {
    if (!keys.wasFetched()) {
      return wrong(
        at,
      `${where} answers ${first.status}, but no keys came of it: ${reason}`,
      KEY_ADVICE[reason] ?? 'mend the address'
      )
    }
    const usable: string[] = []
    for (const alg of algorithms) if (!alg.startsWith('HS') && (await keys.find({ alg })).length > 0) usable.push(alg)
    return usable.length > 0
      ? ok(at, `${entry.issuer} has keys for ${usable.join(', ')}`)
      : wrong(
        at,
        `${entry.issuer} has keys, and none of them is for ${[...algorithms].join(', ')}`,
        'name under algorithms: what it signs with'
      )
  } finally {
    keys.close()
  }
}

const KEY_ADVICE: Readonly<Record<string, string>> = {
  not_200: 'mend issuer: exactly as in the token\'s iss; where there is no discovery document, name the keys by jwks:',
  not_a_json_object: 'mend the address: this is no discovery document and no key set',
  discovery_names_another_issuer: 'write issuer: exactly as the discovery document has it, a slash at its end included',
  discovery_names_no_safe_jwks_uri: 'its keys must be at https; or say insecure_http: true',
  unreachable: 'the keys are at another address than the discovery document: let this machine out to it',
  timeout: 'the keys are at another address than the discovery document: let this machine out to it',
  no_keys: 'let the issuer publish its keys',
  no_usable_keys: 'let the issuer publish a key to sign with: RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519',
  secret_key_published: 'the issuer publishes a key that must be secret: have it replaced at once'
}

async function examineForward ({ url, subject }: ForwardEntry, at: string, { clocks }: Examination): Promise<Finding> {
  const { origin, pathname } = new URL(url)
  const where = origin + pathname
  const answer = await ask(url, clocks).catch((error) => silence(at, where, error))
  if ('state' in answer) return answer
  const { status, body } = answer
  if (status === 200) {
    const named = claimReader(subject)(readObject(body) ?? {})
    return named === undefined
      ? ok(at, `${where} names nobody where nobody is signed in`)
      : wrong(
        at,
        `${where} names a user where nobody is signed in`,
        'let it answer 401 there: whoever asks would be that user'
      )
  }
  if (status === 401 || status === 403 || (status >= 300 && status < 400)) {
    return ok(at, `${where} answers ${status} where nobody is signed in`)
  }
  return wrong(at, `${where} answers ${status} where nobody is signed in`, status === 404
    ? 'mend url:'
    : 'let it answer 401 there, and 200 for a user')
}

async function examineIntrospection (
  entry: IntrospectionEntry, at: string, { secrets, clocks }: Examination
): Promise<Finding> {
  const { origin, pathname } = new URL(entry.url)
  const where = origin + pathname
  const first = await ask(entry.url, clocks).catch((error) => silence(at, where, error))
  if ('state' in first) return first
  try {
    await compileIntrospection(entry, at, compilingWith(secrets, silentLog)).verify(`ephemint-doctor-${randomUUID()}`)
  } catch (error) {
    const { reason } = error as ApiError
    if (reason === 'token_not_active') {
      return ok(at, `${where} takes our client_id and secret, and knows a token that is none`)
    }
    return wrong(
      at,
      `${where} gives no verdict on a token: ${reason?.replace(/^checker_/, '')}`,
      'mend url:, client_id and the secret: it must answer 200 with {"active": false} there'
    )
  }
  return wrong(
    at, `${where} vouches for a token that does not exist`, 'mend url:, or the authorization server: anyone would pass'
  )
}

async function ask (url: string, clocks: Clocks): Promise<OutboundResponse> {
  const askedAtMs = Date.now()
  const answer = await sendRequest(url, { signal: AbortSignal.timeout(TIMEOUT_MS), maxBytes: MAX_BYTES, closes: true })
  clocks.hear(new URL(url).host, answer.date, askedAtMs)
  return answer
}

/** What is wrong with the entry itself was told when the file was read. */
function compilingWith (secrets: SecretSource, log: CompileContext['log']): CompileContext {
  return {
    secrets,
    log,
    clock: systemClock,
    allowedOrigins: new Set(),
    keySets: createKeySets({ log }),
    report: {
      problem: silentLog.warn, warning: silentLog.warn
    }
  }
}

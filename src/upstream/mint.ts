// Which upstream route mints, and its answer in GA shape. OpenAI retired the legacy routes in May 2026; some servers
// have no others.

import type { Config } from '../config/environment.ts'
import { ApiError } from '../errors.ts'
import { getIn, isObject, type Json, type JsonObject, leafPaths, omitIn, type Path } from '../json.ts'
import { legacyCanCarry, writeLegacy } from '../realtime/legacy/request.ts'
import { sessionFromLegacy } from '../realtime/legacy/session.ts'
import { SECRET_SECONDS } from '../realtime/nulls.ts'
import type { Kind } from '../realtime/session.ts'
import type { UpstreamAnswer } from './attempt.ts'
import { type Client, upstreamError, type UpstreamRequest } from './client.ts'
import { complaintIn, refusal } from './refusal.ts'

export type MintRequest = Readonly<{
  kind: Kind
  session: JsonObject
  expiresAfterSeconds: number
  /** The client came by a legacy route. */
  legacy: boolean
  /** The client's own name for a path of the upstream body; null where the client sent nothing there. */
  clientParam: (path: Path, legacy: boolean) => string | null
}>

export type Minted = Readonly<{
  value: string
  /** Unix seconds. */
  expiresAt: number
  /** In GA shape, as upstream sent it. */
  session: JsonObject
  upstreamRequestId: string | null
  /** With retry and second route. */
  tookMs: number
}>

/** A request to upstream, in one of the two shapes. */
export type Route = Readonly<{ path: string, body: JsonObject, legacy: boolean }>
type Context = Omit<UpstreamRequest, 'path' | 'body' | 'contentType' | 'isRepeatable' | 'onHead'>

export type Mint = (request: MintRequest, context: Context) => Promise<Minted>

const LEGACY_PATHS = { realtime: '/realtime/sessions', transcription: '/realtime/transcription_sessions' } as const
const GONE_REMEMBERED_MS = 3_600_000
const CLOCK_SLACK_SECONDS = 300

/** Throws ApiError. `now` is the wall clock, in milliseconds. */
export function createMint (
  client: Client, mintApi: Config['upstream']['mintApi'], now: () => number = Date.now
): Mint {
  const goneUntil = new Map<string, number>()

  return async (request, context) => {
    const began = performance.now()
    const read = (answer: UpstreamAnswer, route: Route): Minted =>
      ({ ...readMinted(answer, route, request), tookMs: performance.now() - began })
    const ask = ({ path, body }: Route) =>
      client.request({ ...context, path, body: JSON.stringify(body), isRepeatable: true })
    const [first, second] = upstreamRoutes(request, mintApi)
    if (second === undefined) return read(await ask(first), first)
    if ((goneUntil.get(first.path) ?? 0) <= now()) {
      const answer = await ask(first)
      if (!isRouteGone(answer)) return read(answer, first)
    }
    const minted = read(await ask(second), second)
    // Only after an answer of the second route: an upstream that is down has not shown that the first is gone.
    if ((goneUntil.get(first.path) ?? 0) <= now()) goneUntil.set(first.path, now() + GONE_REMEMBERED_MS)
    return minted
  }

  function readMinted (answer: UpstreamAnswer, route: Route, request: MintRequest): Omit<Minted, 'tookMs'> {
    if (answer.status !== 200) throw refusal(answer, complaint(answer, route, request))
    const minted = route.legacy
      ? readLegacyAnswer(answer.body, request.kind, now())
      : readAnswer(answer.body, now())
    if (minted === null) {
      throw new ApiError(
        'upstream_error', { reason: 'unusable_answer', mayHaveSucceeded: true, upstreamRequestId: answer.requestId }
      )
    }
    return { ...minted, upstreamRequestId: answer.requestId }
  }
}

/** Where to mint; a second route is for when the first turns out to be gone. */
export function upstreamRoutes (
  request: Pick<MintRequest, 'kind' | 'session' | 'expiresAfterSeconds' | 'legacy'>,
  mintApi: Config['upstream']['mintApi']
): [Route, Route?] {
  const { kind, session, expiresAfterSeconds: seconds, legacy } = request
  // GA has no temperature: the policy checks it, and then it is left out.
  const ga = omitIn(session, ['temperature'])
  const current: Route = {
    path: kind === 'translation' ? '/realtime/translations/client_secrets' : '/realtime/client_secrets',
    body: {
      expires_after: { anchor: 'created_at', seconds }, session: kind === 'translation' ? ga : { ...ga, type: kind }
    },
    legacy: false
  }
  if (kind === 'translation' || mintApi === 'client_secrets') return [current]
  const old = (): Route => ({ path: LEGACY_PATHS[kind], body: writeLegacy(kind, session, seconds), legacy: true })
  if (mintApi === 'sessions') return [old()]
  // `auto`: the legacy route for clients that came by one, unless the session has fields that it cannot carry.
  const carried = () => leafPaths(session).every((path) => legacyCanCarry(kind, path, getIn(session, path)))
  return legacy && carried() ? [old(), current] : [current]
}

function isRouteGone (answer: UpstreamAnswer): boolean {
  const code = upstreamError(answer)?.code
  return answer.status === 405 || answer.status === 501 ||
    (answer.status === 404 && code !== 'model_not_found') ||
    (answer.status === 400 && code === 'beta_api_shape_disabled')
}

type Read = Omit<Minted, 'upstreamRequestId' | 'tookMs'>

function readAnswer (body: Json | undefined, nowMs: number): Read | null {
  if (!isObject(body) || !isObject(body.session)) return null
  const { value, expires_at: expiresAt, session } = body
  return isSecret(value) && isFuture(expiresAt, nowMs) ? { value, expiresAt, session } : null
}

function readLegacyAnswer (body: Json | undefined, kind: Kind, nowMs: number): Read | null {
  if (kind === 'translation' || !isObject(body) || !isObject(body.client_secret)) return null
  const { value, expires_at: expiresAt } = body.client_secret
  if (!isSecret(value) || !isFuture(expiresAt, nowMs)) return null
  return { value, expiresAt, session: sessionFromLegacy(kind, body) }
}

/** A secret is sent in a header. */
function isSecret (value: Json | undefined): value is string {
  return typeof value === 'string' && /^[\x21-\x7e]{1,4096}$/.test(value)
}

function isFuture (expiresAt: Json | undefined, nowMs: number): expiresAt is number {
  const seconds = nowMs / 1000
  return typeof expiresAt === 'number' && Number.isInteger(expiresAt) &&
    expiresAt > seconds && expiresAt <= seconds + SECRET_SECONDS.maximum + CLOCK_SLACK_SECONDS
}

function complaint (answer: UpstreamAnswer, route: Route, { clientParam }: MintRequest): string | null {
  const path = complaintIn(answer)
  return path === null ? null : clientParam(path, route.legacy)
}

// Requests about calls: a creation is sent once and never repeated; each hang-up says whether the call is over.

import { randomBytes } from 'node:crypto'
import { ApiError } from '../errors.ts'
import type { JsonObject, Path } from '../json.ts'
import type { CallProtocol } from '../realtime/call-protocol.ts'
import type { Log } from '../records/log.ts'
import type { Head, UpstreamAnswer } from './attempt.ts'
import { type Client, type KeyHeaders, upstreamError, type UpstreamRequest } from './client.ts'
import type { Mint } from './mint.ts'
import { complaintIn, refusal } from './refusal.ts'

/** A call that upstream has created, known from the head of its answer. */
export type CreatedCall = Readonly<{
  id: string
  /** The key that created it, used for all requests about it. */
  key: KeyHeaders
  /** Upstream's own clock, milliseconds since 1970. */
  dateMs: number | null
}>

export type CallCreation = Readonly<{
  offer: string
  session: JsonObject
  safetyIdentifier: string
  requestId: string
  deadline: UpstreamRequest['deadline']
  /** The client's own name for a path of the upstream body; null where the client sent nothing there. */
  clientParam: (path: Path) => string | null
  /** Whether another call has this id: two cannot have it. */
  isTaken: (id: string) => boolean
  /** The first request leaves: from here on the call may cost something. */
  onAttempt: () => void
  /** The head of the answer has come: if anything fails from here on, the call must be hung up. */
  onCreated: (call: CreatedCall) => void
}>

export type UpstreamCalls = Readonly<{
  /** Throws ApiError; with `mayHaveSucceeded` where there may be a call whose id is lost. */
  create: (creation: CallCreation) => Promise<Readonly<{ answer: string }>>
  /** True where the call is over for certain. Never rejects. */
  hangUp: (call: CreatedCall, safetyIdentifier: string, signal?: AbortSignal) => Promise<boolean>
}>

const HANG_UP_MS = 5000
const SECRET_LIFETIME_SECONDS = 60

export type UpstreamCallsDeps = Readonly<{
  client: Pick<Client, 'request' | 'direct'>
  /** Null: the key creates calls. Else each call is created with a client secret of its own. */
  mint: Mint | null
  protocol: CallProtocol
  log: Pick<Log, 'error'>
}>

export function createUpstreamCalls ({ client, mint, protocol, log }: UpstreamCallsDeps): UpstreamCalls {
  async function post (creation: CallCreation, onKey: (key: KeyHeaders) => void, onHead: (head: Head) => void) {
    const { offer, session, safetyIdentifier, requestId, deadline, onAttempt, clientParam } = creation
    const common = { safetyIdentifier, requestId, deadline }
    const attempted = (key: KeyHeaders) => {
      onKey(key)
      onAttempt()
    }
    if (mint === null) {
      const { contentType, body } = formOf(offer, session)
      return client.request({
        ...common, path: protocol.createPath, contentType, body, isRepeatable: false, onAttempt: attempted, onHead
      })
    }
    const { value } = await mint({
      kind: 'realtime', session, expiresAfterSeconds: SECRET_LIFETIME_SECONDS, legacy: false, clientParam
    }, { ...common, onAttempt: attempted }).catch(asNoCall)
    return client.request({
      ...common,
      path: protocol.createPath,
      contentType: 'application/sdp',
      body: offer,
      isRepeatable: false,
      credential: { authorization: `Bearer ${value}` },
      onHead
    })
  }

  return {
    create: async (creation) => {
      let id: string | null = null
      let key: KeyHeaders = {}
      const onHead = ({ status, location, date }: Head) => {
        const dateMs = Date.parse(String(date))
        // The Location of a redirect names no call.
        const named = isSuccess(status) && location !== null ? protocol.idIn(location) : null
        id = named !== null && creation.isTaken(named) ? null : named
        if (id !== null) creation.onCreated({ id, key, dateMs: Number.isNaN(dateMs) ? null : dateMs })
      }
      try {
        return readCreated(await post(creation, (sent) => { key = sent }, onHead), id, creation)
      } catch (error) {
        throw error instanceof ApiError ? concluded(error, id !== null) : error
      }
    },
    hangUp: async ({ id, key }, safetyIdentifier, signal) => {
      const answer = await client.direct({
        path: protocol.hangUpPath(id), key, safetyIdentifier, withinMs: HANG_UP_MS, signal
      })
      if (answer instanceof ApiError) return false
      const { status, requestId } = answer
      if (status === 401 || status === 403) {
        log.error({ upstream_request_id: requestId }, 'upstream rejects the key of a call: the call cannot be ended')
      }
      return isOver(answer)
    }
  }
}

/** Upstream knows no such call: the answer to a hang-up, or to the upgrade of a sideband. */
export function isNotFound (status: number, code: unknown): boolean {
  return status === 404 || status === 410 || (status >= 400 && status < 500 && code === 'call_id_not_found')
}

/** Whether an answer to a hang-up says that the call is over. */
export function isOver (answer: UpstreamAnswer): boolean {
  return isSuccess(answer.status) || isNotFound(answer.status, upstreamError(answer)?.code)
}

function isSuccess (status: number): boolean {
  return status >= 200 && status < 300
}

function readCreated (answer: UpstreamAnswer, id: string | null, { clientParam }: CallCreation) {
  const { status, text, requestId: upstreamRequestId } = answer
  if (id === null && !isSuccess(status)) throw refusal(answer, complaint(answer, clientParam))
  // The content type is not checked: `text/plain` was seen.
  if (id === null || text?.startsWith('v=0') !== true) {
    throw new ApiError('upstream_error', { reason: 'unusable_answer', mayHaveSucceeded: true, upstreamRequestId })
  }
  return { answer: text }
}

/** The client's name for the field that upstream complains of; the offer is always the client's. */
function complaint (answer: UpstreamAnswer, clientParam: CallCreation['clientParam']): string | null {
  const path = complaintIn(answer)
  const isOfOffer = path?.join('.') === 'sdp' || /sdp|offer/.test(String(upstreamError(answer)?.code))
  return isOfOffer ? 'sdp' : path === null ? null : clientParam(path)
}

/** A secret that may have been minted is no call: no client has it. */
function asNoCall (error: unknown): never {
  throw error instanceof ApiError ? new ApiError(error.code, { ...detailsOf(error), mayHaveSucceeded: false }) : error
}

/** If a call was created, or may have been, SDKs must not retry: they would make two more. */
function concluded (error: ApiError, isCreated: boolean): ApiError {
  if (!isCreated && !error.mayHaveSucceeded) return error
  return new ApiError(error.code, { ...detailsOf(error), mayHaveSucceeded: !isCreated, retryCannotHelp: true })
}

function detailsOf ({ param, reason, retryAfterSeconds, retryCannotHelp, upstreamRequestId, cause }: ApiError) {
  return { param, reason, retryAfterSeconds, retryCannotHelp, upstreamRequestId, cause }
}

function formOf (offer: string, session: JsonObject): Readonly<{ contentType: string, body: string }> {
  const boundary = `call-${randomBytes(16).toString('hex')}`
  const part = (name: string, type: string, text: string) =>
    `--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\nContent-Type: ${type}\r\n\r\n${text}\r\n`
  return {
    contentType: `multipart/form-data; boundary=${boundary}`,
    body: part('sdp', 'application/sdp', offer) +
      part('session', 'application/json', JSON.stringify({ type: 'realtime', ...session })) + `--${boundary}--\r\n`
  }
}

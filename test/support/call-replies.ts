// How the tests' upstream may answer: to the creation of a call, to a sideband that attaches, to a hang-up.
// The replies of a mint (`json`, `failure`, `raw`, `reset`, `hang` of upstream.ts) answer creations and hang-ups too.

import type { ServerResponse } from 'node:http'
import { errorEvent } from './call-events.ts'
import type { Attach, AttachReply, CallRequest, CreateReply, HangUpReply } from './calls-upstream.ts'
import { ANSWER, AUDIO_ANSWER } from './sdp.ts'
import { failure, json } from './upstream.ts'

export type Accept = Readonly<{
  status?: number
  /** Null: no `Location`; any other string is sent unchanged. */
  location?: 'relative' | 'absolute' | null | string
  /** The SDP answer; by default with a data channel if the offer has one. */
  answer?: string
  headers?: Readonly<Record<string, string>>
}>

function head (request: CallRequest, response: ServerResponse, options: Accept): string {
  const { status = 201, location = 'relative', answer, headers = {} } = options
  const path = `/v1/realtime/calls/${request.open().id}`
  const locations: Record<string, string> = { relative: path, absolute: `https://api.openai.com${path}` }
  response.writeHead(status, {
    'content-type': 'text/plain; charset=utf-8',
    ...location === null ? {} : { location: locations[location] ?? location },
    'x-request-id': 'req_call_1',
    ...headers
  })
  return answer ?? (request.parts.sdp?.text.includes('m=application') ? ANSWER : AUDIO_ANSWER)
}

/** Creates the call and answers 201. */
export function accept (options: Accept = {}): CreateReply {
  return (request, response) => { response.end(head(request, response, options)) }
}

/** Creates the call, then answers with `reply`: `opened(hang)`, `opened(reset())`. */
export function opened (reply: CreateReply): CreateReply {
  return (request, response) => {
    request.open()
    reply(request, response)
  }
}

/** Answers 201, and breaks the connection within the body. */
export const cutBody: CreateReply = (request, response) => {
  const answer = head(request, response, { headers: { 'content-length': '4096' } })
  response.write(answer.slice(0, 20), () => response.destroy())
}

/** Answers 201, and never sends the body. */
export const stalledBody: CreateReply = (request, response) => {
  head(request, response, { headers: { 'content-length': '4096' } })
  response.flushHeaders()
}

export function redirect (status: number, location: string): CreateReply {
  return json(status, {}, { location })
}

/** Behaves as Azure does: 401 for the key; creates a call only for a client secret that was minted here. */
export const onlySecrets: CreateReply = (request, response) =>
  (request.isRaw ? accept() : failure(401))(request, response)

/** Holds the answer until `release` is called. */
export function held<Request> (reply: (request: Request, response: ServerResponse) => unknown) {
  const released = Promise.withResolvers<void>()
  return {
    release: () => released.resolve(),
    reply: async (request: Request, response: ServerResponse) => {
      await released.promise
      reply(request, response)
    }
  }
}

/** Answers 101 if the call is live, else 404. */
export const open: AttachReply = (attach) => { attach.call?.isLive() ? attach.accept() : notFound(attach) }

export const notFound: AttachReply = ({ refuse }) => refuse(404, 'call_id_not_found')

export function refusing (status: number, code = 'server_error'): AttachReply {
  return ({ refuse }) => refuse(status, code)
}

/** Answers 101, and then no event. */
export const silent: AttachReply = ({ accept }) => { accept(false) }

/** Answers 101, an `error` to the first `session.update`, and nothing after it. */
export function rejecting (code = 'invalid_value'): AttachReply {
  return ({ call, accept }) => {
    call?.on('session.update', ({ event_id: id }) => {
      call.on('session.update', () => {})
      call.push(errorEvent(code, typeof id === 'string' ? id : null))
    })
    accept()
  }
}

export function closing (code: number, reason?: string): AttachReply {
  return ({ accept }) => accept().close(code, reason)
}

/** Never answers the upgrade. */
export const stalled = (_attach: Attach): void => {}

/** Ends the call and answers 200, or 404 if it is already over. */
export const confirm: HangUpReply = (request, response) => {
  if (!request.call?.isLive()) return gone(404)(request, response)
  request.call.end(1000)
  response.writeHead(200).end()
}

/** Answers as OpenAI does for a call that has ended: seen with 404 and with 400. */
export function gone (status: 400 | 404): HangUpReply {
  return (request, response) => {
    if (request.call?.isLive()) request.call.end(1000)
    failure(status, 'call_id_not_found', { param: '' })(request, response)
  }
}

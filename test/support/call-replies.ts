// How the tests' upstream may answer: to the creation of a call, to a sideband that attaches, to a hang-up.
// The replies of a mint (`json`, `failure`, `raw`, `reset`, `hang` of upstream.ts) answer creations and hang-ups too.

import type { ServerResponse } from 'node:http'
import { errorEvent } from './call-events.ts'
import type { Attach, AttachReply, CallRequest, CreateReply, HangUpReply } from './calls-upstream.ts'
import { ANSWER, AUDIO_ANSWER } from './sdp.ts'
import { failure, json } from './upstream.ts'

export type Accept = Readonly<{
  status?: number
  /** Null: no `Location`; another string is sent as it is. */
  location?: 'relative' | 'absolute' | null | string
  /** By default one with a data channel where the offer has one. */
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

/** The call lives from here on. */
export function accept (options: Accept = {}): CreateReply {
  return (request, response) => { response.end(head(request, response, options)) }
}

/** A call, and then what `reply` makes of it: `opened(hang)`, `opened(reset())`. */
export function opened (reply: CreateReply): CreateReply {
  return (request, response) => {
    request.open()
    reply(request, response)
  }
}

/** 201, and the connection breaks within the answer. */
export const cutBody: CreateReply = (request, response) => {
  const answer = head(request, response, { headers: { 'content-length': '4096' } })
  response.write(answer.slice(0, 20), () => response.destroy())
}

/** 201, and the answer never comes. */
export const stalledBody: CreateReply = (request, response) => {
  head(request, response, { headers: { 'content-length': '4096' } })
  response.flushHeaders()
}

export function redirect (status: number, location: string): CreateReply {
  return json(status, {}, { location })
}

/** As Azure: 401 to the key; a call only with a client secret that was minted here. */
export const onlySecrets: CreateReply = (request, response) =>
  (request.isRaw ? accept() : failure(401))(request, response)

/** Answered when `release` is called, and not before. */
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

/** 101 where the call lives, 404 where it does not. */
export const open: AttachReply = (attach) => { attach.call?.isLive() ? attach.accept() : notFound(attach) }

export const notFound: AttachReply = ({ refuse }) => refuse(404, 'call_id_not_found')

export function refusing (status: number, code = 'server_error'): AttachReply {
  return ({ refuse }) => refuse(status, code)
}

/** 101, and no answer to anything. */
export const silent: AttachReply = ({ accept }) => { accept(false) }

/** 101, an `error` to the first `session.update`, and no answer after it. */
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

/** No answer to the upgrade. */
export const stalled = (_attach: Attach): void => {}

/** 200 and the call is over; 404 where it was. */
export const confirm: HangUpReply = (request, response) => {
  if (!request.call?.isLive()) return gone(404)(request, response)
  request.call.end(1000)
  response.writeHead(200).end()
}

/** The call had ended, as OpenAI says it: seen with 404 and with 400. */
export function gone (status: 400 | 404): HangUpReply {
  return (request, response) => {
    if (request.call?.isLive()) request.call.end(1000)
    failure(status, 'call_id_not_found', { param: '' })(request, response)
  }
}

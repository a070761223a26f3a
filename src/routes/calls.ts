// The routes of calls. A call belongs to its caller: for everyone else its address is a 404.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import Type from 'typebox'
import type { KnownCall } from '../calls/remote.ts'
import { Usage } from '../calls/usage.ts'
import { atMost } from '../clock.ts'
import { ApiError } from '../errors.ts'
import { type BodyParser, takeBodies } from '../http/bodies.ts'
import { CALL_BODIES } from '../http/call-form.ts'
import { assertEmpty, BODY_LIMIT_BYTES, STRICT_JSON } from '../http/strict-json.ts'
import type { AdmittedCaller } from './admission.ts'
import { type CallEntryDeps, setUpCall } from './call-entry.ts'
import { callEntry } from './decision.ts'

/** How long a request to hang up may wait for the end of the call, failed attempts included. */
export const HANG_UP_WAIT_MS = 5000

export const CallAnswer = Type.Object({
  id: Type.String(),
  object: Type.Literal('realtime.call'),
  status: Type.Enum(['live', 'ending', 'ended']),
  created_at: Type.Integer({ description: 'unix seconds' }),
  ends_at: Type.Integer({ description: 'unix seconds: when it ended, or at the latest will' }),
  end_reason: Type.Union([Type.String(), Type.Null()]),
  seconds: Type.Integer(),
  usage: Usage
})

export const CallList = Type.Object({ object: Type.Literal('list'), data: Type.Array(CallAnswer) })

/** A page that is left may send an empty body of any type. */
const NO_BODY: BodyParser = {
  type: '*',
  limitBytes: BODY_LIMIT_BYTES,
  parse: (body) => {
    if (body.length > 0) throw new ApiError('invalid_request')
    return {}
  }
}

type ById = { Params: { id: string } }

export function registerCalls (app: FastifyInstance, deps: CallEntryDeps): void {
  const { calls, clock } = deps

  const find = async (request: FastifyRequest<ById>): Promise<KnownCall> => {
    const call = await calls.find(request.caller as AdmittedCaller, request.params.id)
    if (call === undefined) throw new ApiError('not_found')
    return call
  }

  app.register(async (scope) => {
    takeBodies(scope, CALL_BODIES)
    const config = {
      audited: { family: 'call', entry: callEntry }, exposedHeaders: ['Location', 'X-Call-Seconds']
    } as const
    scope.post('/v1/realtime/calls', { config }, (request, reply) => setUpCall(deps, request, reply))
  })

  app.get('/v1/realtime/calls', { schema: { response: { 200: CallList } } }, async (request) => ({
    object: 'list', data: (await calls.live(request.caller as AdmittedCaller)).map(({ view }) => view())
  }))

  app.get<ById>('/v1/realtime/calls/:id', { schema: { response: { 200: CallAnswer } } }, async (request) =>
    (await find(request)).view())

  app.register(async (scope) => {
    takeBodies(scope, [STRICT_JSON, NO_BODY])
    const schema = { response: { 200: CallAnswer } }
    scope.post<ById>('/v1/realtime/calls/:id/hangup', { schema }, async (request) => {
      assertEmpty(request.body)
      const call = await find(request)
      call.end('client')
      await atMost(clock, HANG_UP_WAIT_MS, call.over)
      return (await find(request)).view()
    })
  })
}

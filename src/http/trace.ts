// W3C Trace Context, level 1: what a gateway says of the trace that a request belongs to, for log and audit lines.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { IsTrusted } from './address.ts'

/** Section 3.2.2. An id of zeros, and version ff, are none. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}$/

export type Trace = Readonly<{ trace_id?: string, parent_id?: string }>

const NONE: Trace = {}
const traces = new WeakMap<FastifyRequest['raw'], Trace>()

/** What comes from somebody whose word does not count is not looked at. */
export function registerTrace (app: FastifyInstance, isTrusted: IsTrusted): void {
  app.addHook('onRequest', ({ raw }, _reply, done) => {
    const { headers: { traceparent }, socket } = raw
    if (typeof traceparent === 'string' && isTrusted(socket.remoteAddress, 0)) {
      const [, traceId, parentId] = TRACEPARENT.exec(traceparent) ?? []
      if (traceId !== undefined && parentId !== undefined) traces.set(raw, { trace_id: traceId, parent_id: parentId })
    }
    done()
  })
}

export function traceOf ({ raw }: FastifyRequest): Trace {
  return traces.get(raw) ?? NONE
}

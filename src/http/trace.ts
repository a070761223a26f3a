// W3C Trace Context, level 1: the trace that a gateway puts a request in, for log and audit lines.

import type { IncomingMessage } from 'node:http'
import type { IsTrusted } from './address.ts'

/** Section 3.2.2. An id of zeros and version ff are invalid. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}$/

export type Trace = Readonly<{ trace_id?: string, parent_id?: string }>

const NONE: Trace = {}

/** The header of a peer that is no trusted proxy is ignored. */
export function readTrace ({ headers: { traceparent }, socket }: IncomingMessage, isTrusted: IsTrusted): Trace {
  if (typeof traceparent !== 'string' || !isTrusted(socket.remoteAddress, 0)) return NONE
  const [, traceId, parentId] = TRACEPARENT.exec(traceparent) ?? []
  return traceId === undefined || parentId === undefined ? NONE : { trace_id: traceId, parent_id: parentId }
}

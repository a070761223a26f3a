// Looks for what a client does in a call beside changing its session: responses of another kind, items that it must not
// add or remove, tools that the session does not have. It only looks: what is done about it is the guard's business.

import { isDeepStrictEqual } from 'node:util'
import type { Clock } from '../clock.ts'
import { getIn, type Json, type JsonObject, merge } from '../json.ts'
import { isSame, type Judge } from '../policy/judge.ts'
import type { Tool } from '../realtime/call-items.ts'
import type { CallProtocol, Signal } from '../realtime/call-protocol.ts'

export type Finding = Readonly<{
  paths: readonly string[]
  /** It follows from a change of the session that was found before. */
  isKnown: boolean
  remedy:
    | Readonly<{ did: 'cancelled', responseIds: readonly string[] }>
    /** There is nothing to cancel. */
    | Readonly<{ did: 'reported' }>
    | Readonly<{ did: 'deleted', itemId: string }>
    /** Nothing helps. */
    | Readonly<{ did: 'ended' }>
}>

/** What is in force: the policy's, and as it was told last. */
export type InForce = Readonly<{ baseline: JsonObject, told: JsonObject }>

export type Onlooker = Readonly<{
  look: (signal: Signal, inForce: InForce) => Finding | null
  /** We delete it. */
  willDelete: (itemId: string) => void
  /** Something happened that was not seen. */
  miss: () => void
}>

/** Of each kind: more is no call of a person. */
const MAX_IDS = 10_000
/** What a model takes for the operator's word. */
const OPERATORS: ReadonlySet<string | null> = new Set(['system', 'developer'])
/** So long the output of a call that was not seen may come. */
const UNSEEN_MS = 60_000

export function createOnlooker ({ clock, protocol, judge, openResponses }: Readonly<{
  clock: Pick<Clock, 'monotonicMs'>
  protocol: Pick<CallProtocol, 'hasTool'>
  judge: Judge
  openResponses: () => readonly string[]
}>): Onlooker {
  /** Each is found once. */
  const found = new Set<string>()
  const calls = new Set<string>()
  const items = new Set<string>()
  const deleted = new Set<string>()
  let isAtStart = true
  let missedUntilMs = -Infinity

  function remember (ids: Set<string>, id: string | null): void {
    if (id !== null && ids.size < MAX_IDS) ids.add(id)
  }

  /** `cause` is found once where there is no response to cancel. */
  function cancel (
    paths: readonly string[], responseId: string | null, { isKnown = false, cause = responseId } = {}
  ): Finding | null {
    const open = responseId === null ? openResponses().filter((id) => id !== '') : [responseId]
    const ids = open.length === 0 ? [cause] : open
    const news = ids.filter((id) => id === null || !found.has(id))
    if (news.length === 0) return null
    for (const id of news) remember(found, id)
    const responseIds = open.filter((id) => news.includes(id))
    if (responseIds.length === 0) return { paths, isKnown, remedy: { did: 'reported' } }
    return { paths, isKnown, remedy: { did: 'cancelled', responseIds } }
  }

  function lookAtResponse (
    { id, isOutOfBand, settings }: Signal & { is: 'response', isOpen: true }, { baseline, told }: InForce
  ): Finding | null {
    if (isOutOfBand) return cancel(['response.conversation'], id)
    const asked = merge(baseline, settings)
    // Most are as the session says, which needs no judge: that took a tenth of all events' time.
    if (isDeepStrictEqual(asked, baseline)) return null
    const { refused, ignored } = judge(baseline, asked)
    const wrong = [...refused, ...ignored]
    if (wrong.length === 0) return null
    const isAsTold = wrong.every((path) => isSame(getIn(told, path) ?? null, getIn(asked, path) as Json))
    return cancel(wrong.map((path) => `response.${path.join('.')}`), id, { isKnown: isAsTold || refused.length === 0 })
  }

  function lookAtTool (
    tool: Tool, responseId: string | null, itemId: string | null, { baseline, told }: InForce
  ): Finding | null {
    if (protocol.hasTool(baseline, tool)) return null
    return cancel(['response.tools'], responseId, { isKnown: protocol.hasTool(told, tool), cause: itemId })
  }

  function lookAtItem ({ item }: Signal & { is: 'item' }, inForce: InForce): Finding | null {
    const { id, type, role, callId, tool } = item
    remember(items, id)
    if (role === 'user' || type === 'function_call_output') isAtStart = false
    const isForged = type === 'function_call_output' && clock.monotonicMs() > missedUntilMs &&
      calls.size < MAX_IDS && !calls.has(callId ?? '')
    if (OPERATORS.has(role) || isForged) {
      const paths = [isForged ? 'item.call_id' : 'item.role']
      return { paths, isKnown: false, remedy: id === null ? { did: 'ended' } : { did: 'deleted', itemId: id } }
    }
    return tool?.is === 'mcp' ? lookAtTool(tool, null, id, inForce) : null
  }

  return {
    look: (signal, inForce) => {
      if (signal.is === 'response' && signal.isOpen) return lookAtResponse(signal, inForce)
      if (signal.is === 'item') return lookAtItem(signal, inForce)
      if (signal.is === 'output') {
        const { responseId, item: { id, callId, tool } } = signal
        remember(items, id)
        remember(calls, callId)
        return tool === null ? null : lookAtTool(tool, responseId, id, inForce)
      }
      if (signal.is === 'mcp') {
        return lookAtTool({ is: 'mcp', name: null }, signal.responseId, signal.itemId, inForce)
      }
      if (signal.is !== 'removed' || !isAtStart) return null
      const isSeen = signal.itemId !== null && (deleted.has(signal.itemId) || items.has(signal.itemId))
      return isSeen ? null : { paths: ['item'], isKnown: false, remedy: { did: 'ended' } }
    },
    willDelete: (itemId) => remember(deleted, itemId),
    miss: () => {
      isAtStart = false
      missedUntilMs = clock.monotonicMs() + UNSEEN_MS
    }
  }
}

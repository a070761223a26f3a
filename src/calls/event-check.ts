// Checks the events of a call beside those of its session: responses of another kind, items that the client must not
// add or remove, tools that the session does not have. The guard acts on what is found.

import { isDeepStrictEqual } from 'node:util'
import type { Clock } from '../clock.ts'
import { getIn, type Json, type JsonObject, merge } from '../json.ts'
import { type CheckSession, isSame } from '../policy/session-check.ts'
import type { Tool } from '../realtime/call-items.ts'
import type { CallProtocol, Signal } from '../realtime/call-protocol.ts'

export type Violation = Readonly<{
  paths: readonly string[]
  /** Follows from a change of the session that was found before. */
  isKnown: boolean
  remedy:
    | Readonly<{ did: 'cancelled', responseIds: readonly string[] }>
    /** There is nothing to cancel. */
    | Readonly<{ did: 'reported' }>
    | Readonly<{ did: 'deleted', itemId: string }>
    /** Nothing helps. */
    | Readonly<{ did: 'ended' }>
}>

/** The session that the policy allows, and the one that upstream reported last. */
export type InForce = Readonly<{ baseline: JsonObject, latest: JsonObject }>

export type EventCheck = Readonly<{
  check: (signal: Signal, inForce: InForce) => Violation | null
  /** The guard deletes this item. */
  willDelete: (itemId: string) => void
  /** Events may have been missed. */
  noteGap: () => void
}>

/** Cap for each set of ids: a person's call has fewer. */
const MAX_IDS = 10_000
/** Roles whose text a model takes for the operator's. */
const OPERATORS: ReadonlySet<string | null> = new Set(['system', 'developer'])
/** How long after a gap the output of a function call that was not seen may come. */
const UNSEEN_MS = 60_000

export function createEventCheck ({ clock, protocol, checkSession, openResponses }: Readonly<{
  clock: Pick<Clock, 'monotonicMs'>
  protocol: Pick<CallProtocol, 'hasTool'>
  checkSession: CheckSession
  openResponses: () => readonly string[]
}>): EventCheck {
  /** Ids that were reported, each once. */
  const found = new Set<string>()
  const calls = new Set<string>()
  const items = new Set<string>()
  const deleted = new Set<string>()
  let isAtStart = true
  let missedUntilMs = -Infinity

  function remember (ids: Set<string>, id: string | null): void {
    if (id !== null && ids.size < MAX_IDS) ids.add(id)
  }

  /** Reports `cause` once where there is no response to cancel. */
  function cancel (
    paths: readonly string[], responseId: string | null, { isKnown = false, cause = responseId } = {}
  ): Violation | null {
    const open = responseId === null ? openResponses().filter((id) => id !== '') : [responseId]
    const ids = open.length === 0 ? [cause] : open
    const news = ids.filter((id) => id === null || !found.has(id))
    if (news.length === 0) return null
    for (const id of news) remember(found, id)
    const responseIds = open.filter((id) => news.includes(id))
    if (responseIds.length === 0) return { paths, isKnown, remedy: { did: 'reported' } }
    return { paths, isKnown, remedy: { did: 'cancelled', responseIds } }
  }

  function checkResponse (
    { id, isOutOfBand, settings }: Signal & { is: 'response', isOpen: true }, { baseline, latest }: InForce
  ): Violation | null {
    if (isOutOfBand) return cancel(['response.conversation'], id)
    const asked = merge(baseline, settings)
    // Most responses follow the session and need no check, which took a tenth of the time of all events.
    if (isDeepStrictEqual(asked, baseline)) return null
    const { refused, ignored } = checkSession(baseline, asked)
    const wrong = [...refused, ...ignored]
    if (wrong.length === 0) return null
    const isAsLatest = wrong.every((path) => isSame(getIn(latest, path) ?? null, getIn(asked, path) as Json))
    const paths = wrong.map((path) => `response.${path.join('.')}`)
    return cancel(paths, id, { isKnown: isAsLatest || refused.length === 0 })
  }

  function checkTool (
    tool: Tool, responseId: string | null, itemId: string | null, { baseline, latest }: InForce
  ): Violation | null {
    if (protocol.hasTool(baseline, tool)) return null
    return cancel(['response.tools'], responseId, { isKnown: protocol.hasTool(latest, tool), cause: itemId })
  }

  function checkItem ({ item }: Signal & { is: 'item' }, inForce: InForce): Violation | null {
    const { id, type, role, callId, tool } = item
    remember(items, id)
    if (role === 'user' || type === 'function_call_output') isAtStart = false
    const isForged = type === 'function_call_output' && clock.monotonicMs() > missedUntilMs &&
      calls.size < MAX_IDS && !calls.has(callId ?? '')
    if (OPERATORS.has(role) || isForged) {
      const paths = [isForged ? 'item.call_id' : 'item.role']
      return { paths, isKnown: false, remedy: id === null ? { did: 'ended' } : { did: 'deleted', itemId: id } }
    }
    return tool?.is === 'mcp' ? checkTool(tool, null, id, inForce) : null
  }

  return {
    check: (signal, inForce) => {
      if (signal.is === 'response' && signal.isOpen) return checkResponse(signal, inForce)
      if (signal.is === 'item') return checkItem(signal, inForce)
      if (signal.is === 'output') {
        const { responseId, item: { id, callId, tool } } = signal
        remember(items, id)
        remember(calls, callId)
        return tool === null ? null : checkTool(tool, responseId, id, inForce)
      }
      if (signal.is === 'mcp') {
        return checkTool({ is: 'mcp', name: null }, signal.responseId, signal.itemId, inForce)
      }
      if (signal.is !== 'removed' || !isAtStart) return null
      const isSeen = signal.itemId !== null && (deleted.has(signal.itemId) || items.has(signal.itemId))
      return isSeen ? null : { paths: ['item'], isKnown: false, remedy: { did: 'ended' } }
    },
    willDelete: (itemId) => remember(deleted, itemId),
    noteGap: () => {
      isAtStart = false
      missedUntilMs = clock.monotonicMs() + UNSEEN_MS
    }
  }
}

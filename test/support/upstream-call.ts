// One call of the tests' upstream: its session, its sideband, and the events that the service sent on it.

import { EventEmitter } from 'node:events'
import type { WebSocket } from 'ws'
import { isObject, type JsonObject } from '../../src/json.ts'
import { checkGaSession } from '../../src/sandbox/openai/checks.ts'
import { OpenaiError } from '../../src/sandbox/openai/error.ts'
import { completeSession, updateSession } from '../../src/sandbox/openai/session-object.ts'
import { errorEvent, itemDeleted } from './call-events.ts'
import { inSeconds } from './upstream.ts'

export type Handler = (event: JsonObject, call: Call) => void

export type Call = Readonly<{
  id: string
  safetyIdentifier: string | null
  /** The effective session, defaults filled in. */
  session: () => JsonObject
  isLive: () => boolean
  /** Sends events to the sideband in order, each with an event id; they are lost where none is attached. */
  push: (...events: JsonObject[]) => void
  /** Sends a frame unchanged, for frames that are not JSON or too large. */
  pushRaw: (frame: string | Buffer) => void
  /** Merges a `session.update` of the browser, and reports it on the sideband unless `isShown` is false. */
  change: (update: JsonObject, isShown?: boolean) => void
  /** Every event that the service sent, over all sidebands of this call. */
  received: readonly JsonObject[]
  /** Takes the first event of this type that was not taken yet, or waits for it. */
  next: (type: string) => Promise<JsonObject>
  /** Sets the answer to events of a type. By default `session.update` and `conversation.item.delete` are answered as
   *  by the API, and other events not at all. */
  on: (type: string, handler: Handler) => void
  /** Closes the sideband; the call lives on. */
  close: (code: number, reason?: string) => void
  /** Drops the connection without a close frame (1006); the call lives on. */
  drop: () => void
  /** Stops answering pings and reading events. */
  freeze: () => void
  /** Ends the call and closes its sideband with `code`; with null the sideband stays open, and silent. */
  end: (code?: number | null, reason?: string) => void
}>

export type OwnedCall = Call & Readonly<{ join: (sideband: WebSocket, answers: boolean) => void }>

export function createCall (
  id: string, safetyIdentifier: string | null, asked: JsonObject, onChange: () => void
): OwnedCall {
  const suffix = id.replace(/^rtc/, 'sess')
  const received: JsonObject[] = []
  const taken = new Set<JsonObject>()
  const arrivals = new EventEmitter().setMaxListeners(0)
  const handlers = new Map<string, Handler>([['session.update', answerUpdate], [
    'conversation.item.delete', ({ item_id: itemId }) => call.push(itemDeleted(String(itemId)))
  ]])
  let session: JsonObject = { ...completeSession('realtime', asked, inSeconds(3600)), id: suffix }
  const joined = new Set<WebSocket>()
  let sideband: WebSocket | null = null
  let isLive = true
  let events = 0

  function answerUpdate ({ session: update, event_id: eventId }: JsonObject): void {
    try {
      if (!isObject(update) || update.type !== 'realtime') throw new OpenaiError(400, '', 'invalid_value')
      checkGaSession('realtime', update)
      call.change(update)
    } catch (error) {
      if (!(error instanceof OpenaiError)) throw error
      call.push(errorEvent(String(error.code), typeof eventId === 'string' ? eventId : null))
    }
  }

  const call: OwnedCall = {
    id,
    safetyIdentifier,
    session: () => session,
    isLive: () => isLive,
    push: (...pushed) => {
      for (const { type, ...fields } of pushed) {
        sideband?.send(JSON.stringify({ type, event_id: `event_${id}_${++events}`, ...fields }))
      }
    },
    pushRaw: (frame) => sideband?.send(frame),
    change: (update, isShown = true) => {
      session = updateSession(session, update)
      if (isShown) call.push({ type: 'session.updated', session })
    },
    received,
    next: async (type) => {
      for (;;) {
        const found = received.find((event) => event.type === type && !taken.has(event))
        if (found !== undefined) {
          taken.add(found)
          return found
        }
        await new Promise<void>((resolve) => arrivals.once('event', resolve))
      }
    },
    on: (type, handler) => { handlers.set(type, handler) },
    close: (code, reason) => sideband?.close(code, reason),
    drop: () => sideband?.terminate(),
    freeze: () => sideband?.pause(),
    end: (code = 1000, reason) => {
      isLive = false
      if (code !== null) for (const one of joined) one.close(code, reason)
      onChange()
    },
    join: (joining, answers) => {
      sideband = joining
      joined.add(joining)
      joining.on('message', (data) => {
        const event: JsonObject = JSON.parse(data.toString())
        received.push(event)
        if (answers) handlers.get(String(event.type))?.(event, call)
        arrivals.emit('event')
      })
      joining.on('error', () => {})
      joining.on('close', () => {
        joined.delete(joining)
        if (sideband === joining) sideband = null
        onChange()
      })
    }
  }
  return call
}

// The parts of calls that are specific to the Realtime API. Another API would be another value of this type.

import { getIn, isObject, type Json, type JsonObject, type Path, setIn } from '../json.ts'
import { hasTool, type Item, readItem, type Tool } from './call-items.ts'
import { VOICE } from './session-fields.ts'

/** The meaning of an event for the call; events without one are not parsed. */
export type Signal =
  | Readonly<{ is: 'session', session: JsonObject, expiresAtSeconds: number | null }>
  | Readonly<{ is: 'speech' | 'playback', isOpen: boolean }>
  | Readonly<{ is: 'response', id: string | null, isOpen: true, isOutOfBand: boolean, settings: JsonObject }>
  | Readonly<{ is: 'response', id: string | null, isOpen: false, isFailed: boolean, usage: Json }>
  | Readonly<{ is: 'committed', itemId: string | null }>
  | Readonly<{ is: 'transcription', itemId: string | null, isFailed: boolean, usage: Json }>
  | Readonly<{ is: 'item', item: Item }>
  | Readonly<{ is: 'removed', itemId: string | null }>
  /** Activity of a response. */
  | Readonly<{ is: 'output', responseId: string | null, item: Item }>
  /** Activity of an MCP server. */
  | Readonly<{ is: 'mcp', responseId: string | null, itemId: string | null }>
  | Readonly<{ is: 'error', code: string | null, eventId: string | null }>
  /** An event of a known type that is not JSON. */
  | Readonly<{ is: 'unreadable' }>

export type CallProtocol = Readonly<{
  /** Prefix of our own ids. */
  idPrefix: string
  /** Path below the base URL. */
  createPath: string
  /** The call id in `Location` of the answer to a creation. Null where the path ends in none. */
  idIn: (location: string) => string | null
  hangUpPath: (id: string) => string
  sidebandPath: (id: string) => string
  /** An event whose answer has the whole session. `fixed`: the values that the policy fixes. */
  readEvent: (eventId: string, fixed: JsonObject) => JsonObject
  /** Sets fields of the session, each as a whole. */
  updateEvent: (eventId: string, fields: readonly Readonly<{ field: Path, value: Json }>[]) => JsonObject
  cancelEvent: (eventId: string, responseId: string) => JsonObject
  deleteEvent: (eventId: string, itemId: string) => JsonObject
  /** Whether an error says that what was to be cancelled or deleted is over or gone already. */
  isTooLate: (errorCode: string | null) => boolean
  /** The field that cannot be set any more once something was heard. */
  fixedOnceHeard: Path
  hasTool: (session: JsonObject, tool: Tool) => boolean
  /** `body` parses the event; undefined where it is no JSON object. Null: of no interest. */
  signalOf: (type: string, body: () => JsonObject | undefined) => Signal | null
  /** Whether upstream ended the call because it was the longest possible. */
  isExpired: (closeReason: string, errorCode: string | null) => boolean
  /** The longest duration of a call unless upstream reports one. */
  longestMs: number
}>

/** Ids and codes are upstream's choice, and kept for as long as the call. OpenAI's have about 30 characters. */
const MAX_ID_LENGTH = 256

type ReadSignal = Signal | ((event: JsonObject) => Signal | null)

const CALL_PATH = /\/realtime\/calls\/(rtc_[A-Za-z0-9_-]{1,200})$/
/** The first that the policy fixes is set to its own value: that changes nothing, and the answer has every field. */
const READ_BY = ['max_output_tokens', 'output_modalities', 'tool_choice', 'instructions'] as const

const TOO_LATE: ReadonlySet<string | null> = new Set(['response_cancel_not_active', 'item_delete_invalid_item_id'])

const mcp = (event: JsonObject): Signal => ({
  is: 'mcp', responseId: textIn(event, 'response_id'), itemId: textIn(event, 'item_id')
})
const removed = (event: JsonObject): Signal => ({ is: 'removed', itemId: textIn(event, 'item_id') })

const READINGS: Readonly<Record<string, ReadSignal>> = {
  'session.updated': ({ session }) => {
    if (!isObject(session)) return null
    const { expires_at: at } = session
    return { is: 'session', session, expiresAtSeconds: typeof at === 'number' ? at : null }
  },
  'input_audio_buffer.speech_started': { is: 'speech', isOpen: true },
  'input_audio_buffer.speech_stopped': { is: 'speech', isOpen: false },
  'input_audio_buffer.committed': (event) => ({ is: 'committed', itemId: textIn(event, 'item_id') }),
  'output_audio_buffer.started': { is: 'playback', isOpen: true },
  'output_audio_buffer.stopped': { is: 'playback', isOpen: false },
  'output_audio_buffer.cleared': { is: 'playback', isOpen: false },
  'conversation.item.added': ({ item }) => ({ is: 'item', item: readItem(item) }),
  'conversation.item.deleted': removed,
  'conversation.item.truncated': removed,
  'response.created': (event) => ({
    is: 'response',
    id: textIn(event, 'response', 'id'),
    isOpen: true,
    isOutOfBand: getIn(event, ['response', 'conversation_id']) === null,
    settings: responseSettings(event)
  }),
  'response.output_item.added': (event) => (
    { is: 'output', responseId: textIn(event, 'response_id'), item: readItem(event.item) }
  ),
  'mcp_list_tools.in_progress': mcp,
  'mcp_list_tools.completed': mcp,
  'mcp_list_tools.failed': mcp,
  'response.mcp_call.in_progress': mcp,
  'response.mcp_call.completed': mcp,
  'response.mcp_call.failed': mcp,
  'response.done': (event) => ({
    is: 'response',
    id: textIn(event, 'response', 'id'),
    isOpen: false,
    isFailed: textIn(event, 'response', 'status') === 'failed',
    usage: getIn(event, ['response', 'usage']) ?? null
  }),
  'conversation.item.input_audio_transcription.completed': (event) => transcription(event, false),
  'conversation.item.input_audio_transcription.failed': (event) => transcription(event, true),
  error: (event) => ({
    is: 'error', code: textIn(event, 'error', 'code'), eventId: textIn(event, 'error', 'event_id')
  })
}

export const REALTIME_CALLS: CallProtocol = {
  idPrefix: 'rtc_',
  createPath: '/realtime/calls',
  idIn: (location) => {
    // A host in Location is ignored: no request goes there.
    const path = URL.parse(location, 'https://upstream.invalid')?.pathname ?? ''
    return CALL_PATH.exec(path)?.[1] ?? null
  },
  hangUpPath: (id) => `/realtime/calls/${id}/hangup`,
  sidebandPath: (id) => `/realtime?call_id=${id}`,
  readEvent: (eventId, fixed) => {
    const field = READ_BY.find((name) => fixed[name] !== undefined)
    const same = field === undefined ? {} : { [field]: fixed[field] as Json }
    return { type: 'session.update', event_id: eventId, session: { type: 'realtime', ...same } }
  },
  updateEvent: (eventId, fields) => {
    const session: JsonObject = { type: 'realtime' }
    for (const { field, value } of fields) setIn(session, field, value)
    return { type: 'session.update', event_id: eventId, session }
  },
  deleteEvent: (eventId, itemId) => ({ type: 'conversation.item.delete', event_id: eventId, item_id: itemId }),
  isTooLate: (errorCode) => TOO_LATE.has(errorCode),
  fixedOnceHeard: VOICE,
  hasTool,
  cancelEvent: (eventId, responseId) => ({ type: 'response.cancel', event_id: eventId, response_id: responseId }),
  signalOf: (type, body) => {
    const reading = Object.hasOwn(READINGS, type) ? READINGS[type] as ReadSignal : null
    if (typeof reading !== 'function') return reading
    const event = body()
    return event === undefined ? { is: 'unreadable' } : reading(event)
  },
  isExpired: (closeReason, errorCode) =>
    errorCode === 'session_expired' || /maximum duration/i.test(closeReason),
  longestMs: 3_600_000
}

/** The settings of a response, as members of a session. */
function responseSettings ({ response = null }: JsonObject): JsonObject {
  const settings: JsonObject = {}
  for (const path of [['output_modalities'], ['max_output_tokens'], VOICE]) {
    const value = getIn(response, path) ?? null
    if (value !== null) setIn(settings, path, value)
  }
  return settings
}

function transcription (event: JsonObject, isFailed: boolean): Signal {
  return { is: 'transcription', itemId: textIn(event, 'item_id'), isFailed, usage: getIn(event, ['usage']) ?? null }
}

function textIn (event: JsonObject, ...path: string[]): string | null {
  const found = getIn(event, path)
  return typeof found === 'string' && found.length <= MAX_ID_LENGTH ? found : null
}

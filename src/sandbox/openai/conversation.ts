// The events of one realtime session, over whatever carries them: a WebSocket, or the data channel of a call.
// It plays the session itself, and answers as a model that has one thing to say.

import { isObject, type JsonObject } from '../../json.ts'
import { checkGaSession } from './checks.ts'
import { invalidValue, missingParameter, openaiEnvelope, OpenaiError } from './error.ts'
import { updateSession } from './session-object.ts'
import { newId, type SessionConfig } from './session-store.ts'

export type Send = (event: JsonObject) => void
type Emit = (type: string, fields: JsonObject) => void

/** Sends `session.created`; what comes back takes each message of the client. */
export function startConversation (config: SessionConfig, send: Send): (message: string) => void {
  let { session } = config
  const emit: Emit = (type, fields) => send({ type, event_id: newId('event'), ...fields })

  emit('session.created', { session })
  return (message) => {
    const event = parse(message)
    try {
      if (typeof event?.type !== 'string') throw missingParameter('type')
      switch (event.type) {
        case 'session.update':
          session = update(config, session, event)
          return emit('session.updated', { session })
        case 'response.create':
          return respond(session, emit)
        case 'conversation.item.create':
          return addItem(event, emit)
        // Audio is accepted and ignored, as is what says that it is complete: nobody listens here.
        case 'input_audio_buffer.append': case 'input_audio_buffer.commit': case 'input_audio_buffer.clear':
          return
        default:
          throw invalidValue('type', `The sandbox does not play '${event.type.slice(0, 80)}'.`)
      }
    } catch (error) {
      if (!(error instanceof OpenaiError)) throw error
      emit('error', { error: { ...openaiEnvelope(error).error, event_id: event?.event_id ?? null } })
    }
  }
}

function update ({ kind, legacy }: SessionConfig, session: JsonObject, event: JsonObject): JsonObject {
  const { session: asked } = event
  if (!isObject(asked)) throw missingParameter('session')
  if (!legacy) {
    if (kind !== 'translation' && asked.type !== kind) {
      throw asked.type === undefined ? missingParameter('session.type') : invalidValue('session.type')
    }
    // A translation names its model when it is minted, and no more.
    checkGaSession(kind, kind === 'translation' ? { model: 'minted', ...asked } : asked)
  }
  if (asked.model !== undefined && asked.model !== session.model) {
    throw invalidValue('session.model', 'The model of a session cannot be changed.')
  }
  return updateSession(session, asked)
}

function addItem (event: JsonObject, emit: Emit): void {
  if (!isObject(event.item)) throw missingParameter('item')
  const item = { id: newId('item'), object: 'realtime.item', status: 'completed', ...event.item }
  for (const type of ['conversation.item.added', 'conversation.item.done']) emit(type, { previous_item_id: null, item })
}

/** The documented order of a text response. A session that would speak is answered in text too: there is no voice here. */
function respond (session: JsonObject, emit: Emit): void {
  const text = `This is the sandbox. Your session runs with the model ${String(session.model)}.`
  const id = newId('resp')
  const message: JsonObject = { id: newId('item'), object: 'realtime.item', type: 'message', role: 'assistant' }
  const at = { response_id: id, item_id: message.id as string, output_index: 0, content_index: 0 }
  const response = (status: string, output: JsonObject[]) =>
    ({ response: { id, object: 'realtime.response', status, output_modalities: ['text'], output } })
  const open: JsonObject = { ...message, status: 'in_progress', content: [] }
  const done: JsonObject = { ...message, status: 'completed', content: [{ type: 'output_text', text }] }

  emit('response.created', response('in_progress', []))
  emit('response.output_item.added', { response_id: id, output_index: 0, item: open })
  emit('conversation.item.added', { previous_item_id: null, item: open })
  emit('response.content_part.added', { ...at, part: { type: 'text', text: '' } })
  emit('response.output_text.delta', { ...at, delta: text })
  emit('response.output_text.done', { ...at, text })
  emit('response.content_part.done', { ...at, part: { type: 'text', text } })
  emit('conversation.item.done', { previous_item_id: null, item: done })
  emit('response.output_item.done', { response_id: id, output_index: 0, item: done })
  emit('response.done', response('completed', [done]))
}

function parse (message: string): JsonObject | null {
  try {
    const event = JSON.parse(message)
    return isObject(event) ? event : null
  } catch {
    return null
  }
}

// One realtime session and who takes part in it: a WebSocket, the data channel of a call, the sideband of its server.
// The emulator plays the session itself, and answers as a model that has one thing to say.

import { getIn, isObject, type JsonObject } from '../../json.ts'
import { checkGaSession } from './checks.ts'
import { invalidValue, missingParameter, openaiEnvelope, OpenaiError, unknownParameter } from './error.ts'
import { type ActiveResponse, type CancelReason, type Emit, startResponse, textOf } from './response.ts'
import { updateSession } from './session-object.ts'
import { newId, type SessionConfig } from './session-store.ts'
import { createSpeechDetector } from './speech-detector.ts'

export type Send = (event: JsonObject) => void

/** The speaker of a call. */
export type Voice = Readonly<{ play: (milliseconds: number, ended: () => void) => void, stopPlaying: () => void }>

export type Participant = Readonly<{ receive: (message: string) => void, leave: () => void }>

export type Conversation = Readonly<{
  /** A client gets `session.created` first; a sideband gets what comes from then on. */
  join: (send: Send, as?: 'client' | 'sideband') => Participant
  /** A frame of the user's audio. */
  hear: (frame: Uint8Array) => void
  end: () => void
}>

export type ConversationOptions = Readonly<{
  /** Null: the session answers in text. */
  voice?: Voice | null
  /** Whether an update by the client is shown to the sideband too: not documented. */
  mirrorsUpdates?: boolean
}>

const RESPONSE_FIELDS = [
  'audio', 'conversation', 'input', 'instructions', 'max_output_tokens', 'metadata', 'output_modalities',
  'parallel_tool_calls', 'prompt', 'reasoning', 'tool_choice', 'tools'
]

export function startConversation (
  config: SessionConfig, { voice = null, mirrorsUpdates = true }: ConversationOptions = {}
): Conversation {
  let { session } = config
  const participants = new Map<Send, 'client' | 'sideband'>()
  const items = new Map<string, JsonObject>()
  let active: ActiveResponse | null = null
  let playing: string | null = null
  let hasSpoken = false
  let turnItem: string | null = null
  let answeredMs = 0
  const detection = () => {
    const found = getIn(session, ['audio', 'input', 'turn_detection'])
    return isObject(found) ? found : null
  }
  const detector = createSpeechDetector(detection, (event) => event === 'started' ? speechStarted() : speechStopped())

  const emit: Emit = (type, fields) => {
    const event = { type, event_id: newId('event'), ...fields }
    for (const send of participants.keys()) send(event)
  }

  function receive (sender: Send, message: string): void {
    const reply: Emit = (type, fields) => sender({ type, event_id: newId('event'), ...fields })
    const event = parse(message)
    try {
      if (typeof event?.type !== 'string') throw missingParameter('type')
      take(event as JsonObject & { type: string }, sender, reply)
    } catch (error) {
      if (!(error instanceof OpenaiError)) throw error
      reply('error', { error: { ...openaiEnvelope(error).error, event_id: event?.event_id ?? null } })
    }
  }

  function take (event: JsonObject & { type: string }, sender: Send, reply: Emit): void {
    switch (event.type) {
      case 'session.update':
        session = update(config, session, event, hasSpoken)
        return emitUpdated(sender)
      case 'response.create':
        return respond(event.response ?? {})
      case 'response.cancel':
        if (active === null || (event.response_id ?? active.id) !== active.id) {
          throw new OpenaiError(400, 'Cancellation failed: no active response found', 'response_cancel_not_active')
        }
        return stopResponse('client_cancelled')
      case 'conversation.item.create':
        return addItem(event)
      case 'conversation.item.delete': case 'conversation.item.truncate': case 'conversation.item.retrieve':
        return withItem(event, reply)
      case 'output_audio_buffer.clear':
        return stopPlaying()
      // Audio that a WebSocket appends is ignored.
      case 'input_audio_buffer.append':
        return
      case 'input_audio_buffer.commit':
        return commit(turnItem ?? newId('item'))
      case 'input_audio_buffer.clear':
        return emit('input_audio_buffer.cleared', {})
      default:
        throw invalidValue('type', `The sandbox does not play '${event.type.slice(0, 80)}'.`)
    }
  }

  function emitUpdated (sender: Send): void {
    const event = { type: 'session.updated', event_id: newId('event'), session }
    for (const [send, part] of participants) {
      if (send === sender || mirrorsUpdates || part === 'client') send(event)
    }
  }

  function respond (asked: unknown): void {
    if (!isObject(asked)) throw invalidValue('response')
    const unknown = Object.keys(asked).find((field) => !config.legacy && !RESPONSE_FIELDS.includes(field))
    if (unknown !== undefined) throw unknownParameter(`response.${unknown}`)
    if (active !== null) {
      throw new OpenaiError(
        400, 'Conversation already has an active response in progress.', 'conversation_already_has_active_response'
      )
    }
    const ownVoice = voiceIn(asked)
    if (hasSpoken && ownVoice !== undefined && ownVoice !== voiceIn(session)) {
      throw voiceIsSet('response.audio.output.voice')
    }
    const heardMs = detector.atMs() - answeredMs
    answeredMs = detector.atMs()
    const modalities = asked.output_modalities ?? session.output_modalities
    let isOver = false
    const response = startResponse({
      session,
      asked,
      heardMs,
      text: [...items.values()].map(textOf).join(' '),
      isSpoken: voice !== null && Array.isArray(modalities) && modalities.includes('audio'),
      emit,
      play,
      remember,
      ended: () => { isOver = true; active = null }
    })
    active = isOver ? null : response
  }

  function stopResponse (reason: CancelReason): void {
    active?.cancel(reason)
    if (playing !== null) stopPlaying()
  }

  function play (responseId: string, milliseconds: number): void {
    if (playing !== null) stopPlaying()
    playing = responseId
    hasSpoken = true
    emit('output_audio_buffer.started', { response_id: responseId })
    voice?.play(milliseconds, () => {
      playing = null
      emit('output_audio_buffer.stopped', { response_id: responseId })
    })
  }

  function stopPlaying (): void {
    voice?.stopPlaying()
    if (playing !== null) emit('output_audio_buffer.cleared', { response_id: playing })
    playing = null
  }

  function speechStarted (): void {
    turnItem = newId('item')
    emit('input_audio_buffer.speech_started', { audio_start_ms: detector.atMs(), item_id: turnItem })
    if (detection()?.interrupt_response !== false) stopResponse('turn_detected')
  }

  function speechStopped (): void {
    const itemId = turnItem ?? newId('item')
    turnItem = null
    emit('input_audio_buffer.speech_stopped', { audio_end_ms: detector.atMs(), item_id: itemId })
    commit(itemId)
    if (config.kind === 'realtime' && detection()?.create_response !== false && active === null) respond({})
  }

  function commit (itemId: string): void {
    emit('input_audio_buffer.committed', { item_id: itemId, previous_item_id: lastItem() })
    const content = [{ type: 'input_audio', transcript: null }]
    addItem({ item: { id: itemId, type: 'message', role: 'user', content } })
    const transcription = getIn(session, ['audio', 'input', 'transcription'])
    if (!isObject(transcription)) return
    emit('conversation.item.input_audio_transcription.completed', {
      item_id: itemId,
      content_index: 0,
      transcript: 'Something was said.',
      usage: { type: 'duration', seconds: Math.ceil((detector.atMs() - answeredMs) / 1000) }
    })
  }

  function addItem (event: JsonObject): void {
    if (!isObject(event.item)) throw missingParameter('item')
    if (event.item.type === undefined) throw missingParameter('item.type')
    const item = { id: newId('item'), object: 'realtime.item', status: 'completed', ...event.item }
    const previous = event.previous_item_id
    const previousItem = previous === 'root' ? null : previous ?? lastItem()
    remember(item)
    for (const type of ['conversation.item.added', 'conversation.item.done']) {
      emit(type, { previous_item_id: previousItem, item })
    }
  }

  function withItem (event: JsonObject & { type: string }, reply: Emit): void {
    const { item_id: itemId } = event
    if (typeof itemId !== 'string') throw missingParameter('item_id')
    const item = items.get(itemId)
    const verb = event.type.replace('conversation.item.', '')
    if (item === undefined) {
      throw new OpenaiError(
        400,
        `Error ${verb.replace(/e$/, 'ing')} item: the item with id '${itemId}' does not exist.`,
        `item_${verb}_invalid_item_id`,
        'item_id'
      )
    }
    if (verb === 'retrieve') return reply('conversation.item.retrieved', { item })
    if (verb === 'delete') {
      items.delete(itemId)
      return emit('conversation.item.deleted', { item_id: itemId })
    }
    emit('conversation.item.truncated', {
      item_id: itemId, content_index: event.content_index ?? 0, audio_end_ms: event.audio_end_ms ?? 0
    })
  }

  function remember (item: JsonObject): void {
    items.set(String(item.id), item)
  }

  function lastItem (): string | null {
    return [...items.keys()].at(-1) ?? null
  }

  return {
    join: (send, as = 'client') => {
      participants.set(send, as)
      if (as === 'client') send({ type: 'session.created', event_id: newId('event'), session })
      return { receive: (message) => receive(send, message), leave: () => participants.delete(send) }
    },
    hear: detector.hear,
    end: () => {
      participants.clear()
      detector.close()
      stopResponse('client_cancelled')
    }
  }
}

function update (
  { kind, legacy }: SessionConfig, session: JsonObject, event: JsonObject, hasSpoken: boolean
): JsonObject {
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
  const updated = updateSession(session, asked)
  if (hasSpoken && voiceIn(updated) !== voiceIn(session)) throw voiceIsSet('session.audio.output.voice')
  return updated
}

function voiceIn (settings: JsonObject): string | undefined {
  return JSON.stringify(getIn(settings, ['audio', 'output', 'voice']))
}

function voiceIsSet (param: string): OpenaiError {
  return new OpenaiError(
    400, 'Cannot update a conversation\'s voice if assistant audio is present.', 'cannot_update_voice', param
  )
}

function parse (message: string): JsonObject | null {
  try {
    const event = JSON.parse(message)
    return isObject(event) ? event : null
  } catch {
    return null
  }
}

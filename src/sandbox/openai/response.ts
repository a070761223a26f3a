// One response of the model, in the recorded order of its events: spoken where there is a voice for it, else text.

import { getIn, isObject, type Json, type JsonObject } from '../../json.ts'
import { newId } from './session-store.ts'

export type Emit = (type: string, fields: JsonObject) => void

/** The model takes a moment, in which it can be cancelled. */
const THINKING_MS = 150
const SPOKEN_MS = 1500
const AUDIO_TOKENS_PER_SECOND = { input: 10, output: 20 }

export type ResponseOptions = Readonly<{
  session: JsonObject
  /** The `response` of a `response.create`. */
  asked: JsonObject
  /** Milliseconds of speech since the last response, and the text of the conversation. */
  heardMs: number
  text: string
  isSpoken: boolean
  emit: Emit
  play: (responseId: string, milliseconds: number) => void
  remember: (item: JsonObject) => void
  ended: () => void
}>

export type CancelReason = 'client_cancelled' | 'turn_detected'

/** `cancel` is called before `ended` or never. */
export type ActiveResponse = Readonly<{ id: string, cancel: (reason: CancelReason) => void }>

export function startResponse (
  { session, asked, heardMs, text: input, isSpoken, emit, play, remember, ended }: ResponseOptions
): ActiveResponse {
  const text = `This is the sandbox. Your session runs with the model ${String(session.model)}.`
  const id = newId('resp')
  const isOutOfBand = asked.conversation === 'none'
  const message: JsonObject = { id: newId('item'), object: 'realtime.item', type: 'message', role: 'assistant' }
  const at = { response_id: id, item_id: message.id as string, output_index: 0, content_index: 0 }
  const conversationId = isOutOfBand ? null : `conv_${String(session.id).replace(/^\w+?_/, '')}`
  const setting = (...path: string[]): Json => getIn(asked, path) ?? getIn(session, path) ?? null
  const response = (status: string, output: JsonObject[], details: JsonObject | null, usage: JsonObject | null) => ({
    response: {
      object: 'realtime.response',
      id,
      status,
      status_details: details,
      output,
      conversation_id: conversationId,
      output_modalities: isSpoken ? ['audio'] : ['text'],
      max_output_tokens: setting('max_output_tokens'),
      audio: { output: { format: setting('audio', 'output', 'format'), voice: setting('audio', 'output', 'voice') } },
      usage,
      metadata: setting('metadata')
    }
  })
  const part = (content: string): JsonObject =>
    isSpoken ? { type: 'output_audio', transcript: content } : { type: 'output_text', text: content }
  const inConversation: Emit = (type, fields) => { if (!isOutOfBand) emit(type, fields) }

  function begin (): void {
    const open: JsonObject = { ...message, status: 'in_progress', content: [] }
    emit('response.created', response('in_progress', [], null, null))
    emit('response.output_item.added', { response_id: id, output_index: 0, item: open })
    inConversation('conversation.item.added', { previous_item_id: null, item: open })
    emit('response.content_part.added', {
      ...at, part: isSpoken ? { type: 'audio', transcript: '' } : { type: 'text', text: '' }
    })
  }

  function speak (): void {
    emit('response.output_audio_transcript.delta', { ...at, delta: text })
    play(id, SPOKEN_MS)
    emit('response.output_audio.done', at)
    emit('response.output_audio_transcript.done', { ...at, transcript: text })
    finish('completed', text, null)
  }

  function finish (status: 'completed' | 'cancelled', content: string, details: JsonObject | null): void {
    const item: JsonObject = {
      ...message, status: status === 'completed' ? status : 'incomplete', content: [part(content)]
    }
    emit('response.content_part.done', {
      ...at, part: isSpoken ? { type: 'audio', transcript: content } : { type: 'text', text: content }
    })
    inConversation('conversation.item.done', { previous_item_id: null, item })
    emit('response.output_item.done', { response_id: id, output_index: 0, item })
    if (!isOutOfBand) remember(item)
    ended()
    emit('response.done', response(status, [item], details, usageOf({
      inputText: tokensOf(`${String(session.instructions)}${input}`),
      inputAudio: heardMs / 1000 * AUDIO_TOKENS_PER_SECOND.input,
      outputText: tokensOf(content),
      outputAudio: isSpoken && status === 'completed' ? SPOKEN_MS / 1000 * AUDIO_TOKENS_PER_SECOND.output : 0
    })))
    if (isSpoken) emit('rate_limits.updated', { rate_limits: RATE_LIMITS })
  }

  begin()
  if (!isSpoken) {
    emit('response.output_text.delta', { ...at, delta: text })
    emit('response.output_text.done', { ...at, text })
    finish('completed', text, null)
    return { id, cancel: () => {} }
  }
  const thinking = setTimeout(speak, THINKING_MS)
  return {
    id,
    cancel: (reason) => {
      clearTimeout(thinking)
      finish('cancelled', '', { type: 'cancelled', reason })
    }
  }
}

/** The text of an item, of the user or of the model. */
export function textOf ({ content }: JsonObject): string {
  if (!Array.isArray(content)) return ''
  return content.filter(isObject).map(({ text, transcript }) => text ?? transcript ?? '').join(' ')
}

function tokensOf (text: string): number {
  return Math.ceil(text.length / 4)
}

const RATE_LIMITS = [{ name: 'tokens', limit: 15_000_000, remaining: 14_999_361, reset_seconds: 0.002 }]

type Tokens = { inputText: number, inputAudio: number, outputText: number, outputAudio: number }

function usageOf (tokens: Tokens): JsonObject {
  const [inputText, inputAudio, outputText, outputAudio] = [
    tokens.inputText, tokens.inputAudio, tokens.outputText, tokens.outputAudio
  ].map(Math.round) as [number, number, number, number]
  return {
    total_tokens: inputText + inputAudio + outputText + outputAudio,
    input_tokens: inputText + inputAudio,
    output_tokens: outputText + outputAudio,
    input_token_details: {
      text_tokens: inputText,
      audio_tokens: inputAudio,
      image_tokens: 0,
      cached_tokens: 0,
      cached_tokens_details: { text_tokens: 0, audio_tokens: 0, image_tokens: 0 }
    },
    output_token_details: { text_tokens: outputText, audio_tokens: outputAudio }
  }
}

// Server events as recorded from the live API, for a test to push to a sideband, which adds the event ids.

import type { Json, JsonObject } from '../../src/json.ts'

export type Tokens = Readonly<Partial<Record<
  'inputText' | 'inputAudio' | 'inputImage' | 'cachedText' | 'cachedAudio' | 'cachedImage' |
  'outputText' | 'outputAudio',
  number
>>>

export function usageOf ({
  inputText = 0, inputAudio = 0, inputImage = 0, cachedText = 0, cachedAudio = 0, cachedImage = 0, outputText = 0,
  outputAudio = 0
}: Tokens): JsonObject {
  const [input, output] = [inputText + inputAudio + inputImage, outputText + outputAudio]
  return {
    total_tokens: input + output,
    input_tokens: input,
    output_tokens: output,
    input_token_details: {
      text_tokens: inputText,
      audio_tokens: inputAudio,
      image_tokens: inputImage,
      cached_tokens: cachedText + cachedAudio + cachedImage,
      cached_tokens_details: { text_tokens: cachedText, audio_tokens: cachedAudio, image_tokens: cachedImage }
    },
    output_token_details: { text_tokens: outputText, audio_tokens: outputAudio }
  }
}

const PCM = { type: 'audio/pcm', rate: 24_000 }

function response (id: string, status: string, fields: JsonObject): JsonObject {
  return {
    object: 'realtime.response',
    id,
    status,
    status_details: null,
    output: [],
    conversation_id: 'conv_1',
    output_modalities: ['audio'],
    max_output_tokens: 'inf',
    audio: { output: { format: PCM, voice: 'alloy' } },
    usage: null,
    metadata: null,
    ...fields
  }
}

/** `fields` replace those of the response: `{ conversation_id: null }` makes it out of band. */
export function responseCreated (id = 'resp_1', fields: JsonObject = {}): JsonObject {
  return { type: 'response.created', response: response(id, 'in_progress', fields) }
}

export function responseDone (
  id = 'resp_1', usage: Json = usageOf({ inputText: 12, outputText: 9, outputAudio: 61 }), fields: JsonObject = {}
): JsonObject {
  return { type: 'response.done', response: response(id, 'completed', { usage, ...fields }) }
}

/** A response that failed by a rate limit; no `error` event comes with it. */
export function responseFailed (id = 'resp_1', code = 'rate_limit_exceeded'): JsonObject {
  const details = { type: 'failed', error: { type: 'tokens', code, message: 'Rate limit reached.' } }
  return responseDone(id, null, { status: 'failed', status_details: details })
}

export function itemAdded (item: JsonObject = {}): JsonObject {
  return {
    type: 'conversation.item.added',
    previous_item_id: null,
    item: {
      id: 'item_1', object: 'realtime.item', type: 'message', status: 'completed', role: 'user', content: [], ...item
    }
  }
}

export function itemDone (item: JsonObject = {}): JsonObject {
  return { ...itemAdded(item), type: 'conversation.item.done' }
}

export function itemDeleted (itemId: string): JsonObject {
  return { type: 'conversation.item.deleted', item_id: itemId }
}

export function outputItemAdded (item: JsonObject, responseId = 'resp_1'): JsonObject {
  return { type: 'response.output_item.added', response_id: responseId, output_index: 0, item }
}

export function speechStarted (itemId = 'item_1'): JsonObject {
  return { type: 'input_audio_buffer.speech_started', audio_start_ms: 1460, item_id: itemId }
}

export function speechStopped (itemId = 'item_1'): JsonObject {
  return { type: 'input_audio_buffer.speech_stopped', audio_end_ms: 2800, item_id: itemId }
}

export function committed (itemId = 'item_1'): JsonObject {
  return { type: 'input_audio_buffer.committed', item_id: itemId, previous_item_id: null }
}

export function outputAudio (what: 'started' | 'stopped' | 'cleared', responseId = 'resp_1'): JsonObject {
  return { type: `output_audio_buffer.${what}`, response_id: responseId }
}

/** Usage in tokens or, for models that are billed so, `{ type: 'duration', seconds }`. */
export function transcribed (itemId = 'item_1', usage: Json = {
  type: 'tokens',
  total_tokens: 35,
  input_tokens: 26,
  input_token_details: { text_tokens: 0, audio_tokens: 26 },
  output_tokens: 9
}): JsonObject {
  return {
    type: 'conversation.item.input_audio_transcription.completed',
    item_id: itemId,
    content_index: 0,
    transcript: 'canary transcript of the user',
    usage
  }
}

export function errorEvent (code: string, eventId: string | null = null): JsonObject {
  return {
    type: 'error', error: { type: 'invalid_request_error', code, message: 'No.', param: null, event_id: eventId }
  }
}

export const RATE_LIMITS_UPDATED: JsonObject = {
  type: 'rate_limits.updated',
  rate_limits: [{ name: 'tokens', limit: 15_000_000, remaining: 14_999_361, reset_seconds: 0.002 }]
}

/** The user speaks and is answered with a voice: every event in the recorded order. */
export function audioTurn (
  n = 1, usage: Json = usageOf({ inputText: 12, outputText: 9, outputAudio: 61 })
): JsonObject[] {
  const [asked, answered, responseId] = [`item_${n}_user`, `item_${n}_assistant`, `resp_${n}`]
  const at = { response_id: responseId, item_id: answered, output_index: 0, content_index: 0 }
  const transcript = 'canary transcript of the model'
  const user = { id: asked, content: [{ type: 'input_audio', transcript: null }] }
  const open = { id: answered, role: 'assistant', status: 'in_progress' }
  const done = { id: answered, role: 'assistant', content: [{ type: 'output_audio', transcript }] }
  return [
    speechStarted(asked),
    speechStopped(asked),
    committed(asked),
    itemAdded(user),
    itemDone(user),
    responseCreated(responseId),
    outputItemAdded({ ...open, type: 'message' }, responseId),
    itemAdded(open),
    { type: 'response.content_part.added', ...at, part: { type: 'audio', transcript: '' } },
    { type: 'response.output_audio_transcript.delta', ...at, delta: transcript },
    outputAudio('started', responseId),
    { type: 'response.output_audio.done', ...at },
    { type: 'response.output_audio_transcript.done', ...at, transcript },
    { type: 'response.content_part.done', ...at, part: { type: 'audio', transcript } },
    itemDone(done),
    { ...outputItemAdded({ ...done, type: 'message' }, responseId), type: 'response.output_item.done' },
    responseDone(responseId, usage),
    RATE_LIMITS_UPDATED,
    outputAudio('stopped', responseId)
  ]
}

// The events of a call as recorded from the live API: one turn of speech and its answer, with the deltas of both.

import { isObject, type JsonObject } from '../../src/json.ts'
import { audioTurn, transcribed, usageOf } from '../support/call-events.ts'

/** Deltas of a token or two: of the answer's transcript, and of the user's. */
const [ANSWER_DELTAS, USER_DELTAS] = [90, 8]
const WORDS = ['The', ' weather', ' in', ' Lisbon', ' is', ' mild', ' today', ',', ' with', ' some', ' clouds', '.']
const SPOKEN = 'canary transcript of the model'
const USAGE = usageOf({
  inputText: 412, inputAudio: 230, cachedText: 384, cachedAudio: 128, outputText: 96, outputAudio: 340
})
/** The settings of responses in a session that the benchmark's policy grants. */
const GRANTED = {
  max_output_tokens: 2048, audio: { output: { format: { type: 'audio/pcm', rate: 24_000 }, voice: 'marin' } }
}

/** The frames of a turn; `#` stands for a key of 16 characters, from which all ids are made. */
export const TURN: readonly string[] = turn().map((event, i) =>
  JSON.stringify(withId(event, i)).replaceAll(/_0(?=[_"])/g, '_#').replaceAll(SPOKEN, words(ANSWER_DELTAS).join('')))

const indexOf = (type: string) => TURN.findIndex((frame) => frame.startsWith(`{"type":"${type}"`))
export const [FIRST_OF_RESPONSE, LAST_OF_RESPONSE] = [indexOf('response.created'), indexOf('response.done')]

export function frameOf (frame: string, key: string): string {
  return frame.replaceAll('#', key)
}

function turn (): JsonObject[] {
  return audioTurn(0, USAGE).flatMap((event) => {
    if (event.type === 'response.output_audio_transcript.delta') return deltas(event, ANSWER_DELTAS)
    if (!isObject(event.response)) return [event]
    const answered = { ...event, response: { ...event.response, ...GRANTED } }
    if (event.type === 'response.done') return [answered]
    const type = 'conversation.item.input_audio_transcription.delta'
    const heard = { type, item_id: 'item_0_user', content_index: 0 }
    return [...deltas(heard, USER_DELTAS), transcribed('item_0_user'), answered]
  })
}

function deltas (event: JsonObject, count: number): JsonObject[] {
  return words(count).map((delta) => ({ ...event, delta }))
}

function words (count: number): string[] {
  return Array.from({ length: count }, (_, i) => WORDS[i % WORDS.length] as string)
}

/** Places the id before or after the type: recordings have both orders. */
function withId (event: JsonObject, i: number): JsonObject {
  const [type, id] = [String(event.type), `event_#${String(i).padStart(4, '0')}`]
  return type.endsWith('.delta') ? { event_id: id, ...event } : { type, event_id: id, ...event }
}

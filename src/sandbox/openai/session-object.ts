// The session object as OpenAI's documentation shows it: what was asked for, completed by the server's own defaults.

import { getIn, isObject, type Json, type JsonObject, merge, type Path, withIn } from '../../json.ts'
import type { Kind } from '../../realtime/session.ts'
import { newId } from './session-store.ts'

export const DEFAULT_INSTRUCTIONS = 'Your knowledge cutoff is 2023-10. You are a helpful, witty, and friendly AI. ' +
  'Act like a human, but remember that you aren\'t a human and that you can\'t do human things in the real world.'

const PCM = { type: 'audio/pcm', rate: 24_000 }
const DETECTION_DEFAULTS: Readonly<Record<string, JsonObject>> = {
  server_vad: {
    type: 'server_vad',
    threshold: 0.5,
    prefix_padding_ms: 300,
    silence_duration_ms: 200,
    idle_timeout_ms: null,
    create_response: true,
    interrupt_response: true
  },
  semantic_vad: { type: 'semantic_vad', eagerness: 'auto', create_response: true, interrupt_response: true }
}
const INPUT = {
  format: PCM, transcription: null, noise_reduction: null, turn_detection: DETECTION_DEFAULTS.server_vad as JsonObject
}

const DEFAULTS: Readonly<Record<Kind, JsonObject>> = {
  realtime: {
    type: 'realtime',
    object: 'realtime.session',
    model: 'gpt-realtime-2.1',
    output_modalities: ['audio'],
    instructions: DEFAULT_INSTRUCTIONS,
    tools: [],
    tool_choice: 'auto',
    max_output_tokens: 'inf',
    tracing: null,
    truncation: 'auto',
    prompt: null,
    include: null,
    audio: { input: INPUT, output: { format: PCM, voice: 'alloy', speed: 1 } }
  },
  transcription: {
    type: 'transcription', object: 'realtime.transcription_session', include: null, audio: { input: INPUT }
  },
  translation: {
    type: 'translation', audio: { input: { transcription: null, noise_reduction: null }, output: { language: 'en' } }
  }
}

/** `expires_at` is the session's own, and 0 where none has begun. */
export function completeSession (kind: Kind, asked: JsonObject, expiresAt: number): JsonObject {
  return { ...updateSession(DEFAULTS[kind], asked), id: newId('sess'), expires_at: expiresAt }
}

/** As `session.update` does: what is present replaces, what is absent stays. */
export function updateSession (session: JsonObject, update: JsonObject): JsonObject {
  return WHOLE.reduce((updated, [path, complete]) => {
    const asked = getIn(update, path)
    return asked === undefined ? updated : withIn(updated, path, complete(asked))
  }, merge(session, update))
}

const asWritten = (asked: Json) => asked

/** Fields that are replaced as a whole: two audio formats, or two turn detections, make no third. */
const WHOLE: readonly (readonly [Path, (asked: Json) => Json])[] = [
  [['audio', 'input', 'format'], asWritten],
  [['audio', 'output', 'format'], asWritten],
  [['audio', 'input', 'transcription'], asWritten],
  [['audio', 'input', 'noise_reduction'], asWritten],
  [['audio', 'input', 'turn_detection'], completeTurnDetection],
  [['prompt'], asWritten],
  [['reasoning'], asWritten],
  [['tool_choice'], asWritten],
  [['truncation'], asWritten],
  [['tracing'], asWritten]
]

function completeTurnDetection (asked: Json): Json {
  return isObject(asked) ? { ...DETECTION_DEFAULTS[String(asked.type)], ...asked } : asked
}

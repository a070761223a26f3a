// The beta's flat sessions, for `OPENAI_MINT_API=sessions`: what servers answer that still speak the legacy API.

import { isObject, type JsonObject } from '../../json.ts'
import { type CheckedMint, checkExpiresAfter } from './checks.ts'
import { invalidValue, unknownParameter } from './error.ts'
import { DEFAULT_INSTRUCTIONS } from './session-object.ts'
import { newId } from './session-store.ts'

const LEGACY_SERVER_VAD = { type: 'server_vad', threshold: 0.5, prefix_padding_ms: 300, silence_duration_ms: 200 }
const INPUT = { input_audio_format: 'pcm16', input_audio_transcription: null, input_audio_noise_reduction: null }

const DEFAULTS = {
  realtime: {
    object: 'realtime.session',
    model: 'gpt-4o-realtime-preview',
    modalities: ['audio', 'text'],
    instructions: DEFAULT_INSTRUCTIONS,
    voice: 'alloy',
    speed: 1,
    ...INPUT,
    output_audio_format: 'pcm16',
    turn_detection: { ...LEGACY_SERVER_VAD, create_response: true, interrupt_response: true },
    tools: [],
    tool_choice: 'auto',
    temperature: 0.8,
    max_response_output_tokens: 'inf',
    tracing: null,
    truncation: 'auto',
    prompt: null,
    include: null
  },
  transcription: {
    object: 'realtime.transcription_session',
    modalities: ['audio', 'text'],
    ...INPUT,
    turn_detection: LEGACY_SERVER_VAD,
    include: null
  }
} satisfies Record<string, JsonObject>

/** The name of the lifetime differs between the two legacy routes. */
const EXPIRY = { realtime: 'expires_after', transcription: 'expires_at' }
const DEFAULT_SECONDS = 60

/** Throws OpenaiError. */
export function checkLegacyMint (kind: 'realtime' | 'transcription', body: JsonObject): CheckedMint {
  const { client_secret: secret = {}, ...session } = body
  for (const key of Object.keys(session)) {
    if (key === 'object' || !Object.hasOwn(DEFAULTS[kind], key)) throw unknownParameter(key)
  }
  if (!isObject(secret)) throw invalidValue('client_secret')
  for (const key of Object.keys(secret)) if (key !== EXPIRY[kind]) throw unknownParameter(`client_secret.${key}`)
  const { modalities = ['text'] } = session
  if (!['text', 'audio,text', 'text,audio'].includes(String(modalities))) {
    throw invalidValue(
      'modalities', 'Invalid modalities. Supported combinations are: [\'text\'] and [\'audio\', \'text\'].'
    )
  }
  return {
    session, seconds: checkExpiresAfter(secret[EXPIRY[kind]], `client_secret.${EXPIRY[kind]}`) ?? DEFAULT_SECONDS
  }
}

export function completeLegacySession (kind: 'realtime' | 'transcription', asked: JsonObject): JsonObject {
  return { id: newId('sess'), ...DEFAULTS[kind], ...asked, expires_at: 0 }
}

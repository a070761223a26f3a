// Recorded requests and responses; secrets, ids and times are replaced. A test compares them with today's responses.

import type { JsonObject } from '../json.ts'

export type Examples = Readonly<Record<string, Readonly<{ summary: string, value: JsonObject }>>>

export const REQUESTS: Readonly<Record<string, Examples>> = {
  createClientSecret: {
    voice: {
      summary: 'A voice session',
      value: {
        expires_after: { anchor: 'created_at', seconds: 120 },
        session: { type: 'realtime', audio: { output: { voice: 'cedar' } } }
      }
    },
    prompt: {
      summary: 'With a prompt of the policy',
      value: { session: { type: 'realtime', prompt: { id: 'support', variables: { product: 'Kettle 2' } } } }
    },
    transcription: {
      summary: 'A transcription',
      value: { session: { type: 'transcription', audio: { input: { transcription: { language: 'de' } } } } }
    }
  },
  createTranslationClientSecret: {
    german: { summary: 'Into German', value: { session: { audio: { output: { language: 'de' } } } } }
  },
  createSession: {
    voice: {
      summary: 'A voice session',
      value: { model: 'gpt-4o-realtime-preview', modalities: ['audio', 'text'], voice: 'cedar' }
    }
  },
  createTranscriptionSession: {
    german: { summary: 'German speech', value: { input_audio_transcription: { language: 'de' } } }
  }
}

const secret = { value: 'ek_71a758f0060bcc3557c40fc0b1d2e3f4', expires_at: 1795246605 }
const id = 'sess_27698a145e9f00d1306eb6cf'
const pcm = { type: 'audio/pcm', rate: 24000 }
const detection = {
  type: 'server_vad',
  threshold: 0.5,
  prefix_padding_ms: 300,
  silence_duration_ms: 200,
  create_response: true,
  interrupt_response: true
}
const input = {
  format: pcm, transcription: null, noise_reduction: null, turn_detection: { ...detection, idle_timeout_ms: null }
}
const voiceSession = (voice: string) => ({
  type: 'realtime',
  object: 'realtime.session',
  id,
  expires_at: 0,
  model: 'gpt-realtime-2.1',
  output_modalities: ['audio'],
  max_output_tokens: 2048,
  tools: [],
  tool_choice: 'auto',
  tracing: null,
  truncation: 'auto',
  prompt: null,
  include: null,
  audio: { input, output: { format: pcm, voice, speed: 1 } }
})

export const ANSWERS: Readonly<Record<string, Examples>> = {
  createClientSecret: {
    voice: { summary: 'A voice session', value: { ...secret, session: voiceSession('cedar') } },
    prompt: { summary: 'With a prompt of the policy', value: { ...secret, session: voiceSession('marin') } },
    transcription: {
      summary: 'A transcription',
      value: {
        ...secret,
        session: {
          type: 'transcription',
          object: 'realtime.transcription_session',
          id,
          expires_at: 0,
          include: null,
          audio: { input: { ...input, transcription: { language: 'de', model: 'gpt-live-transcribe' } } }
        }
      }
    }
  },
  createTranslationClientSecret: {
    german: {
      summary: 'Into German',
      value: {
        ...secret,
        session: {
          type: 'translation',
          id,
          expires_at: secret.expires_at,
          model: 'gpt-realtime-translate',
          audio: { input: { transcription: null, noise_reduction: null }, output: { language: 'de' } }
        }
      }
    }
  },
  createSession: {
    voice: {
      summary: 'A voice session',
      value: {
        object: 'realtime.session',
        id,
        expires_at: 0,
        model: 'gpt-realtime-2.1',
        modalities: ['audio', 'text'],
        voice: 'cedar',
        speed: 1,
        input_audio_format: 'pcm16',
        output_audio_format: 'pcm16',
        input_audio_transcription: null,
        input_audio_noise_reduction: null,
        turn_detection: detection,
        tools: [],
        tool_choice: 'auto',
        max_response_output_tokens: 2048,
        prompt: null,
        tracing: null,
        truncation: 'auto',
        include: null,
        client_secret: secret
      }
    }
  },
  createTranscriptionSession: {
    german: {
      summary: 'German speech',
      value: {
        object: 'realtime.transcription_session',
        id,
        expires_at: 0,
        input_audio_format: 'pcm16',
        input_audio_transcription: { language: 'de', model: 'gpt-live-transcribe' },
        input_audio_noise_reduction: null,
        turn_detection: { type: 'server_vad', threshold: 0.5, prefix_padding_ms: 300, silence_duration_ms: 200 },
        include: null,
        client_secret: secret
      }
    }
  },
  getPolicy: {
    pro: {
      summary: 'A caller who may mint all kinds',
      value: {
        sessions: {
          realtime: {
            allow: {
              'audio.output.voice': { enum: ['marin', 'cedar'] }, output_modalities: { enum: [['audio'], ['text']] }
            },
            prompts: [{ id: 'support', variables: { product: { type: 'string', maxLength: 40 } } }],
            models: ['gpt-4o-realtime-preview'],
            expires_after: { default: 60, max: 300 }
          },
          transcription: {
            allow: { 'audio.input.transcription.language': { enum: ['de', 'en'] } },
            prompts: [],
            models: [],
            expires_after: { default: 60, max: 60 }
          },
          translation: {
            allow: { 'audio.output.language': { enum: ['de', 'en'] } },
            prompts: [],
            models: [],
            expires_after: { default: 60, max: 60 }
          }
        },
        limits: { minute: { limit: 10, remaining: 10, reset: 60 }, day: { limit: 500, remaining: 500, reset: 86400 } }
      }
    }
  },
  livez: { alive: { summary: 'Alive', value: { status: 'ok' } } },
  readyz: { ready: { summary: 'Ready', value: { status: 'ok', waiting_for: [] } } }
}

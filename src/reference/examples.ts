// Recorded requests and responses; secrets, ids and times are replaced. A test compares them with today's responses.

import type { Json } from '../json.ts'

export type Examples = Readonly<Record<string, Readonly<{ summary: string, value: Json }>>>

const sdp = (...lines: string[]) => ['v=0', ...lines, ''].join('\r\n')
const AUDIO = ['m=audio 9 UDP/TLS/RTP/SAVPF 111', 'c=IN IP4 0.0.0.0', 'a=rtpmap:111 opus/48000/2']
const OFFER = sdp('o=- 4611731400430051336 2 IN IP4 127.0.0.1', 's=-', 't=0 0', 'a=setup:actpass', ...AUDIO)
const ANSWER = sdp('o=- 8205370351486452911 2 IN IP4 127.0.0.1', 's=-', 't=0 0', 'a=setup:active', ...AUDIO)

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
  createCall: { offer: { summary: 'The policy\'s own session (shortened)', value: OFFER } },
  createCallForm: {
    voice: { summary: 'With a voice', value: { sdp: OFFER, session: { audio: { output: { voice: 'cedar' } } } } }
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

const call = {
  id: 'rtc_3q2-7wAAAAAAAAAAAAAAAA',
  object: 'realtime.call',
  status: 'live',
  created_at: 1795246545,
  ends_at: 1795247145,
  end_reason: null,
  seconds: 42,
  usage: {
    responses: 1,
    input_tokens: 12,
    output_tokens: 70,
    input: { text: 4, audio: 8, image: 0 },
    cached: { text: 0, audio: 0, image: 0 },
    output: { text: 9, audio: 61 },
    transcription: { seconds: 0, input_tokens: 0, output_tokens: 0 }
  }
}

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
  createCall: { answer: { summary: 'The answer (shortened)', value: ANSWER } },
  listCalls: { one: { summary: 'One live call', value: { object: 'list', data: [call] } } },
  getCall: { live: { summary: 'A live call', value: call } },
  hangUpCall: {
    ended: { summary: 'Ended', value: { ...call, status: 'ended', ends_at: 1795246587, end_reason: 'client' } }
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
            expires_after: { default: 60, max: 300 },
            calls: { max_seconds: 600, idle_seconds: 120, data_channel: true }
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
        limits: {
          minute: { limit: 10, remaining: 10, reset: 60 },
          day: { limit: 500, remaining: 500, reset: 86400 },
          call_seconds: { hour: { limit: 1200, remaining: 1200, reset: 3600 } }
        }
      }
    }
  },
  livez: { alive: { summary: 'Alive', value: { status: 'ok' } } },
  readyz: { ready: { summary: 'Ready', value: { status: 'ok', waiting_for: [] } } }
}

// Our types against those of the `openai` package, by tsc: a parameter that an SDK update adds breaks `npm run check`
// with its path in the message.

import type * as Beta from 'openai/resources/beta/realtime'
import type * as Secrets from 'openai/resources/realtime/client-secrets'
import type * as Ga from 'openai/resources/realtime/realtime'
import t from 'tap'
import type {
  ClientSecretAnswer, LegacyAnswer, LegacyTranscriptionAnswer, TranslationAnswer
} from '../../src/realtime/answers.ts'
import { FIELDS } from '../../src/realtime/legacy/fields.ts'
import type { RealtimeSession, TranscriptionSession, TranslationSession } from '../../src/realtime/session.ts'

/** Every dotted path of T, down to free-form values. */
type Paths<T> = T extends readonly (infer Item)[]
  ? Paths<Item>
  : T extends object
    ? string extends keyof T
      ? never
      : { [K in keyof T & string]-?: K | `${K}.${Paths<NonNullable<T[K]>>}` }[keyof T & string]
    : never

/** Fails to compile, naming the paths, unless there are none. */
type None<Missing extends never> = Missing
type Missing<Theirs, Ours> = Exclude<Paths<Theirs>, Paths<Ours>>

// The types of `openai` lack the null that turns noise reduction and transcription off.
type WithoutNull<T> = T extends object ? { [K in keyof T]: WithoutNull<Exclude<T[K], null>> } : T
type Fits<Ours extends Theirs, Theirs> = [Ours, Theirs]

export type Sent = [
  Fits<WithoutNull<RealtimeSession> & { type: 'realtime' }, Ga.RealtimeSessionCreateRequest>,
  Fits<WithoutNull<TranscriptionSession> & { type: 'transcription' }, Ga.RealtimeTranscriptionSessionCreateRequest>,
  Fits<TranslationSession, Ga.RealtimeTranslationSessionCreateRequest>
]

// Items of tools are open, so that none of their members can be missing.
type Open = 'type' | `tools.${string}`

export type Known = [
  None<Exclude<Missing<Ga.RealtimeSessionCreateRequest, RealtimeSession>, Open>>,
  None<Exclude<Missing<Ga.RealtimeTranscriptionSessionCreateRequest, TranscriptionSession>, Open>>,
  None<Missing<Ga.RealtimeTranslationSessionCreateRequest, TranslationSession>>
]

type Secret = `${string}headers` | `${string}authorization`

export type Answered = [
  None<Exclude<Missing<Secrets.ClientSecretCreateResponse, ClientSecretAnswer>, Secret>>,
  None<Missing<Ga.RealtimeTranslationClientSecretCreateResponse, TranslationAnswer>>,
  None<Missing<Beta.SessionCreateResponse | Beta.Session | Ga.RealtimeSession, LegacyAnswer>>,
  None<Missing<Beta.TranscriptionSession, LegacyTranscriptionAnswer>>
]

// The legacy fields by name, and their members by those of the GA value they stand for.
type Input = NonNullable<NonNullable<RealtimeSession['audio']>['input']>
type Legacy = {
  client_secret: { expires_after: { anchor: string, seconds: number }, expires_at: { anchor: string, seconds: number } }
  input_audio_transcription: Input['transcription']
  input_audio_noise_reduction: Input['noise_reduction']
  turn_detection: Input['turn_detection']
  tracing: RealtimeSession['tracing']
  tools: { type: 'function', name: string, description: string, parameters: unknown }[]
} & { [Name in typeof NAMES[keyof typeof NAMES][number]]: unknown }

const TRANSCRIPTION_NAMES = [
  'include', 'input_audio_format', 'input_audio_transcription', 'input_audio_noise_reduction', 'turn_detection',
  'modalities'
] as const
const NAMES = {
  transcription: TRANSCRIPTION_NAMES,
  realtime: [
    ...TRANSCRIPTION_NAMES, 'model', 'instructions', 'voice', 'speed', 'output_audio_format', 'tools', 'tool_choice',
    'max_response_output_tokens', 'prompt', 'tracing', 'truncation', 'temperature'
  ]
} as const

type LegacyTranscription = Pick<Legacy, typeof TRANSCRIPTION_NAMES[number] | 'client_secret'>

export type LegacyKnown = [
  None<Missing<Beta.SessionCreateParams, Legacy>>,
  None<Missing<Beta.TranscriptionSessionCreateParams, LegacyTranscription>>
]

t.test('the compared names are those of the table', async (t) => {
  for (const kind of ['realtime', 'transcription'] as const) {
    t.strictSame(FIELDS[kind].map(({ name }) => name).sort(), [...NAMES[kind]].sort())
  }
})

// Response schemas of the routes, lenient in values and exact in names: a field without a schema here is not sent.
// Source: the response types of the `openai` package and its beta types for the legacy shapes.

import Type, { type Static, type TProperties, type TSchema } from 'typebox'

const text = Type.Optional(Type.String())
const count = Type.Optional(Type.Number())
const flag = Type.Optional(Type.Boolean())
const texts = Type.Optional(Type.Array(Type.String()))
const optionalObject = <T extends TProperties>(members: T) => Type.Optional(Type.Object(members))
const nullable = <T extends TSchema[]>(...variants: [...T]) => Type.Optional(Type.Union([...variants, Type.Null()]))
const Include = nullable(Type.Array(Type.String()))

const Format = optionalObject({ type: text, rate: count })
const Transcription = nullable(
  Type.Object({ model: text, language: text, languages: texts, prompt: text, keywords: texts, delay: text })
)
const NoiseReduction = nullable(Type.Object({ type: text, strength: count }))
const TurnDetection = nullable(Type.Object({
  type: text,
  threshold: count,
  prefix_padding_ms: count,
  silence_duration_ms: count,
  idle_timeout_ms: nullable(Type.Number()),
  eagerness: text,
  create_response: flag,
  interrupt_response: flag
}))
const voiceSchema = Type.Optional(Type.Union([Type.String(), Type.Object({ id: Type.String() })]))
const MaxTokens = Type.Optional(Type.Union([Type.Number(), Type.Literal('inf')]))

const ToolFilter = Type.Object({ tool_names: texts, read_only: flag })
const FunctionTool = Type.Object(
  { type: text, name: text, description: text, parameters: Type.Optional(Type.Unknown()) }
)
/** Without `headers` and `authorization`, which contain the operator's secrets. */
const McpTool = Type.Object({
  type: Type.Literal('mcp'),
  server_label: Type.String(),
  server_url: text,
  server_description: text,
  connector_id: text,
  tunnel_id: text,
  defer_loading: flag,
  allowed_callers: nullable(Type.Array(Type.String())),
  allowed_tools: nullable(Type.Array(Type.String()), ToolFilter),
  require_approval: nullable(
    Type.String(), Type.Object({ always: Type.Optional(ToolFilter), never: Type.Optional(ToolFilter) })
  )
})
const Tools = Type.Optional(Type.Array(Type.Union([FunctionTool, McpTool])))
const ToolChoice = Type.Optional(Type.Union([
  Type.String(),
  Type.Object({ type: Type.String(), name: nullable(Type.String()), server_label: text })
]))
const tracingSchema = nullable(
  Type.String(), Type.Object({ group_id: text, workflow_name: text, metadata: Type.Optional(Type.Unknown()) })
)
const Truncation = Type.Optional(Type.Union([
  Type.String(),
  Type.Object({
    type: Type.String(), retention_ratio: count, token_limits: optionalObject({ post_instructions: count })
  })
]))
const promptSchema = nullable(Type.Object({
  id: Type.String(), version: nullable(Type.String()), variables: nullable(Type.Record(Type.String(), Type.Unknown()))
}))

/** `expires_at` is that of the session, 0 when minted; not that of the secret. */
const identity = { id: text, object: text, expires_at: count }
const input = optionalObject(
  { format: Format, transcription: Transcription, noise_reduction: NoiseReduction, turn_detection: TurnDetection }
)

const RealtimeAnswer = Type.Object({
  type: Type.Literal('realtime'),
  ...identity,
  model: text,
  instructions: text,
  output_modalities: texts,
  audio: optionalObject({ input, output: optionalObject({ format: Format, voice: voiceSchema, speed: count }) }),
  tools: Tools,
  tool_choice: ToolChoice,
  max_output_tokens: MaxTokens,
  reasoning: optionalObject({ effort: text }),
  prompt: promptSchema,
  tracing: tracingSchema,
  truncation: Truncation,
  include: Include
})

const TranscriptionAnswer = Type.Object(
  { type: Type.Literal('transcription'), ...identity, audio: optionalObject({ input }), include: Include }
)

const secret = { value: Type.String(), expires_at: Type.Number({ description: 'Unix time in seconds' }) }

export const ClientSecretAnswer = Type.Object({ ...secret, session: Type.Union([RealtimeAnswer, TranscriptionAnswer]) })
export type ClientSecretAnswer = Static<typeof ClientSecretAnswer>

export const TranslationAnswer = Type.Object({
  ...secret,
  session: Type.Object({
    type: text,
    ...identity,
    model: text,
    audio: optionalObject({
      input: optionalObject({ transcription: nullable(Type.Object({ model: text })), noise_reduction: NoiseReduction }),
      output: optionalObject({ language: text })
    })
  })
})
export type TranslationAnswer = Static<typeof TranslationAnswer>

const legacyInput = {
  input_audio_format: text,
  input_audio_transcription: Transcription,
  input_audio_noise_reduction: NoiseReduction,
  turn_detection: TurnDetection,
  include: Include,
  modalities: texts
}

export const LegacyAnswer = Type.Object({
  ...identity,
  model: text,
  instructions: text,
  voice: voiceSchema,
  speed: count,
  output_audio_format: text,
  ...legacyInput,
  tools: Tools,
  tool_choice: text,
  max_response_output_tokens: MaxTokens,
  temperature: count,
  prompt: promptSchema,
  tracing: tracingSchema,
  truncation: Truncation,
  client_secret: Type.Object(secret)
})
export type LegacyAnswer = Static<typeof LegacyAnswer>

export const LegacyTranscriptionAnswer = Type.Object(
  { ...identity, ...legacyInput, client_secret: Type.Object(secret) }
)
export type LegacyTranscriptionAnswer = Static<typeof LegacyTranscriptionAnswer>

// The parameters of a session of the realtime API, by kind, without `type`, which follows from the kind.
// Source: the request types of the `openai` package, compared in test/realtime/types.test.ts.

import Type, { type Static, type TSchema } from 'typebox'

const closed = { additionalProperties: false }
const name = Type.String({ minLength: 1 })
const text = Type.Optional(Type.String())
const flag = Type.Optional(Type.Boolean())
const milliseconds = Type.Integer({ minimum: 0 })
const fraction = Type.Number({ minimum: 0, maximum: 1 })
const optionalObject = <T extends Type.TProperties>(members: T) => Type.Optional(Type.Object(members, closed))
const nullable = <T extends TSchema[]>(...variants: [...T]) => Type.Optional(Type.Union([...variants, Type.Null()]))

const Format = Type.Optional(Type.Union([
  Type.Object({ type: Type.Optional(Type.Literal('audio/pcm')), rate: Type.Optional(Type.Literal(24000)) }, closed),
  Type.Object({ type: Type.Literal('audio/pcmu') }, closed),
  Type.Object({ type: Type.Literal('audio/pcma') }, closed)
]))

const NoiseReductionType = Type.Enum(['near_field', 'far_field'])
const strength = Type.Optional(Type.Number({ minimum: 0 }))

const Transcription = Type.Object({
  model: Type.Optional(name),
  language: text,
  languages: Type.Optional(Type.Array(Type.String())),
  prompt: text,
  keywords: Type.Optional(Type.Array(Type.String())),
  delay: Type.Optional(Type.Enum(['minimal', 'low', 'medium', 'high', 'xhigh']))
}, closed)

const responses = { create_response: flag, interrupt_response: flag }
const ServerVad = Type.Object({
  type: Type.Literal('server_vad'),
  threshold: Type.Optional(fraction),
  prefix_padding_ms: Type.Optional(milliseconds),
  silence_duration_ms: Type.Optional(milliseconds),
  idle_timeout_ms: nullable(milliseconds),
  ...responses
}, closed)
const SemanticVad = Type.Object({
  type: Type.Literal('semantic_vad'),
  eagerness: Type.Optional(Type.Enum(['low', 'medium', 'high', 'auto'])),
  ...responses
}, closed)

const input = optionalObject({
  format: Format,
  transcription: nullable(Transcription),
  noise_reduction: nullable(Type.Object({ type: Type.Optional(NoiseReductionType), strength }, closed)),
  turn_detection: nullable(ServerVad, SemanticVad)
})

const include = Type.Optional(Type.Array(Type.Literal('item.input_audio_transcription.logprobs')))

// Little of tools and prompt variables is checked: the policy decides about the rest.
const toolSchema = Type.Union([
  Type.Object({ type: Type.Optional(Type.Literal('function')), name: Type.Optional(name), description: text }),
  Type.Object({
    type: Type.Literal('mcp'),
    server_label: name,
    server_description: text,
    server_url: text,
    // Any text, with the type of one of its values: OpenAI's list grows.
    connector_id: Type.Optional(Type.Unsafe<'connector_gmail'>(Type.String())),
    authorization: text,
    defer_loading: flag
  })
])
const Variable = Type.Union([
  Type.String(),
  Type.Object({ type: Type.Literal('input_text'), text: Type.String() }),
  Type.Object({ type: Type.Literal('input_image'), detail: Type.Enum(['low', 'high', 'auto', 'original']) }),
  Type.Object({ type: Type.Literal('input_file') })
])

export const RealtimeSession = Type.Object({
  model: Type.Optional(name),
  instructions: text,
  output_modalities: Type.Optional(Type.Array(Type.Enum(['text', 'audio']), { minItems: 1, uniqueItems: true })),
  audio: optionalObject({
    input,
    output: optionalObject({
      format: Format,
      voice: Type.Optional(Type.Union([name, Type.Object({ id: name }, closed)])),
      speed: Type.Optional(Type.Number({ minimum: 0.25, maximum: 1.5 }))
    })
  }),
  tools: Type.Optional(Type.Array(toolSchema)),
  tool_choice: Type.Optional(Type.Union([
    Type.Enum(['none', 'auto', 'required']),
    Type.Object({ type: Type.Literal('function'), name }, closed),
    Type.Object({ type: Type.Literal('mcp'), server_label: name, name: nullable(name) }, closed)
  ])),
  parallel_tool_calls: flag,
  max_output_tokens: Type.Optional(Type.Union([Type.Integer({ minimum: 1, maximum: 4096 }), Type.Literal('inf')])),
  reasoning: optionalObject({ effort: Type.Optional(Type.Enum(['minimal', 'low', 'medium', 'high', 'xhigh'])) }),
  prompt: nullable(Type.Object({
    id: name,
    version: nullable(Type.String()),
    variables: nullable(Type.Record(Type.String(), Variable))
  }, closed)),
  tracing: nullable(
    Type.Literal('auto'),
    Type.Object({ group_id: text, workflow_name: text, metadata: Type.Optional(Type.Unknown()) }, closed)
  ),
  truncation: Type.Optional(Type.Union([
    Type.Enum(['auto', 'disabled']),
    Type.Object({
      type: Type.Literal('retention_ratio'),
      retention_ratio: fraction,
      token_limits: optionalObject({ post_instructions: Type.Optional(Type.Integer({ minimum: 0 })) })
    }, closed)
  ])),
  include,
  // Legacy only: checked like any other, and not sent to a GA upstream.
  temperature: Type.Optional(Type.Number({ minimum: 0.6, maximum: 1.2 }))
}, closed)
export type RealtimeSession = Static<typeof RealtimeSession>

export const TranscriptionSession = Type.Object({ audio: optionalObject({ input }), include }, closed)
export type TranscriptionSession = Static<typeof TranscriptionSession>

export const TranslationSession = Type.Object({
  model: name,
  audio: optionalObject({
    input: optionalObject({
      transcription: nullable(Type.Object({ model: name }, closed)),
      noise_reduction: nullable(Type.Object({ type: NoiseReductionType, strength }, closed))
    }),
    output: optionalObject({ language: text })
  })
}, closed)
export type TranslationSession = Static<typeof TranslationSession>

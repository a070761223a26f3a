// Usage of a call, in answers and in records.

import Type, { type Static } from 'typebox'

const Count = Type.Number({ minimum: 0 })

export const Usage = Type.Object({
  responses: Count,
  input_tokens: Count,
  output_tokens: Count,
  input: Type.Object({ text: Count, audio: Count, image: Count }),
  cached: Type.Object({ text: Count, audio: Count, image: Count }),
  output: Type.Object({ text: Count, audio: Count }),
  transcription: Type.Object({ seconds: Count, input_tokens: Count, output_tokens: Count })
})
export type Usage = Static<typeof Usage>

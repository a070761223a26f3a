// Sends the examples of the reference, as a user with the plan `pro`, to an app with the sandbox's upstream. Calls are
// not among them: they need a browser.

import type { Test } from 'tap'
import type { Json } from '../../src/json.ts'
import { OPERATIONS } from '../../src/reference/operations.ts'
import { startUpstream } from '../../src/sandbox/openai/upstream.ts'
import { type Answer, CALLERS, startApp } from '../support/app.ts'

const POLICY = `${CALLERS}
prompts:
  support:
    variables: { product: { type: string, maxLength: 40 } }
    session: { instructions: 'You help with {{variables.product|our products}}.' }
policies:
  - name: pro
    when: { plan: pro }
    limits: { minute: 10, day: 500, call_seconds: { hour: 1200 } }
    realtime:
      fixed: { model: gpt-realtime-2.1, max_output_tokens: 2048 }
      defaults: { instructions: You are Ada., audio: { output: { voice: marin } } }
      allow: { audio.output.voice: { enum: [marin, cedar] }, output_modalities: { enum: [[audio], [text]] } }
      aliases: { gpt-4o-realtime-preview: gpt-realtime-2.1 }
      prompts: [support]
      expires_after: { default: 60, max: 300 }
      hide: [instructions]
      calls: {}
    transcription:
      fixed: { audio: { input: { transcription: { model: gpt-live-transcribe } } } }
      allow: { audio.input.transcription.language: { enum: [de, en] } }
    translation:
      fixed: { model: gpt-realtime-translate }
      allow: { audio.output.language: { enum: [de, en] } }
`

export type Exchange = Readonly<{ id: string, name: string, answer: Answer, expected: Json | undefined }>

/** The response to each example, and the response in the reference. */
export async function exchangeExamples (t: Test): Promise<Exchange[]> {
  const apiKey = 'sk-canary-reference-5d2f8a'
  const upstream = await startUpstream({ apiKey })
  t.teardown(upstream.close)
  const app = await startApp(t, {
    policy: POLICY,
    env: { OPENAI_API_KEY: apiKey, OPENAI_BASE_URL: upstream.url, REALTIME_PUBLIC_URL: 'https://api.openai.com/v1' }
  })
  const authorization = `Bearer ${await app.token()}`
  const exchanges: Exchange[] = []
  for (const { method, path, id, request, answer: { examples } } of
    OPERATIONS.filter(({ tag }) => tag !== 'Call').toReversed()) {
    const content = request?.content['application/json']
    const asked = content === undefined
      ? Object.keys(examples).map((name) => [name, undefined] as const)
      : Object.entries(content.examples).map(([name, { value }]) => [name, value] as const)
    for (const [name, body] of asked) {
      const answer = await app.request(path, {
        method: method.toUpperCase(),
        headers: { authorization, ...body !== undefined && { 'content-type': 'application/json' } },
        ...body !== undefined && { body: JSON.stringify(body) }
      })
      exchanges.push({ id, name, answer, expected: examples[name]?.value })
    }
  }
  return exchanges
}

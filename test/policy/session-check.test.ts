// A session in force, checked by the rules of a request: which values are allowed, and what corrects the others.

import t from 'tap'
import { getIn, type Json, type JsonObject, setIn } from '../../src/json.ts'
import { applyPolicy, askedFor } from '../../src/policy/apply.ts'
import { createSessionCheck } from '../../src/policy/session-check.ts'
import { completeSession, updateSession } from '../../src/sandbox/openai/session-object.ts'
import { rulesOf } from './harness.ts'

type Outcome = Readonly<{
  baseline: JsonObject, refused: string[], ignored: string[], reportedOnly: string[], set: JsonObject
}>

/** `update` is what the client sends; a function turns the session into the one that upstream reports. */
function checked (
  policy: JsonObject, update: JsonObject | ((session: JsonObject) => JsonObject),
  { session = {}, prompts }: { session?: JsonObject, prompts?: JsonObject } = {}
): Outcome {
  const rules = rulesOf({ session: { calls: {}, ...policy }, prompts })
  const asked = askedFor(session)
  const granted = applyPolicy(rules, {}, asked)
  const first = completeSession('realtime', granted.session, 0)
  const reported = typeof update === 'function' ? update(first) : updateSession(first, update)
  const { baseline, refused, ignored, reportedOnly, corrections } =
    createSessionCheck(rules, { claims: {}, asked, granted })(first, reported)
  const set: JsonObject = {}
  for (const { field, value } of corrections) setIn(set, field, value === undefined ? 'nothing' : value)
  const dotted = (paths: readonly (readonly string[])[]) => paths.map((path) => path.join('.'))
  return { baseline, refused: dotted(refused), ignored: dotted(ignored), reportedOnly: dotted(reportedOnly), set }
}

const input = (member: string, value: Json): JsonObject => ({ audio: { input: { [member]: value } } })
const detection = (value: Json) => input('turn_detection', value)
const NONE = { refused: [], ignored: [], reportedOnly: [], set: {} }

t.test('call: every path is checked, and what is allowed beside a fault is kept', async (t) => {
  const found = checked({
    fixed: { instructions: 'Ours.', audio: { input: { turn_detection: { type: 'server_vad' } } } },
    allow: {
      'audio.output.voice': { enum: ['cedar'] },
      'audio.input.turn_detection.threshold': { type: 'number', maximum: 0.8 }
    },
    ignore: ['tools']
  }, {
    instructions: 'Mine.',
    tools: [{ type: 'function', name: 'f' }],
    brand_new: 1,
    audio: { output: { voice: 'cedar' }, input: { turn_detection: { type: 'semantic_vad', threshold: 0.7 } } }
  })
  t.same(found.refused, ['instructions', 'audio.input.turn_detection.type'])
  t.same([found.ignored, found.reportedOnly], [['tools'], ['brand_new']])
  t.same(found.set, {
    instructions: 'Ours.', tools: [], audio: { input: { turn_detection: { type: 'server_vad', threshold: 0.7 } } }
  })
  t.equal(getIn(found.baseline, ['audio', 'output', 'voice']), 'cedar')
  t.match(getIn(found.baseline, ['audio', 'input', 'turn_detection']), { type: 'server_vad', threshold: 0.7 })
})

t.test('call: a reported object meets its schema without what the API fills in', async (t) => {
  const allow = (schema: Json) => ({ allow: { 'audio.input.turn_detection': schema } })
  const semantic = {
    type: 'object',
    additionalProperties: false,
    required: ['type'],
    properties: { type: { const: 'semantic_vad' }, eagerness: { enum: ['low', 'high'] } }
  }
  t.match(checked(allow(semantic), detection({ type: 'semantic_vad' })), NONE, 'eagerness: auto was not asked for')
  t.match(checked(allow(semantic), detection({ type: 'semantic_vad', eagerness: 'low' })), NONE)
  t.match(checked(allow(semantic), detection({ type: 'semantic_vad', eagerness: 'medium' })), {
    refused: ['audio.input.turn_detection']
  })
  t.match(checked(allow({ ...semantic, required: ['eagerness'] }), detection({ type: 'semantic_vad' })), {
    refused: ['audio.input.turn_detection']
  }, 'eagerness has to be asked for')
})

t.test('call: enum and const are about the whole value: a member as before is not left out of it', async (t) => {
  const policy = (schema: Json) => ({
    defaults: detection({ type: 'semantic_vad', eagerness: 'low', create_response: false }),
    allow: { 'audio.input.turn_detection': schema }
  })
  const reported = detection({ type: 'semantic_vad', eagerness: 'high', create_response: false })
  t.match(checked(policy({ enum: [{ type: 'semantic_vad', eagerness: 'high' }] }), reported), {
    refused: ['audio.input.turn_detection']
  })
  const properties = { type: { const: 'semantic_vad' }, eagerness: { type: 'string' } }
  t.match(checked(policy({ type: 'object', additionalProperties: false, properties }), reported), NONE)
})

t.test('call: an allowed path around fields is checked as a whole', async (t) => {
  const properties = {
    noise_reduction: { enum: [{ type: 'near_field' }] }, transcription: { enum: [{ model: 'whisper-1' }] }
  }
  const policy = {
    allow: { 'audio.input': { type: 'object', additionalProperties: false, properties } },
    defaults: { audio: { input: { noise_reduction: { type: 'near_field' } } } }
  }
  t.match(checked(policy, input('transcription', { model: 'whisper-1' })), NONE)
  const found = checked(policy, input('transcription', { model: 'other' }))
  t.same([found.refused, found.set], [['audio.input'], input('transcription', null)])
})

t.test('call: what an API takes no null at, and the policy has no value for, may be absent again', async (t) => {
  const transcription = { type: 'object', additionalProperties: false, properties: { model: { type: 'string' } } }
  const language = { 'audio.input.transcription.language': { enum: ['de'] } }
  const session = input('transcription', { language: 'de' })
  const asked = { fixed: input('transcription', { model: 'whisper-1' }), allow: language }
  t.match(checked(asked, input('transcription', { model: 'whisper-1' }), { session }), NONE)
  const defaulted = { ...asked, defaults: input('transcription', { language: 'de' }) }
  t.match(checked(defaulted, input('transcription', { model: 'whisper-1' })), {
    refused: ['audio.input.transcription.language'],
    set: input('transcription', { model: 'whisper-1', language: 'de' })
  })
  const whole = {
    defaults: input('transcription', { model: 'whisper-1' }), allow: { 'audio.input.transcription': transcription }
  }
  t.match(checked(whole, input('transcription', null)), { refused: ['audio.input.transcription'] }, 'null is a value')
})

t.test('call: a field is restored without what the client had chosen and has left out', async (t) => {
  const asked = {
    fixed: input('transcription', { model: 'whisper-1' }),
    allow: { 'audio.input.transcription.language': { enum: ['de'] } }
  }
  const found = checked(
    asked, input('transcription', { model: 'other' }), { session: input('transcription', { language: 'de' }) }
  )
  t.same(found.refused, ['audio.input.transcription.model'])
  t.same(found.set, input('transcription', { model: 'whisper-1' }))
})

t.test('call: a member that is allowed inside of what was never sent: the whole is as before', async (t) => {
  const policy = { allow: { 'audio.input.turn_detection.threshold': { type: 'number', maximum: 0.8 } } }
  t.match(checked(policy, detection({ type: 'server_vad', threshold: 0.7 })), NONE)
  const found = checked(policy, detection({ type: 'server_vad', threshold: 0.7, silence_duration_ms: 900 }))
  t.same(found.refused, ['audio.input.turn_detection.silence_duration_ms'])
  t.match(found.set, detection({ type: 'server_vad', threshold: 0.7, silence_duration_ms: 200 }))
})

t.test('call: a default of null stays, whatever may be set inside', async (t) => {
  const policy = {
    defaults: detection(null), allow: { 'audio.input.turn_detection.threshold': { type: 'number', maximum: 0.8 } }
  }
  const found = checked(policy, detection({ type: 'server_vad', threshold: 0.7 }))
  t.same(found.refused, ['audio.input.turn_detection.type'])
  t.same(found.set, detection(null))
})

t.test('call: what a prompt sets is the prompt\'s, whatever is allowed', async (t) => {
  const found = checked({ allow: { 'audio.output.voice': { enum: ['marin', 'cedar'] } }, default_prompt: 'support' }, {
    audio: { output: { voice: 'cedar' } }
  }, { prompts: { support: { session: { audio: { output: { voice: 'marin' } } } } } })
  t.same(found.refused, ['audio.output.voice'])
  t.same(found.set, { audio: { output: { voice: 'marin' } } })
})

t.test('call: a stranger\'s numbers and shapes are changes, not errors', async (t) => {
  const allow = { allow: { max_output_tokens: { type: 'number' } } }
  const infinite = checked(allow, (session) => ({ ...session, max_output_tokens: Infinity }))
  t.match(infinite, { refused: ['max_output_tokens'] })
  t.match(checked({}, (session) => ({ ...session, tool_choice: {} })), { refused: ['tool_choice'] })
  t.match(checked({}, (session) => ({ ...session, audio: 7 })).refused.length, 5)
  t.match(checked({}, (session) => ({ ...session, reasoning: {} })), NONE)
  t.match(checked({ fixed: { reasoning: {} } }, (session) => ({ ...session, reasoning: null })), NONE)
  t.match(checked({}, (session) => ({ ...session, reasoning: { effort: 'low' } })), { set: { reasoning: 'nothing' } })
})

t.test('call: a schema with more members than are tried one by one', async (t) => {
  const names = [
    'type', 'threshold', 'prefix_padding_ms', 'silence_duration_ms', 'create_response', 'interrupt_response'
  ]
  const properties = Object.fromEntries(names.map((name) => [name, true]))
  const deep = {
    type: 'object',
    additionalProperties: false,
    properties: {
      turn_detection: {
        type: 'object', additionalProperties: false, required: ['type'], properties
      },
      noise_reduction: true
    }
  }
  const found = checked({ allow: { 'audio.input': deep } }, {
    audio: {
      input: { turn_detection: { type: 'server_vad', threshold: 0.9 }, noise_reduction: { type: 'near_field' } }
    }
  })
  t.match(found, NONE)
})

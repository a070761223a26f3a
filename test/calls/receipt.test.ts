// The receipt of a call: with any events in any order its sums are right, or it is marked incomplete.

import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { createReceipt } from '../../src/calls/receipt.ts'
import type { Usage } from '../../src/calls/usage.ts'
import type { Json, JsonObject } from '../../src/json.ts'
import { REALTIME_CALLS } from '../../src/realtime/call-protocol.ts'
import {
  committed, responseCreated, responseDone, responseFailed, transcribed, usageOf
} from '../support/call-events.ts'
import { times } from '../support/times.ts'

const TRANSCRIBED = {
  type: 'session.updated', session: { audio: { input: { transcription: { model: 'gpt-4o-transcribe' } } } }
}
const failed = (itemId: string): JsonObject =>
  ({ type: 'conversation.item.input_audio_transcription.failed', item_id: itemId, error: { code: 'no' } })

function receiptOf (...events: readonly JsonObject[]) {
  const receipt = createReceipt()
  for (const event of events) {
    const signal = REALTIME_CALLS.signalOf(String(event.type), () => event)
    if (signal !== null) receipt.handle(signal)
  }
  return receipt
}

t.test('call: receipt: tokens by direction and modality, cached ones, transcriptions', (t) => {
  const receipt = receiptOf(
    TRANSCRIBED, committed('i'), responseCreated('a'),
    responseDone('a', usageOf({
      inputText: 1,
      inputAudio: 20,
      inputImage: 300,
      cachedText: 1,
      cachedAudio: 10,
      cachedImage: 100,
      outputText: 4000,
      outputAudio: 50_000
    })),
    transcribed('i'), transcribed('j', { type: 'duration', seconds: 2.5 })
  )
  t.same(receipt.usage(), {
    responses: 1,
    input_tokens: 321,
    output_tokens: 54_000,
    input: { text: 1, audio: 20, image: 300 },
    cached: { text: 1, audio: 10, image: 100 },
    output: { text: 4000, audio: 50_000 },
    transcription: { seconds: 2.5, input_tokens: 26, output_tokens: 9 }
  })
  t.equal(receipt.isComplete(), true)
  t.end()
})

const good = usageOf({ inputAudio: 5, cachedAudio: 2, outputAudio: 7 })
const withDetails = (details: JsonObject): JsonObject => ({ ...good, ...details })

for (const [name, isComplete, ...events] of [
  ['a response that was not seen to end', false, responseCreated('a')],
  ['one that ended before it was seen to begin', true, responseDone('a', good), responseCreated('a')],
  ['one without an id, at its beginning', false, responseCreated('', { id: null })],
  ['one without an id, at its end', false, responseDone('', good, { id: null })],
  ['one that is reported twice', true, responseCreated('a'), responseDone('a', good), responseDone('a', good)],
  ['one without usage', false, responseDone('a', null)],
  ['one that failed without usage', true, responseFailed('a')],
  ['one that failed and cost what cannot be read', false, responseDone('a', 'x', { status: 'failed' })],
  ['half a token', false, responseDone('a', withDetails({ input_tokens: 0.5 }))],
  ['more tokens than there can be', false, responseDone('a', withDetails({ output_tokens: 1e300 }))],
  ['a total that is missing', false, responseDone('a', withDetails({ output_tokens: null }))],
  ['a modality that is missing, and may have tokens', false,
    responseDone('a', withDetails({ output_token_details: { text_tokens: 0 } }))],
  ['one that is missing, and can have none', true,
    responseDone('a', withDetails({ output_token_details: { audio_tokens: 7 } }))],
  ['tokens of no modality', true,
    responseDone('a', withDetails({ output_token_details: { text_tokens: 0, audio_tokens: 3 } }))],
  ['details that are missing', false, responseDone('a', withDetails({ input_token_details: null }))],
  ['cached tokens without details', false,
    responseDone('a', withDetails({ input_token_details: { audio_tokens: 5, cached_tokens: 2 } }))],
  ['none that are cached, without details', true,
    responseDone('a', withDetails({ input_token_details: { audio_tokens: 5, cached_tokens: 0 } }))],
  ['speech that is not transcribed', true, committed('i')],
  ['speech that is, and was not seen to be', false, TRANSCRIBED, committed('i')],
  ['a transcription that failed', true, TRANSCRIBED, committed('i'), failed('i')],
  ['one that was reported before its speech', true, TRANSCRIBED, transcribed('i'), committed('i')],
  ['one without usage', false, transcribed('i', null)],
  ['one of negative seconds', false, transcribed('i', { type: 'duration', seconds: -1 })],
  ['one of no item', false, TRANSCRIBED, { type: 'input_audio_buffer.committed' }]
] as const) {
  t.test(`call: receipt: ${name}: ${isComplete ? 'complete' : 'incomplete'}`, (t) => {
    t.equal(receiptOf(...events).isComplete(), isComplete)
    t.end()
  })
}

t.test('call: receipt: an event that would count and is no JSON makes it incomplete', (t) => {
  const receipt = createReceipt()
  const signal = REALTIME_CALLS.signalOf('response.done', () => undefined)
  if (signal !== null) receipt.handle(signal)
  t.equal(receipt.isComplete(), false)
  t.equal(receipt.usage().responses, 0)
  t.end()
})

t.test('call: receipt: more responses than anyone has are not counted, and it says so', (t) => {
  const receipt = createReceipt()
  const one = { is: 'response', isOpen: false, isFailed: false, usage: { input_tokens: 0, output_tokens: 0 } } as const
  for (let i = 0; i < 10_000; i++) receipt.handle({ ...one, id: `resp_${i}` })
  receipt.handle({ ...one, id: 'resp_0' })
  t.equal(receipt.isComplete(), true)
  receipt.handle({ ...one, id: 'resp_10000', usage: { input_tokens: 1, output_tokens: 0 } })
  t.equal(receipt.isComplete(), false)
  t.equal(receipt.usage().input_tokens, 0)
  t.end()
})

const few = fc.nat(1000)
const tokens = fc.record({
  inputText: few, inputAudio: few, inputImage: few, outputText: few, outputAudio: few, cachedText: few, cachedAudio: few
})
/** A cost, and the events that report it. */
type Reported = Readonly<{ cost: Json, begin: (id: string) => JsonObject, end: (id: string, cost: Json) => JsonObject }>
const reported: fc.Arbitrary<Reported> = fc.oneof(
  tokens.map((of): Reported => ({ cost: usageOf(of), begin: responseCreated, end: responseDone })),
  fc.oneof(
    fc.record({ type: fc.constant('tokens'), input_tokens: few, output_tokens: few }),
    fc.record({ type: fc.constant('duration'), seconds: few })
  ).map((cost): Reported => ({ cost, begin: committed, end: transcribed }))
)
const JUNK = [undefined, null, -1, '7', 0.5, 1e300, Infinity, {}, [], true] as Json[]
/** How often each of the two events comes, when, and what upstream makes of one count. */
const delivery = fc.record({
  begins: fc.nat(2),
  ends: fc.nat(3),
  order: fc.array(fc.nat(100), { minLength: 5, maxLength: 5 }),
  junk: fc.option(fc.record({ at: fc.nat(20), value: fc.constantFrom(...JUNK) }), { freq: 4 })
})

/** The cost with one of its counts replaced. Half a second is a count, half a token is none. */
function spoiled (cost: Json, { at, value }: Readonly<{ at: number, value: Json }>): Json {
  let left = at
  return JSON.parse(JSON.stringify(cost), (key, found: Json) =>
    typeof found === 'number' && left-- === 0 && !(key === 'seconds' && value === 0.5) ? value : found)
}

function flat (usage: Usage): number[] {
  return Object.values(usage).flatMap((value) => typeof value === 'number' ? [value] : Object.values(value))
}

t.test('call: receipt: reordered, repeated, lost or damaged: right, or incomplete and never too high', (t) => {
  fc.assert(fc.property(fc.array(fc.tuple(reported, delivery), { maxLength: 8 }), (things) => {
    const truth = receiptOf(...things.map(([{ cost, end }], i) => end(`id_${i}`, cost)))
    assert.equal(truth.isComplete(), true)
    const events = things.flatMap(([{ cost, begin, end }, { begins, ends, order, junk }], i) => [
      ...Array.from({ length: begins }, () => begin(`id_${i}`)),
      ...Array.from({ length: ends }, () => end(`id_${i}`, junk === null ? cost : spoiled(cost, junk)))
    ].map((event, n) => ({ event, at: order[n] as number })))
    const receipt = receiptOf(TRANSCRIBED, ...events.sort((a, b) => a.at - b.at).map(({ event }) => event))
    // Only the loss of the sideband shows that events without a trace may be missing.
    if (things.some(([, { begins, ends }]) => begins + ends === 0)) receipt.noteGap()

    const [found, right] = [flat(receipt.usage()), flat(truth.usage())]
    found.forEach((value, i) => assert.ok(value <= (right[i] as number), 'never too high'))
    if (receipt.isComplete()) assert.deepEqual(receipt.usage(), truth.usage())
    if (things.every(([, { ends, junk }]) => ends > 0 && junk === null)) assert.equal(receipt.isComplete(), true)
  }), { numRuns: times(500) })
  t.end()
})

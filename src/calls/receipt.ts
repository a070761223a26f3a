// What a call came to: usage, each response and each transcription once. Counted as it can be; what cannot be counted
// makes the receipt incomplete.

import { getIn, isObject, type Json, type Path } from '../json.ts'
import type { Signal } from '../realtime/call-protocol.ts'

export type Usage = Readonly<{
  responses: number
  input_tokens: number
  output_tokens: number
  input: Readonly<{ text: number, audio: number, image: number }>
  cached: Readonly<{ text: number, audio: number, image: number }>
  output: Readonly<{ text: number, audio: number }>
  transcription: Readonly<{ seconds: number, input_tokens: number, output_tokens: number }>
}>

export type Receipt = Readonly<{
  hear: (signal: Signal) => void
  /** Something happened that was not seen. */
  miss: () => void
  usage: () => Usage
  isComplete: () => boolean
}>

/** Of each kind: more is no call of a person. */
const MAX_IDS = 10_000

export function createReceipt (): Receipt {
  const seen = { response: new Set<string>(), transcription: new Set<string>() }
  const usage = {
    responses: 0,
    input_tokens: 0,
    output_tokens: 0,
    input: { text: 0, audio: 0, image: 0 },
    cached: { text: 0, audio: 0, image: 0 },
    output: { text: 0, audio: 0 },
    transcription: { seconds: 0, input_tokens: 0, output_tokens: 0 }
  }
  let isComplete = true

  function isNew (ids: Set<string>, id: string | null): boolean {
    if (id === null || (ids.size >= MAX_IDS && !ids.has(id))) isComplete = false
    else if (!ids.has(id)) {
      ids.add(id)
      return true
    }
    return false
  }

  /** A missing detail is none; whatever else is no count makes the receipt incomplete. */
  function count (value: Json, path: Path, isRequired = false): number {
    const found = getIn(value, path)
    if (found === undefined || found === null) {
      if (isRequired) isComplete = false
      return 0
    }
    if (typeof found === 'number' && found >= 0 && Number.isSafeInteger(Math.ceil(found))) return found
    isComplete = false
    return 0
  }

  function addResponse (of: Json): void {
    usage.input_tokens += count(of, ['input_tokens'], true)
    usage.output_tokens += count(of, ['output_tokens'], true)
    for (const modality of ['text', 'audio', 'image'] as const) {
      usage.input[modality] += count(of, ['input_token_details', `${modality}_tokens`])
      usage.cached[modality] += count(of, ['input_token_details', 'cached_tokens_details', `${modality}_tokens`])
    }
    for (const modality of ['text', 'audio'] as const) {
      usage.output[modality] += count(of, ['output_token_details', `${modality}_tokens`])
    }
  }

  function addTranscription (of: Json): void {
    const { transcription } = usage
    if (isObject(of) && of.type === 'duration') transcription.seconds += count(of, ['seconds'], true)
    else {
      transcription.input_tokens += count(of, ['input_tokens'], true)
      transcription.output_tokens += count(of, ['output_tokens'], true)
    }
  }

  return {
    hear: (signal) => {
      if (signal.is === 'transcription' && isNew(seen.transcription, signal.itemId)) addTranscription(signal.usage)
      if (signal.is !== 'response' || signal.isOpen || !isNew(seen.response, signal.id)) return
      usage.responses++
      // One that failed cost nothing unless it says so.
      if (signal.usage !== null || !signal.isFailed) addResponse(signal.usage)
    },
    miss: () => { isComplete = false },
    usage: () => structuredClone(usage),
    isComplete: () => isComplete
  }
}

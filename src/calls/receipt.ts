// The account of a call: its usage, with each response and each transcription once. Usage that cannot be counted, or a
// response that was not seen to end, makes the receipt incomplete.

import { getIn, isObject, type Json, type Path } from '../json.ts'
import type { Signal } from '../realtime/call-protocol.ts'
import type { Usage } from './usage.ts'

export type Receipt = Readonly<{
  handle: (signal: Signal) => void
  /** Events may have been missed. */
  noteGap: () => void
  usage: () => Usage
  isComplete: () => boolean
  state: () => ReceiptState
}>

/** State for a replica that takes the call over. */
export type ReceiptState = Readonly<{
  usage: Usage
  responses: CountedIds
  transcriptions: CountedIds
  isTranscribed: boolean
  isWhole: boolean
}>
type CountedIds = Readonly<{ seen: readonly string[], expected: readonly string[] }>

/** Cap for each kind of id: a person's call has fewer. */
const MAX_IDS = 10_000
/** Cap for the tokens of one response: sums stay exact. */
const MAX_COUNT = 1_000_000_000

const NOTHING: ReceiptState = {
  usage: {
    responses: 0,
    input_tokens: 0,
    output_tokens: 0,
    input: { text: 0, audio: 0, image: 0 },
    cached: { text: 0, audio: 0, image: 0 },
    output: { text: 0, audio: 0 },
    transcription: { seconds: 0, input_tokens: 0, output_tokens: 0 }
  },
  responses: { seen: [], expected: [] },
  transcriptions: { seen: [], expected: [] },
  isTranscribed: false,
  isWhole: true
}

/** Ids that were counted, and ids that are still expected. */
type Counted = Readonly<{ seen: Set<string>, expected: Set<string> }>

/** Begins empty, or with the state from another replica. */
export function createReceipt (before: ReceiptState = NOTHING): Receipt {
  const responses = countedFrom(before.responses)
  const transcriptions = countedFrom(before.transcriptions)
  const usage = structuredClone(before.usage)
  let { isTranscribed, isWhole } = before

  const noteGap = () => { isWhole = false }

  /** Without an id the same usage could be counted twice. */
  function add (ids: Set<string>, id: string | null): boolean {
    if (id === null || (ids.size >= MAX_IDS && !ids.has(id))) noteGap()
    else if (!ids.has(id)) return Boolean(ids.add(id))
    return false
  }

  /** Events may come in any order: a counted id is expected no more. */
  function expect ({ seen, expected }: Counted, id: string | null): void {
    if (id === null || !seen.has(id)) add(expected, id)
  }

  function isNew ({ seen, expected }: Counted, id: string | null): boolean {
    expected.delete(id ?? '')
    return add(seen, id)
  }

  /** Null if the value is missing or not a count. */
  function countAt (of: Json, path: Path, isCount: (value: number) => boolean = Number.isInteger): number | null {
    const found = getIn(of, path) ?? null
    if (typeof found === 'number' && found >= 0 && found <= MAX_COUNT && isCount(found)) return found
    if (found !== null) noteGap()
    return null
  }

  function total (of: Json, name: string, isCount?: (value: number) => boolean): number {
    const found = countAt(of, [name], isCount)
    if (found === null) noteGap()
    return found ?? 0
  }

  /** A modality that is missing has no tokens if the others have all of them. */
  function addDetails<T extends string> (
    to: Record<T, number>, of: Json, { path, sum }: Readonly<{ path: Path, sum: number }>
  ): void {
    const modalities = Object.keys(to) as T[]
    const found = modalities.map((modality) => countAt(of, [...path, `${modality}_tokens`]))
    const left = found.reduce<number>((rest, count) => rest - (count ?? 0), sum)
    if (found.includes(null) && left > 0) noteGap()
    modalities.forEach((modality, i) => { to[modality] += found[i] ?? 0 })
  }

  function addResponse (of: Json): void {
    const [input, output] = [total(of, 'input_tokens'), total(of, 'output_tokens')]
    const cached = countAt(of, ['input_token_details', 'cached_tokens']) ?? 0
    usage.input_tokens += input
    usage.output_tokens += output
    addDetails(usage.input, of, { path: ['input_token_details'], sum: input })
    addDetails(usage.cached, of, { path: ['input_token_details', 'cached_tokens_details'], sum: cached })
    addDetails(usage.output, of, { path: ['output_token_details'], sum: output })
  }

  function addTranscription (of: Json): void {
    const { transcription } = usage
    if (isObject(of) && of.type === 'duration') transcription.seconds += total(of, 'seconds', Number.isFinite)
    else {
      transcription.input_tokens += total(of, 'input_tokens')
      transcription.output_tokens += total(of, 'output_tokens')
    }
  }

  return {
    handle: (signal) => {
      if (signal.is === 'unreadable') return noteGap()
      if (signal.is === 'session') {
        isTranscribed = isObject(getIn(signal.session, ['audio', 'input', 'transcription']))
      } else if (signal.is === 'committed') {
        if (isTranscribed) expect(transcriptions, signal.itemId)
      } else if (signal.is === 'transcription') {
        if (isNew(transcriptions, signal.itemId) && isCharged(signal)) addTranscription(signal.usage)
      } else if (signal.is === 'response') {
        if (signal.isOpen) return expect(responses, signal.id)
        if (!isNew(responses, signal.id)) return
        usage.responses++
        if (isCharged(signal)) addResponse(signal.usage)
      }
    },
    noteGap,
    usage: () => structuredClone(usage),
    isComplete: () => isWhole && responses.expected.size === 0 && transcriptions.expected.size === 0,
    state: () => ({
      usage: structuredClone(usage),
      responses: idsOf(responses),
      transcriptions: idsOf(transcriptions),
      isTranscribed,
      isWhole
    })
  }
}

function countedFrom ({ seen, expected }: CountedIds): Counted {
  return { seen: new Set(seen), expected: new Set(expected) }
}

function idsOf ({ seen, expected }: Counted): CountedIds {
  return { seen: [...seen], expected: [...expected] }
}

/** A failed response costs nothing unless it reports usage. */
function isCharged ({ isFailed, usage }: Readonly<{ isFailed: boolean, usage: Json }>): boolean {
  return usage !== null || !isFailed
}

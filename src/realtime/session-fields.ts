// The fields of a session in force: what one `session.update` replaces as a whole, and what the API fills in by itself.

import { isObject, type Json, type JsonObject, type Path } from '../json.ts'

/** Fields that no client can change, or that change by themselves. */
export const NOT_COMPARED: ReadonlySet<string> = new Set([
  'id', 'object', 'type', 'model', 'expires_at', 'client_secret'
])
/** The field that cannot be changed once the voice was heard. */
export const VOICE: Path = ['audio', 'output', 'voice']

const CONTAINERS: ReadonlySet<string> = new Set(['audio', 'audio.input', 'audio.output'])

const RESPONSES = { create_response: [true], interrupt_response: [true] }
const FORMAT = { type: ['audio/pcm'], rate: [24_000, 8000] }
/** Defaults that were seen or documented, by path, for members that were not sent. An empty type: any. */
const DEFAULTS: Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, readonly Json[]>>>>>> = {
  'audio.input.turn_detection': {
    server_vad: { threshold: [0.5], prefix_padding_ms: [300], silence_duration_ms: [200, 500], ...RESPONSES },
    semantic_vad: { eagerness: ['auto'], ...RESPONSES }
  },
  'audio.input.transcription': { '': { prompt: [''], languages: [[]], keywords: [[]] } },
  'audio.input.format': { '': FORMAT },
  'audio.output.format': { '': FORMAT },
  '': {
    '': {
      instructions: [''],
      tools: [[]],
      tool_choice: ['auto'],
      parallel_tool_calls: [true],
      max_output_tokens: ['inf'],
      output_modalities: [['audio']],
      truncation: ['auto'],
      include: [[]]
    }
  }
}

const EMPTY: Readonly<Record<string, Json>> = {
  instructions: '',
  tools: [],
  include: [],
  prompt: null,
  'audio.input.transcription': null,
  'audio.input.noise_reduction': null
}

/** The members of this object are fields; the object is not. */
export function isContainer (path: Path): boolean {
  return path.length === 0 || CONTAINERS.has(path.join('.'))
}

/** The field that a path lies in. */
export function fieldOf (path: Path): Path {
  const end = path.findIndex((_, i) => !isContainer(path.slice(0, i + 1)))
  return end === -1 ? path : path.slice(0, end + 1)
}

/** Whether `value`, a member of `parent` at `path`, may have been filled in. */
export function isDefault (path: Path, value: Json, parent: JsonObject): boolean {
  const types = DEFAULTS[path.slice(0, -1).join('.')]
  const members = types?.[''] ?? types?.[String(parent.type)]
  const known = members?.[path.at(-1) as string]
  return known?.some((one) => JSON.stringify(one) === JSON.stringify(value)) === true
}

/** The value that empties a field, if any. Null for turn detection is a mode of its own, not emptiness. */
export function emptyOf (field: Path): Json | undefined {
  return EMPTY[field.join('.')]
}

/** Tracing reaches only the operator's own organisation, and `@openai/agents-realtime` sets it at each opening. */
export function isReportedOnly (path: Path): boolean {
  return path[0] === 'tracing'
}

/** A copy in which no object has a member that is null, lists apart. */
export function withoutNullMembers (value: Json): Json {
  if (!isObject(value)) return value
  return Object.fromEntries(Object.entries(value).flatMap(
    ([key, inner]) => inner === null ? [] : [[key, withoutNullMembers(inner)]]
  ))
}

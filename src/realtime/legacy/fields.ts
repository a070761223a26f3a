// The flat fields of the legacy API and their GA paths: one table, used in both directions.

import { isObject, type Json, type JsonObject, type Path } from '../../json.ts'
import type { Kind } from '../session.ts'

export type LegacyKind = Exclude<Kind, 'translation'>

/** Undefined if the value has no counterpart. */
type Translate = (value: Json) => Json | undefined

export type Field = Readonly<{
  name: string
  /** Null without a GA equivalent: the value must still be valid. */
  path: Path | null
  read: Translate
  write: Translate
  /** Members that exist only in GA. */
  gaOnly: readonly string[]
  /** The legacy value has no members, even if the GA value does. */
  flat: boolean
}>

const same: Translate = (value) => value

function field (name: string, path: string | null, details: Partial<Field> = {}): Field {
  return {
    name, path: path === null ? null : path.split('.'), read: same, write: same, gaOnly: [], flat: false, ...details
  }
}

const FORMATS: readonly [string, JsonObject][] = [
  ['pcm16', { type: 'audio/pcm', rate: 24000 }],
  ['g711_ulaw', { type: 'audio/pcmu' }],
  ['g711_alaw', { type: 'audio/pcma' }]
]

export const FORMAT_NAMES = FORMATS.map(([name]) => name)

const format: Partial<Field> = {
  flat: true,
  read: (name) => structuredClone(FORMATS.find(([known]) => known === name)?.[1]),
  write: (value) => FORMATS.find(([, { type }]) => isObject(value) && value.type === type)?.[0] ?? value
}

/** GA rejects `['audio', 'text']`: its audio always comes with a transcript. */
const modalities: Partial<Field> = {
  read: (value) => {
    const known = Array.isArray(value) && value.length > 0 && new Set(value).size === value.length &&
      value.every((modality) => modality === 'text' || modality === 'audio')
    return known ? [value.includes('audio') ? 'audio' : 'text'] : undefined
  },
  write: (value) => Array.isArray(value) && value.length === 1 && value[0] === 'audio' ? ['audio', 'text'] : value
}

const toolChoice: Partial<Field> = {
  flat: true,
  gaOnly: ['server_label'],
  read: (value) => typeof value !== 'string' || ['auto', 'none', 'required'].includes(value)
    ? value
    : { type: 'function', name: value },
  write: (value) => isObject(value) ? value.name : value
}

const tools: Partial<Field> = {
  read: (value) =>
    Array.isArray(value) ? value.map((tool) => isObject(tool) ? { type: 'function', ...tool } : tool) : value
}

/** GA requires the type that legacy may omit. Members of the other type are kept, and refused as in GA. */
function turnDetection (gaOnly: string[]): Field {
  const read: Translate = (value) => isObject(value) ? { type: 'server_vad', ...value } : value
  return nested('turn_detection', 'audio.input.turn_detection', gaOnly, read)
}

function nested (name: string, path: string, gaOnly: string[], read = same): Field {
  return field(name, path, { gaOnly, read, write: (value) => without(value, gaOnly) })
}

function without (value: Json, names: readonly string[]): Json {
  return isObject(value) ? Object.fromEntries(Object.entries(value).filter(([name]) => !names.includes(name))) : value
}

const INPUT = [
  field('include', 'include'),
  field('input_audio_format', 'audio.input.format', format),
  nested('input_audio_transcription', 'audio.input.transcription', ['delay', 'keywords', 'languages']),
  nested('input_audio_noise_reduction', 'audio.input.noise_reduction', ['strength'])
]

export const FIELDS: Readonly<Record<LegacyKind, readonly Field[]>> = {
  realtime: [
    ...INPUT,
    turnDetection(['idle_timeout_ms']),
    field('model', 'model'),
    field('modalities', 'output_modalities', modalities),
    field('instructions', 'instructions'),
    field('voice', 'audio.output.voice'),
    field('speed', 'audio.output.speed'),
    field('output_audio_format', 'audio.output.format', format),
    field('tools', 'tools', tools),
    field('tool_choice', 'tool_choice', toolChoice),
    field('max_response_output_tokens', 'max_output_tokens'),
    field('prompt', 'prompt'),
    field('tracing', 'tracing'),
    field('truncation', 'truncation'),
    field('temperature', 'temperature')
  ],
  transcription: [
    ...INPUT,
    turnDetection(['idle_timeout_ms', 'create_response', 'interrupt_response']),
    field('modalities', null, modalities)
  ]
}

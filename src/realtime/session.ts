// The kinds of session, and validation of their configs. Objects are closed: unknown fields are rejected.

import type { TSchema } from 'typebox'
import { Check, Compile } from 'typebox/schema'
import { isObject, type JsonObject, type Path, variantsOf } from '../json.ts'
import { RealtimeSession, TranscriptionSession, TranslationSession } from './parameters.ts'

export { RealtimeSession, TranscriptionSession, TranslationSession }

export const KINDS = ['realtime', 'transcription', 'translation'] as const
export type Kind = typeof KINDS[number]

export const sessionSchemas: Readonly<Record<Kind, TSchema>> = {
  realtime: RealtimeSession,
  transcription: TranscriptionSession,
  translation: TranslationSession
}

const validators = {
  realtime: Compile(RealtimeSession),
  transcription: Compile(TranscriptionSession),
  translation: Compile(TranslationSession)
}

/** The path of a session's model. */
export function modelPath (kind: Kind): Path {
  return kind === 'transcription' ? ['audio', 'input', 'transcription', 'model'] : ['model']
}

/** Null if `session` is valid; else the deepest object path at which it is not (`[]`: a field is missing). */
export function checkSession (kind: Kind, session: JsonObject): Path | null {
  return validators[kind].Check(session) ? null : fault(sessionSchemas[kind], session, []) as Path
}

/** Whether `path` is a parameter or leads to one. Everything inside an array or a free-form value is known. */
export function isKnownPath (kind: Kind, path: Path): boolean {
  return knows(sessionSchemas[kind], path)
}

/** The schema at a known path. */
export function schemaAt (kind: Kind, path: Path): TSchema {
  return path.reduce<SessionNode>((node, key) =>
    ({ anyOf: variantsOf(node).flatMap((variant) => memberOf(variant, key) ?? []) }), sessionSchemas[kind])
}

/** The part of JSON Schema that the session schemas are written in. */
type SessionNode = TSchema & {
  type?: string
  const?: unknown
  enum?: unknown[]
  anyOf?: SessionNode[]
  required?: string[]
  additionalProperties?: boolean
  properties?: Record<string, SessionNode>
  patternProperties?: Record<string, SessionNode>
}

function knows (node: SessionNode, [key, ...rest]: Path): boolean {
  if (key === undefined) return true
  if (node.anyOf) return node.anyOf.some((variant) => knows(variant, [key, ...rest]))
  if (node.properties) return Object.hasOwn(node.properties, key) && knows(node.properties[key] as SessionNode, rest)
  return node.enum === undefined && [undefined, 'object', 'array'].includes(node.type)
}

/** `value` is not typed as Json: `Check` would narrow it to never. */
function fault (node: SessionNode, value: unknown, path: Path): Path | null {
  if (Check(node, value)) return null
  const variants = (node.anyOf ?? [node]).filter((variant) => variant.properties ?? variant.patternProperties)
  if (!isObject(value) || variants.length === 0) return path
  // Only the variant that the value's type names explains the fault.
  const variant = variants.length === 1 ? variants[0] : variants.find((one) => isNamed(one, value))
  if (variant === undefined) return Object.hasOwn(value, 'type') ? [...path, 'type'] : path
  for (const [key, inner] of Object.entries(value)) {
    const member = memberOf(variant, key)
    const open = variant.additionalProperties !== false
    const found = member ? fault(member, inner, [...path, key]) : open ? null : [...path, key]
    if (found !== null) return found
  }
  return path
}

function isNamed ({ properties, required = [] }: SessionNode, value: JsonObject): boolean {
  return Object.hasOwn(value, 'type') ? properties?.type?.const === value.type : !required.includes('type')
}

function memberOf ({ properties, patternProperties }: SessionNode, key: string): SessionNode | undefined {
  if (patternProperties) return Object.values(patternProperties)[0]
  return properties && Object.hasOwn(properties, key) ? properties[key] : undefined
}

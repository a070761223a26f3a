// JSON bodies, in UTF-8. Wrong types and encodings, and names that reach a prototype, are refused before anything reads
// them, never repaired.

import { ApiError } from '../errors.ts'
import { isObject, type Json } from '../json.ts'
import type { BodyParser } from './bodies.ts'

export const BODY_LIMIT_BYTES = 32 * 1024
const CONTENT_TYPE = /^application\/json\s*(?:;\s*charset="?utf-?8"?\s*)?(?:;\s*)?$/i
const MAX_DEPTH = 32
const FORBIDDEN_KEYS = new Set(['__proto__', 'constructor', 'prototype'])
// A BOM stays in the text, so that JSON.parse refuses it.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** An empty body is `{}`. */
export const STRICT_JSON: BodyParser = {
  type: 'application/json',
  limitBytes: BODY_LIMIT_BYTES,
  parse: (body, contentType) => {
    if (!CONTENT_TYPE.test(contentType)) throw new ApiError('unsupported_media_type')
    return body.length === 0 ? {} : parseStrictly(body)
  }
}

/** Throws ApiError unless there is no body, or `{}`. */
export function assertEmpty (body: unknown = {}): void {
  if (!isObject(body) || Object.keys(body).length > 0) throw new ApiError('invalid_request')
}

export function parseStrictly (body: Uint8Array): Json {
  let value: Json
  try {
    value = JSON.parse(utf8.decode(body))
  } catch (cause) {
    throw new ApiError('invalid_json', { cause })
  }
  assertPlain(value)
  return value
}

function assertPlain (value: Json, depth = 0): void {
  if (typeof value === 'string') return assertText(value)
  if (typeof value !== 'object' || value === null) return
  // Not descended any further: the sender chooses the depth.
  if (depth >= MAX_DEPTH) throw new ApiError('invalid_request', { reason: 'too_deep' })
  if (Array.isArray(value)) {
    for (const inner of value) assertPlain(inner, depth + 1)
    return
  }
  for (const key of Object.keys(value)) {
    if (FORBIDDEN_KEYS.has(key)) throw new ApiError('invalid_request', { reason: 'forbidden_key' })
    assertText(key)
    assertPlain(value[key] as Json, depth + 1)
  }
}

/** Refuses text that cannot be written as UTF-8, or that ends a string in other languages. */
function assertText (text: string): void {
  if (!text.isWellFormed() || text.includes('\0')) throw new ApiError('invalid_json', { reason: 'ill_formed_text' })
}

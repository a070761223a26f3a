// Bodies: JSON in UTF-8 and nothing else. What would be repaired elsewhere (types, encodings, names that reach a
// prototype) is refused here, before anything reads it.

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { ApiError } from '../errors.ts'
import type { Json } from '../json.ts'

export const BODY_LIMIT_BYTES = 32 * 1024
const MAX_DEPTH = 32
const FORBIDDEN_KEYS = new Set(['__proto__', 'constructor', 'prototype'])
// A BOM stays in the text, so that JSON.parse refuses it.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** No body at all is `{}`. */
export function registerStrictJson (app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('application/json', {
    parseAs: 'buffer', bodyLimit: BODY_LIMIT_BYTES
  }, (request: FastifyRequest, body: Buffer, done) => {
    let parsed: Json
    try {
      parsed = readBody(request, body)
    } catch (error) {
      return done(error as ApiError)
    }
    done(null, parsed)
  })
}

function readBody ({ headers }: FastifyRequest, body: Buffer): Json {
  const { 'content-encoding': encoding = 'identity', 'content-type': type = '' } = headers
  if (encoding !== 'identity' || !/^application\/json\s*(;\s*charset="?utf-?8"?\s*)?;?\s*$/i.test(type)) {
    throw new ApiError('unsupported_media_type')
  }
  return body.length === 0 ? {} : parseStrictly(body)
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
  // Not followed any deeper: the depth is the sender's choice.
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

/** What cannot be written as UTF-8, or ends a string elsewhere. */
function assertText (text: string): void {
  if (!text.isWellFormed() || text.includes('\0')) throw new ApiError('invalid_json', { reason: 'ill_formed_text' })
}

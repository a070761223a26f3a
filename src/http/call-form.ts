// The two bodies that create a call: the offer alone, or a form with the offer and the session.

import { ApiError } from '../errors.ts'
import type { Json } from '../json.ts'
import type { BodyParser } from './bodies.ts'
import { readForm } from './form.ts'
import { SDP_LIMIT_BYTES } from './sdp.ts'
import { BODY_LIMIT_BYTES, parseStrictly } from './strict-json.ts'

/** `sdp` is not checked yet. Without `session` the call gets the policy's own. */
export type CallBody = Readonly<{ sdp: string, session?: Json }>

const FORM_LIMIT_BYTES = SDP_LIMIT_BYTES + BODY_LIMIT_BYTES
const SDP_TYPE = /^application\/sdp\s*(?:;\s*charset="?utf-?8"?\s*)?(?:;\s*)?$/i
// A BOM stays in the text, which then does not begin with `v=0`.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export const CALL_BODIES: readonly BodyParser[] = [
  {
    type: 'application/sdp',
    limitBytes: SDP_LIMIT_BYTES,
    parse: (body, contentType): CallBody => {
      if (!SDP_TYPE.test(contentType)) throw new ApiError('unsupported_media_type')
      return { sdp: decodeText(body) }
    }
  },
  { type: 'multipart/form-data', limitBytes: FORM_LIMIT_BYTES, parse: readCallForm }
]

function readCallForm (body: Buffer, contentType: string): CallBody {
  const parts = new Map<string, Buffer>()
  for (const { name, fileName, content } of readForm(body, contentType)) {
    // Clients that send a part as a file without a name write an empty file name.
    if (!['sdp', 'session'].includes(name) || parts.has(name) || (fileName ?? '') !== '') {
      throw new ApiError('invalid_request', { reason: 'unexpected_part' })
    }
    parts.set(name, content)
  }
  const [sdp, session] = [parts.get('sdp'), parts.get('session')]
  if (sdp === undefined) throw new ApiError('invalid_request', { param: 'sdp' })
  if (sdp.length > SDP_LIMIT_BYTES || (session?.length ?? 0) > BODY_LIMIT_BYTES) throw new ApiError('body_too_large')
  return { sdp: decodeText(sdp), ...session === undefined ? {} : { session: readSession(session) } }
}

/** Null as a session is refused, although null as a field counts as not set. */
function readSession (bytes: Buffer): Json {
  const session = parseStrictly(bytes)
  if (session === null) throw new ApiError('invalid_request', { param: 'session' })
  return session
}

function decodeText (bytes: Buffer): string {
  try {
    return utf8.decode(bytes)
  } catch (cause) {
    throw new ApiError('invalid_request', { param: 'sdp', cause })
  }
}

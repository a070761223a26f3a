// Checks of WebRTC offers and answers (SDP, RFC 8866). The bytes that were checked are the bytes that are sent on.

import { ApiError } from '../errors.ts'

export const SDP_LIMIT_BYTES = 64 * 1024
const MAX_LINES = 1000
const MAX_LINE_BYTES = 2048
/** A parser with 16-bit ports takes 65536 for 0. */
const MAX_PORT = 65_535

// Other parsers take these for the end of a line: each would then see media that was not checked.
const CONTROLS = /(?![\t\r\n])[\p{Cc}\u2028\u2029]/u
const MEDIA = /^m=(audio|application) (\d{1,5})(?:\/\d+)?(?: (\S*)|$)/
const CHANNEL = /^[ \t]*m[ \t]*=[ \t]*application/im

/** Throws ApiError with `param` sdp unless it offers one audio stream, and a data channel only where one is allowed. */
export function assertOffer (sdp: string, { hasDataChannel }: { hasDataChannel: boolean }): void {
  const lines = linesOf(sdp)
  const media = (lines ?? []).filter((line) => line.startsWith('m=')).map(readMedia)
  const [voice, ...others] = media.filter((found) => found?.is === 'audio')
  const channels = media.length - others.length - 1
  const isOne = lines?.[0] === 'v=0' && !media.includes(null) && voice?.port !== 0 && others.length === 0
  if (voice === undefined || !isOne || channels > 1) {
    throw new ApiError('invalid_request', { param: 'sdp', reason: 'no_offer' })
  }
  if (channels > 0 && !hasDataChannel) throw new ApiError('policy_violation', { param: 'sdp', reason: 'data_channel' })
}

/** Null for media that no call may have. */
function readMedia (line: string): Readonly<{ is: string, port: number }> | null {
  const [, is, port, protocol = ''] = MEDIA.exec(line) ?? []
  // Audio by SCTP would be a data channel under another name.
  const isOdd = is === undefined || Number(port) > MAX_PORT || (is === 'audio' && /sctp/i.test(protocol))
  return isOdd ? null : { is, port: Number(port) }
}

/** Whether upstream's answer is SDP, and has no data channel unless one is allowed. */
export function isAnswer (sdp: string, { hasDataChannel }: { hasDataChannel: boolean }): boolean {
  return sdp.startsWith('v=0') && (hasDataChannel || !namesDataChannel(sdp))
}

export function namesDataChannel (sdp: string): boolean {
  return CHANNEL.test(sdp.replaceAll('\r', '\n'))
}

/** Null if a line is malformed or too long, or there are too many. */
function linesOf (sdp: string): string[] | null {
  if (CONTROLS.test(sdp)) return null
  // Blank lines may only be at the end.
  const lines = sdp.trimEnd().split(/\r\n|\r|\n/, MAX_LINES + 1)
  return lines.length <= MAX_LINES &&
    lines.every((line) => /^[a-z]=/.test(line) && Buffer.byteLength(line) <= MAX_LINE_BYTES)
    ? lines
    : null
}

// Offers and answers of WebRTC (SDP, RFC 8866): what a call may be made of. They are sent on as they were checked.

import { ApiError } from '../errors.ts'

export const SDP_LIMIT_BYTES = 64 * 1024
const MAX_LINES = 1000
const MAX_LINE_BYTES = 2048
/** A reader of 16 bits takes 65536 for 0. */
const MAX_PORT = 65_535

// Other parsers take these for the end of a line: each would then see media that was not checked.
const CONTROLS = /(?![\t\r\n])[\p{Cc}\u2028\u2029]/u
const MEDIA = /^m=(audio|application) (\d{1,5})(?:\/\d+)?(?: (\S*)|$)/
const CHANNEL = /^[ \t]*m[ \t]*=[ \t]*application/im

/** Throws ApiError with `param` sdp: it is no offer of one voice, or has a data channel where there may be none. */
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

/** Null for what no call is made of. */
function readMedia (line: string): Readonly<{ is: string, port: number }> | null {
  const [, is, port, protocol = ''] = MEDIA.exec(line) ?? []
  // By SCTP a voice would be a data channel under another name.
  const isOdd = is === undefined || Number(port) > MAX_PORT || (is === 'audio' && /sctp/i.test(protocol))
  return isOdd ? null : { is, port: Number(port) }
}

/** Whether upstream's answer is one, without a data channel where there may be none. */
export function isAnswer (sdp: string, { hasDataChannel }: { hasDataChannel: boolean }): boolean {
  return sdp.startsWith('v=0') && (hasDataChannel || !namesDataChannel(sdp))
}

export function namesDataChannel (sdp: string): boolean {
  return CHANNEL.test(sdp.replaceAll('\r', '\n'))
}

/** Null where a line is not of the form that all lines have, or too long, or there are too many. */
function linesOf (sdp: string): string[] | null {
  if (CONTROLS.test(sdp)) return null
  // Blank lines are no more than an end.
  const lines = sdp.trimEnd().split(/\r\n|\r|\n/, MAX_LINES + 1)
  return lines.length <= MAX_LINES &&
    lines.every((line) => /^[a-z]=/.test(line) && Buffer.byteLength(line) <= MAX_LINE_BYTES)
    ? lines
    : null
}

// Node's parser takes RTSP for HTTP, some methods of both, and does not report which one it was: only the bytes do.

import type { Socket } from 'node:net'

/** The end of a request's first line. No JSON holds these bytes: a string has no line break in it. */
const LINE_END = /RTSP\/1\.[01]\r\n/
const BYTES = 'RTSP/1.0\r\n'.length
/** What a packet ends with that breaks such a line in two. */
const BROKEN = new Set([...'RTSP/1.0\r'].map((char) => char.charCodeAt(0)))

/** Takes what arrives, packet by packet. */
export function findRtsp (): (bytes: Buffer, socket: Socket) => boolean {
  const broken = new WeakMap<Socket, string>()
  return (bytes, socket) => {
    const before = broken.get(socket) ?? ''
    if (before !== '') broken.delete(socket)
    if (BROKEN.has(bytes[bytes.length - 1] as number)) {
      broken.set(socket, (before + bytes.toString('latin1', Math.max(0, bytes.length - BYTES))).slice(-BYTES))
    }
    if (before !== '' && LINE_END.test(before + bytes.toString('latin1', 0, BYTES))) return true
    return bytes.includes('RTSP/1.') && LINE_END.test(bytes.toString('latin1'))
  }
}

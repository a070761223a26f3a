// Node's parser takes RTSP for HTTP and does not report which one it was: only the bytes show it.

import type { Socket } from 'node:net'

/** The end of a request's first line. JSON cannot hold these bytes: a string has no line break in it. */
const LINE_END = /RTSP\/1\.[01]\r\n/
const MARK = Buffer.from('RTSP/1.')
const BROKEN_OFF = 'RTSP/1.0\r'
const LENGTH = BROKEN_OFF.length + 1
/** A packet that breaks such a line in two ends with one of these. */
const LAST_BYTES = new Set([...BROKEN_OFF].map((char) => char.charCodeAt(0)))

/** The returned function is called with each packet of a socket. */
export function findRtsp (): (bytes: Buffer, socket: Socket) => boolean {
  const broken = new WeakMap<Socket, string>()
  return (bytes, socket) => {
    const before = broken.get(socket) ?? ''
    if (before !== '') broken.delete(socket)
    if (LAST_BYTES.has(bytes[bytes.length - 1] as number)) {
      broken.set(socket, (before + bytes.toString('latin1', Math.max(0, bytes.length - LENGTH))).slice(-LENGTH))
    }
    if (before !== '' && LINE_END.test(before + bytes.toString('latin1', 0, LENGTH))) return true
    return bytes.includes(MARK) && LINE_END.test(bytes.toString('latin1'))
  }
}

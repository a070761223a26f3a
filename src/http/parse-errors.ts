// What Node's parser refuses never becomes a request; it is answered in the same envelope, and the connection ends.

import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { envelope } from '../errors.ts'

/** Written out: importing node:http by name loads Node's own fetch and WebSocket, 20 ms of a start. */
const STATUS: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout'
}

/** For the answer to arrive: a connection that is torn down at once may take it along. */
const LINGER_MS = 1000

const answered = new WeakSet<Socket>()

const ignore = () => {}

/** For every socket of a server, and before anything else may listen: an error without a listener ends the process. */
export function surviveErrors (socket: Duplex): void {
  socket.on('error', ignore)
}

/** It gets its last answer elsewhere, whatever the parser makes of the rest. */
export function answersNoMore (socket: Socket): void {
  answered.add(socket)
}

export function answerMalformed (error: { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  socket.end(answered.has(socket) ? '' : answerTo(error))
  // Whoever sends such things need not be waited for until they hang up, too.
  setTimeout(() => socket.destroy(), LINGER_MS).unref()
}

function answerTo (error: { code?: string }): string {
  const body = JSON.stringify(envelope('invalid_request'))
  return [
    `HTTP/1.1 ${STATUS[error.code ?? ''] ?? '400 Bad Request'}`,
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Cache-Control: no-store',
    'X-Content-Type-Options: nosniff',
    'Vary: Authorization, Origin',
    'Connection: close',
    '',
    body
  ].join('\r\n')
}

// Bytes that Node's parser refuses never become a request: the answer has the same envelope, and ends the connection.

import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { envelope } from '../errors.ts'

/** Written out: importing `STATUS_CODES` from node:http loads Node's own fetch and WebSocket, 20 ms of a start. */
const STATUS: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout'
}

/** Lets the answer arrive: a connection that is torn down at once may lose it. */
const LINGER_MS = 1000

const answered = new WeakSet<Socket>()

const ignore = () => {}

/** For every socket of a server, before any other listener: an error without a listener ends the process. */
export function surviveErrors (socket: Duplex): void {
  socket.on('error', ignore)
}

/** The last answer of this socket is sent elsewhere: a parse error in the bytes that follow gets none. */
export function answersNoMore (socket: Socket): void {
  answered.add(socket)
}

export function answerMalformed (error: { code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  socket.end(answered.has(socket) ? '' : answerTo(error))
  // Does not wait for such a client to close its half.
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

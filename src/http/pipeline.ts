// Pipelining, bounded. Node begins every request that a packet holds, thousands of them, and keeps the answers until
// the client reads them. Here bytes go to the parser head by head; a request that may not begin yet stays bytes.

import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

const MAX_UNANSWERED = 8
const HEAD_END = '\r\n\r\n'
/** No head ends sooner: what looks like it is part of a body, or of a head that began in an earlier packet. */
const SHORTEST_HEAD = 'GET / HTTP/1.1\r\n\r\n'.length
/** An answer that was unread at this many looks in a row ends its connection: within 15 seconds. */
const UNREAD_LOOKS = 13

type Connection = {
  readonly unanswered: Set<ServerResponse>
  /** Hands over what is held, as far as it may begin. */
  readonly proceed: () => void
  unread: ServerResponse | null
  looks: number
}

/** `onBytes` sees what arrives before the parser does; it may end the connection. */
export function boundPipelines (server: Server, onBytes: (bytes: Buffer, socket: Socket) => void, lookMs = 1000): void {
  const connections = new Map<Socket, Connection>()
  server.on('connection', (socket: Socket) => {
    connections.set(socket, createConnection(socket, onBytes))
    socket.once('close', () => connections.delete(socket))
  })
  server.on('request', ({ socket }: IncomingMessage, response: ServerResponse) => {
    const connection = connections.get(socket) as Connection
    connection.unanswered.add(response)
    response.once('close', () => {
      connection.unanswered.delete(response)
      connection.proceed()
    })
  })
  const timer = setInterval(() => {
    for (const [socket, connection] of connections) if (isUnread(connection)) socket.destroy()
  }, lookMs).unref()
  server.once('close', () => clearInterval(timer))
}

function createConnection (socket: Socket, onBytes: (bytes: Buffer, socket: Socket) => void): Connection {
  const unanswered = new Set<ServerResponse>()
  // Node's own listener, the only one yet. With one of ours in its place Node reads through the stream, not past it.
  const [parse] = socket.listeners('data') as [(bytes: Buffer) => void]
  let held: Buffer | null = null

  const proceed = () => {
    while (held !== null && socket.writable && mayBegin(unanswered)) {
      const end = endOfFirst(held)
      const bytes: Buffer = held.subarray(0, end)
      held = end < held.length ? held.subarray(end) : null
      parse(bytes)
    }
    // Nothing is read behind the last answer: where CONNECT was refused, the parser has gone to another connection.
    if (!socket.writable) held = null
    if (held === null) {
      if (socket.isPaused()) socket.resume()
    } else socket.pause()
  }
  socket.on('data', (bytes: Buffer) => {
    if (socket.writable) onBytes(bytes, socket)
    held = held === null ? bytes : Buffer.concat([held, bytes])
    proceed()
  })
  socket.removeListener('data', parse)
  return { unanswered, proceed, unread: null, looks: 0 }
}

/** Not while an answer waits to be taken, be it by the client or behind an earlier one. */
function mayBegin (unanswered: ReadonlySet<ServerResponse>): boolean {
  if (unanswered.size >= MAX_UNANSWERED) return false
  for (const { headersSent } of unanswered) if (headersSent) return false
  return true
}

/** Where the first of several heads ends; the length of the bytes where there is at most one. */
function endOfFirst (bytes: Buffer): number {
  const found = bytes.indexOf(HEAD_END, SHORTEST_HEAD - HEAD_END.length)
  const end = found + HEAD_END.length
  return found === -1 || bytes.indexOf(HEAD_END, end) === -1 ? bytes.length : end
}

/** The oldest answer alone: those behind it wait for it, and it may be in work. */
function isUnread (connection: Connection): boolean {
  const [oldest] = connection.unanswered
  const unread = oldest?.headersSent === true ? oldest : null
  connection.looks = unread !== null && unread === connection.unread ? connection.looks + 1 : 0
  connection.unread = unread
  return connection.looks >= UNREAD_LOOKS
}

// Pipelining, bounded. Node begins every request that a packet holds, thousands of them, and keeps the answers for as
// long as the client does not read them. Here bytes go to the parser head by head; what may not begin yet stays bytes,
// and waits behind the requests of clients that do not pipeline.

import type { Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Unanswered } from './unanswered.ts'

const MAX_UNANSWERED = 8
/** Requests of all connections in one turn of the event loop: answers that the kernel buffers unread take minutes. */
const MAX_IN_A_TURN = 4
const HEAD_END = Buffer.from('\r\n\r\n')
/** No head ends sooner: what looks like it is part of a body, or of a head that began in an earlier packet. */
const SHORTEST_HEAD = 'GET / HTTP/1.1\r\n\r\n'.length
/** An answer unread at this many looks after the first ends its connection: 10 s, once kernel buffers are full. */
const UNREAD_LOOKS = 9

type PipelinedConnection = {
  readonly unanswered: readonly ServerResponse[]
  /** Bytes that the parser has not seen. */
  held: Buffer | null
  readonly parse: (bytes: Buffer) => void
  unread: ServerResponse | null
  looks: number
}

/** `onBytes` sees what arrives before the parser does; it may end the connection. */
export function boundPipelines (
  server: Server, unanswered: Unanswered, onBytes: (bytes: Buffer, socket: Socket) => void, lookMs = 1000
): void {
  const connections = new Map<Socket, PipelinedConnection>()
  const proceedInTurn = createTurns((socket) => {
    const connection = connections.get(socket)
    return connection !== undefined && proceed(socket, connection)
  })
  const proceed = (socket: Socket, connection: PipelinedConnection): boolean => {
    if (begin(socket, connection)) return true
    // Answers end in their order: what is held may not go on before the oldest has.
    const [oldest] = connection.unanswered as [ServerResponse]
    if (connection.held !== null) oldest.once('close', () => proceedInTurn(socket))
    return false
  }
  server.on('connection', (socket: Socket) => {
    // Node's own listener, so far the only one. With ours in its place Node reads through the stream, not past it.
    const [parse] = socket.listeners('data') as [(bytes: Buffer) => void]
    const connection: PipelinedConnection = {
      unanswered: unanswered.get(socket) as readonly ServerResponse[], held: null, parse, unread: null, looks: 0
    }
    connections.set(socket, connection)
    socket.on('data', (bytes: Buffer) => {
      if (connection.held !== null) {
        // Node resumes the socket whenever a body is read: it would hold more with every request.
        socket.pause()
        socket.unshift(bytes)
        return
      }
      if (socket.writable) onBytes(bytes, socket)
      connection.held = bytes
      const isPipelined = connection.unanswered.length > 0 && bytes.includes(HEAD_END)
      if (isPipelined) socket.pause()
      if (isPipelined || proceed(socket, connection)) proceedInTurn(socket)
    })
    socket.removeListener('data', parse)
    socket.once('close', () => connections.delete(socket))
  })
  const timer = setInterval(() => {
    for (const [socket, connection] of connections) if (isUnread(connection)) socket.destroy()
  }, lookMs).unref()
  server.once('close', () => clearInterval(timer))
}

/** Calls `proceed` for each in its turn, again for as long as it returns true. */
function createTurns (proceed: (socket: Socket) => boolean): (socket: Socket) => void {
  const waiting = new Set<Socket>()
  let isDue = false
  const workOff = () => {
    let left = MAX_IN_A_TURN
    for (const socket of waiting) {
      if (left-- === 0) break
      waiting.delete(socket)
      if (proceed(socket)) waiting.add(socket)
    }
    isDue = waiting.size > 0
    if (isDue) setImmediate(workOff)
  }
  return (socket) => {
    waiting.add(socket)
    if (!isDue) setImmediate(workOff)
    isDue = true
  }
}

/** Hands one head, and what is before it, to the parser. Returns whether the next one may follow. */
function begin (socket: Socket, connection: PipelinedConnection): boolean {
  const { held, parse } = connection
  if (held !== null && socket.writable && mayBegin(connection)) {
    const end = endOfFirst(held)
    const isLast = end === held.length
    connection.held = isLast ? null : held.subarray(end)
    parse(isLast ? held : held.subarray(0, end))
  }
  // Nothing is read behind the last answer: where CONNECT was refused, the parser has gone to another connection.
  if (!socket.writable) connection.held = null
  if (connection.held !== null) {
    socket.pause()
    return mayBegin(connection)
  }
  if (socket.isPaused()) socket.resume()
  return false
}

/** Not while an answer waits to be taken, be it by the client or behind an earlier one. */
function mayBegin ({ unanswered }: PipelinedConnection): boolean {
  return unanswered.length < MAX_UNANSWERED && !unanswered.some(({ headersSent }) => headersSent)
}

/** Where the first of several heads ends; the length of the bytes where there is at most one. */
function endOfFirst (bytes: Buffer): number {
  const found = bytes.indexOf(HEAD_END, SHORTEST_HEAD - HEAD_END.length)
  const end = found + HEAD_END.length
  return found === -1 || end === bytes.length || bytes.indexOf(HEAD_END, end) === -1 ? bytes.length : end
}

/** The oldest answer alone: those behind it wait for it, and it may be in work. */
function isUnread (connection: PipelinedConnection): boolean {
  const [oldest] = connection.unanswered
  const unread = oldest?.headersSent === true ? oldest : null
  connection.looks = unread !== null && unread === connection.unread ? connection.looks + 1 : 0
  connection.unread = unread
  return connection.looks >= UNREAD_LOOKS
}

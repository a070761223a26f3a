// HTTP over raw sockets, for requests that no client would send.

import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { App } from './app.ts'

export type RawAnswer = Readonly<{ status: number, headers: Headers, text: string }>

/**
 * Sends `bytes`, awaiting functions for their text, and reads `answers` answers, by default until the service closes
 * the connection.
 */
export async function exchange (
  app: Pick<App, 'port'>, bytes: string | readonly (string | (() => Promise<string>))[], answers = Infinity
): Promise<RawAnswer[]> {
  const socket = await openSocket(app)
  let text = ''
  socket.setEncoding('latin1').on('data', (chunk) => {
    text += chunk
    if (parse(text).length >= answers) socket.destroy()
  })
  const closed = once(socket, 'close')
  for (const part of [bytes].flat()) socket.write(typeof part === 'string' ? part : await part())
  await closed
  return parse(text)
}

/** Sends `bytes` and closes its half of the connection. */
export async function exchangeAndLeave (app: Pick<App, 'port'>, bytes: string): Promise<RawAnswer[]> {
  const socket = await openSocket(app)
  let text = ''
  socket.setEncoding('latin1').on('data', (chunk) => { text += chunk })
  const closed = once(socket, 'close')
  socket.end(bytes, 'latin1')
  await closed
  return parse(text)
}

export async function openSocket ({ port }: Pick<App, 'port'>): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' })
  // A refused connection may be reset while the test still writes.
  await once(socket, 'connect')
  socket.on('error', () => {})
  return socket
}

/** The complete answers in `text`. */
function parse (text: string): RawAnswer[] {
  const end = text.indexOf('\r\n\r\n')
  if (end < 0) return []
  const [line = '', ...lines] = text.slice(0, end).split('\r\n')
  const headers = new Headers(lines.map((header) => header.split(/: ?(.*)/, 2) as [string, string]))
  const length = Number(headers.get('content-length') ?? 0)
  const body = text.slice(end + 4, end + 4 + length)
  if (body.length < length) return []
  return [{ status: Number(line.split(' ')[1]), headers, text: body }, ...parse(text.slice(end + 4 + length))]
}

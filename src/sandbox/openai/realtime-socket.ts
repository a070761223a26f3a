// The Realtime WebSocket: a session of its own, or with `call_id` the sideband of a call.
// A refusal comes before the upgrade, as an ordinary HTTP answer.

import { type IncomingMessage, type Server, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { surviveErrors } from '../../http/parse-errors.ts'
import { admit, bearerOf } from '../admit.ts'
import type { EmulatedCalls } from './calls.ts'
import { startConversation } from './conversation.ts'
import { openaiEnvelope, OpenaiError } from './error.ts'
import type { SessionStore } from './session-store.ts'

const BROWSER_KEY = 'openai-insecure-api-key.'
const PATHS = ['/v1/realtime', '/v1/realtime/translations']

/** The function that comes back ends every session. */
export function serveRealtimeSockets (
  server: Server, store: SessionStore, calls: EmulatedCalls, log: (line: string) => void
): () => void {
  const sockets = new WebSocketServer({
    noServer: true,
    // The key is offered as a subprotocol too: it must not be the one that is chosen, and so echoed.
    handleProtocols: (offered) => offered.has('realtime') && 'realtime'
  })

  server.on('upgrade', (request, socket, head) => {
    surviveErrors(socket)
    const url = URL.parse(request.url ?? '', 'http://sandbox')
    const path = url?.pathname ?? ''
    const callId = path === PATHS[0] ? url?.searchParams.get('call_id') ?? null : null
    try {
      if (!PATHS.includes(path)) throw new OpenaiError(404, `Invalid URL (${request.method} ${path})`)
      const join = callId === null ? session(request, path) : calls.attach(callId, request.headers.authorization)
      if (callId !== null) log(`${path} attached, ${callId}`)
      sockets.handleUpgrade(request, socket, head, join)
    } catch (error) {
      if (!(error instanceof OpenaiError)) throw error
      log(`${path} refused: ${error.code ?? error.statusCode}`)
      refuse(socket, error)
    }
  })

  function session (request: IncomingMessage, path: string): (webSocket: WebSocket) => void {
    const config = admit(store, secretOf(request), path)
    log(`${path} opened, ${config.kind} ${String(config.session.id)}`)
    return (webSocket) => {
      const conversation = startConversation(config)
      const { receive } = conversation.join((event) => webSocket.send(JSON.stringify(event)))
      webSocket.on('message', (data) => receive(data.toString()))
      webSocket.on('error', () => {})
      webSocket.on('close', conversation.end)
    }
  }

  return () => {
    for (const webSocket of sockets.clients) webSocket.terminate()
  }
}

function secretOf ({ headers }: IncomingMessage): string | undefined {
  const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map((protocol) => protocol.trim())
  return bearerOf(headers.authorization) ??
    offered.find((protocol) => protocol.startsWith(BROWSER_KEY))?.slice(BROWSER_KEY.length)
}

function refuse (socket: Duplex, error: OpenaiError): void {
  const body = JSON.stringify(openaiEnvelope(error))
  socket.end([
    `HTTP/1.1 ${error.statusCode} ${STATUS_CODES[error.statusCode]}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    '',
    body
  ].join('\r\n'))
}

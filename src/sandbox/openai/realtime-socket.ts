// The Realtime WebSocket. A refusal comes before the upgrade, as an ordinary HTTP answer.

import { type IncomingMessage, type Server, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import { surviveErrors } from '../../http/parse-errors.ts'
import { admit, bearerOf } from '../admit.ts'
import { startConversation } from './conversation.ts'
import { openaiEnvelope, OpenaiError } from './error.ts'
import type { SessionStore } from './session-store.ts'

const BROWSER_KEY = 'openai-insecure-api-key.'
const PATHS = ['/v1/realtime', '/v1/realtime/translations']

/** The function that comes back ends every session. */
export function serveRealtimeSockets (server: Server, store: SessionStore, log: (line: string) => void): () => void {
  const sockets = new WebSocketServer({
    noServer: true,
    // The key is offered as a subprotocol too: it must not be the one that is chosen, and so echoed.
    handleProtocols: (offered) => offered.has('realtime') && 'realtime'
  })

  server.on('upgrade', (request, socket, head) => {
    surviveErrors(socket)
    const path = pathOf(request)
    try {
      if (!PATHS.includes(path)) throw new OpenaiError(404, `Invalid URL (${request.method} ${path})`)
      const config = admit(store, secretOf(request), path)
      log(`${path} opened, ${config.kind} ${String(config.session.id)}`)
      sockets.handleUpgrade(request, socket, head, (webSocket) => {
        const receive = startConversation(config, (event) => webSocket.send(JSON.stringify(event)))
        webSocket.on('message', (data) => receive(data.toString()))
        webSocket.on('error', () => {})
      })
    } catch (error) {
      if (!(error instanceof OpenaiError)) throw error
      log(`${path} refused: ${error.code ?? error.statusCode}`)
      refuse(socket, error)
    }
  })
  return () => {
    for (const webSocket of sockets.clients) webSocket.terminate()
  }
}

function secretOf ({ headers }: IncomingMessage): string | undefined {
  const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map((protocol) => protocol.trim())
  return bearerOf(headers.authorization) ??
    offered.find((protocol) => protocol.startsWith(BROWSER_KEY))?.slice(BROWSER_KEY.length)
}

function pathOf ({ url = '' }: IncomingMessage): string {
  return url.replace(/\?.*$/, '')
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

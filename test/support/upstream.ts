// An upstream on a real socket: answers as scripted for each route, and keeps every request as it came over the wire.

import { EventEmitter, once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import type { JsonObject } from '../../src/json.ts'
import type { Owner } from './fault-proxy.ts'

export type Received = Readonly<{
  method: string, path: string, headers: IncomingMessage['headers'], body: JsonObject, ended: Promise<unknown>
}>
/** A reply may end the response, destroy its socket, or do neither. */
export type Reply = (received: Received, response: ServerResponse) => unknown

export type Upstream = Readonly<{
  url: string
  requests: Received[]
  /** Every client secret that was handed out. */
  secrets: string[]
  /** Sets the answers to the next requests to `path`, in order; the last one is repeated. */
  answer: (path: string, ...replies: [Reply, ...Reply[]]) => void
  /** Makes `path` mint again. */
  reset: (path: string) => void
  /** Resolves once `count` requests have arrived. */
  arrived: (count: number) => Promise<void>
  sockets: () => number
  /** Shifts the clock by which minted secrets expire. */
  shiftClock: (seconds: number) => void
}>

/** Serves further routes. */
export type Extension = Readonly<{
  /** Returns whether the request was handled. */
  serve: (request: IncomingMessage, response: ServerResponse, bytes: Buffer) => boolean
  upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void
}>

export const GA = '/v1/realtime/client_secrets'
export const TRANSLATIONS = '/v1/realtime/translations/client_secrets'
export const SESSIONS = '/v1/realtime/sessions'
export const TRANSCRIPTIONS = '/v1/realtime/transcription_sessions'

export async function startUpstream (owner: Owner, extension?: Extension): Promise<Upstream> {
  const requests: Received[] = []
  const secrets: string[] = []
  const arrivals = new EventEmitter()
  const scripts = new Map<string, Reply[]>()
  const server = createServer((request, response) => { receive(request, response).catch(() => response.destroy()) })
  if (extension !== undefined) server.on('upgrade', extension.upgrade)
  let sockets = 0
  let aheadSeconds = 0
  server.on('connection', (socket) => {
    sockets++
    socket.once('close', () => sockets--)
    socket.on('error', () => {})
  })
  // Tests also send incomplete requests and garbage.
  server.on('clientError', (_error, socket) => socket.destroy())

  async function receive (request: IncomingMessage, response: ServerResponse): Promise<void> {
    const bytes = Buffer.concat(await request.toArray())
    if (extension?.serve(request, response, bytes)) return
    if (request.method === 'GET') {
      response.end('{}')
      return
    }
    const path = request.url as string
    const received = {
      method: request.method as string,
      path,
      headers: request.headers,
      body: JSON.parse(bytes.toString() || '{}'),
      ended: once(response, 'close')
    }
    requests.push(received)
    arrivals.emit('request')
    const script = scripts.get(path) ?? [mintedFor(path)]
    const reply = (script.length > 1 ? script.shift() : script[0]) as Reply
    reply(received, response)
  }

  function mintedFor (path: string): Reply {
    return (received, response) => {
      const value = `ek_canary_${secrets.length}_4d1a7c90`
      secrets.push(value)
      const expiresAt = inSeconds(60 + aheadSeconds)
      return json(200, path === GA || path === TRANSLATIONS
        ? currentAnswer(received, value, expiresAt)
        : legacyAnswer(received, value, expiresAt))(received, response)
    }
  }

  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  owner.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    requests,
    secrets,
    answer: (path, ...replies) => { scripts.set(path, replies) },
    reset: (path) => { scripts.delete(path) },
    arrived: async (count) => { while (requests.length < count) await once(arrivals, 'request') },
    sockets: () => sockets,
    shiftClock: (seconds) => { aheadSeconds += seconds }
  }
}

const OPENAI_HEADERS = {
  'x-request-id': 'req_upstream_1',
  'openai-organization': 'org-canary-owner',
  'openai-processing-ms': '450',
  'set-cookie': '__cf_bm=canary-cookie; path=/',
  'access-control-allow-origin': '*'
}

export function inSeconds (seconds: number): number {
  return Math.floor(Date.now() / 1000) + seconds
}

/** The answer of a GA route, with undocumented fields. */
export function currentAnswer ({ body: { session } }: Received, value: string, expiresAt = inSeconds(60)): JsonObject {
  return {
    value,
    expires_at: expiresAt,
    session: {
      ...session as JsonObject,
      id: 'sess_1',
      object: 'realtime.session',
      expires_at: 0,
      client_secret: { value, expires_at: 0 },
      organization: 'org-canary-owner'
    },
    organization: 'org-canary-owner'
  }
}

export function legacyAnswer (
  { body: { client_secret: _lifetime, ...session } }: Received, value: string, expiresAt = inSeconds(60)
): JsonObject {
  return {
    ...session,
    id: 'sess_1',
    object: 'realtime.session',
    expires_at: 0,
    client_secret: { value, expires_at: expiresAt },
    organization: 'org-canary-owner'
  }
}

export function json (status: number, body: unknown, headers: Record<string, string> = {}): Reply {
  return (_received, response) => response.writeHead(
    status, { 'content-type': 'application/json', ...OPENAI_HEADERS, ...headers }
  ).end(JSON.stringify(body))
}

/** OpenAI's error envelope; its message quotes data that must not reach clients. */
export function failure (
  status: number,
  code: string | null = null,
  { param = null, headers = {} }: { param?: string | null, headers?: Record<string, string> } = {}
): Reply {
  return (received, response) => json(status, {
    error: {
      message: `Incorrect API key provided: ${received.headers.authorization ?? received.headers['api-key']}`,
      type: 'invalid_request_error',
      code,
      param
    }
  }, headers)(received, response)
}

/** Sends bytes, then closes the connection. */
export function raw (...bytes: (string | Buffer)[]): Reply {
  return (_received, { socket }) => {
    for (const part of bytes) socket?.write(part)
    socket?.end()
  }
}

/** Resets the connection, after `bytes` if there are any. */
export function reset (bytes = ''): Reply {
  return (_received, { socket }) =>
    bytes === '' ? socket?.resetAndDestroy() : socket?.write(bytes, () => socket.resetAndDestroy())
}

export const hang: Reply = () => {}

// One WebSocket to a call, beside the client's own connection. It is never reopened: the supervision of the call opens
// another.

import { Agent as HttpAgent, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { createSecureContext } from 'node:tls'
import { type RawData, WebSocket } from 'ws'
import type { Clock } from '../clock.ts'
import type { Config } from '../config/environment.ts'
import { isObject, type JsonObject } from '../json.ts'
import { CONNECT_OPTIONS } from '../outbound/connect.ts'
import { createTunnelAgent } from '../outbound/proxy.ts'
import type { Log } from '../records/log.ts'
import { isNotFound } from './calls.ts'
import { accountHeaders, type KeyHeaders } from './client.ts'

/** Why a sideband could not be opened, or was closed. */
export type Closing = Readonly<{
  wasOpen: boolean
  /** Upstream knows of no such call. */
  isGone: boolean
  /** Upstream closed the sideband: no event was under way. */
  isClean: boolean
  /** A code of upstream or of ours. */
  reason: string
  /** The close code (RFC 6455, section 7.4); null where there was none. */
  code: number | null
}>

export type SidebandHandlers = Readonly<{
  onOpen: () => void
  /** `body` parses the event; undefined where it is no JSON object. */
  onEvent: (type: string, body: () => JsonObject | undefined) => void
  /** Called once. */
  onClose: (closing: Closing) => void
}>

export type Sideband = Readonly<{
  send: (event: JsonObject) => void
  /** No callback is called from here on. */
  close: () => void
}>

export type Dial = (path: string, key: KeyHeaders, handlers: SidebandHandlers) => Sideband

export type Sidebands = Readonly<{ dial: Dial, close: () => void }>

const MAX_FRAME_BYTES = 4 * 1024 * 1024
const MAX_REFUSAL_BYTES = 64 * 1024
const HANDSHAKE_MS = 5000
const PING_MS = 20_000
const MAX_MISSED = 2
/** Not clean: no close frame came, or upstream refused a frame of ours as too large (RFC 6455, section 7.4.1). */
const NO_CLOSE = 1006
const TOO_LARGE = 1009
const HEAD_LENGTH = 256
const HEAD = /^\{(?:"event_id":"[^"\\]{0,128}",)?"type":"([a-z_.]{1,100})"/

type Deps = Readonly<{ config: Config['upstream'], proxy: URL | null, clock: Clock, log: Pick<Log, 'error'> }>

export function createSidebands ({ config, proxy, clock, log }: Deps): Sidebands {
  const { lookup } = CONNECT_OPTIONS.connect
  // Without a secure context for all of them, each connection makes one: a fifth of its memory.
  const secureAgent = () => proxy === null
    ? new HttpsAgent({ lookup, secureContext: createSecureContext() })
    : createTunnelAgent(proxy)
  const agent = config.baseUrl.protocol === 'https:' ? secureAgent() : new HttpAgent({ lookup })
  const base = config.baseUrl.href.replace(/^http/, 'ws').replace(/\/$/, '')

  function dial (path: string, key: KeyHeaders, { onOpen, onEvent, onClose }: SidebandHandlers): Sideband {
    const socket = new WebSocket(base + path, {
      agent,
      headers: { ...accountHeaders(config), ...key },
      maxPayload: MAX_FRAME_BYTES,
      perMessageDeflate: false,
      followRedirects: false
    })
    let isOver = false
    let wasOpen = false
    let missed = 0
    let stopTimer = clock.after(HANDSHAKE_MS, () => socket.terminate())

    function end (reason: string, { isGone = false, isClean = false, code = null as number | null } = {}): void {
      if (isOver) return
      close()
      onClose({ wasOpen, isGone, isClean, reason, code })
    }

    function close (): void {
      isOver = true
      stopTimer()
      socket.terminate()
    }

    function ping (): void {
      if (missed++ >= MAX_MISSED) return end('no_pong')
      socket.ping()
      stopTimer = clock.after(PING_MS, ping)
    }

    function take (data: Buffer): void {
      if (isOver) return
      try {
        const body = memoized(() => parse(data))
        const type = HEAD.exec(data.toString('latin1', 0, HEAD_LENGTH))?.[1] ?? body()?.type
        if (typeof type === 'string') onEvent(type, body)
      } catch (err) {
        // The call has not seen this event, so its sideband counts as lost.
        log.error({ err }, 'an event of a call could not be handled')
        end('event_failed')
      }
    }

    socket.on('open', () => {
      wasOpen = true
      stopTimer()
      stopTimer = clock.after(PING_MS, ping)
      onOpen()
    })
    socket.on('pong', () => { missed = 0 })
    socket.on('message', (data: RawData) => take(data as Buffer))
    socket.on('unexpected-response', (_request, response: IncomingMessage) => {
      const { statusCode = 0 } = response
      readCode(response, (code) => end(`refused_${statusCode}`, { isGone: isNotFound(statusCode, code) }))
    })
    // Reported by the `close` that follows. After a frame that it refuses, ws would wait half a minute for it.
    socket.on('error', () => socket.terminate())
    socket.on('close', (code, reason) =>
      end(reason.toString(), { isClean: code !== NO_CLOSE && code !== TOO_LARGE, code }))
    return {
      send: (event) => { if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(event)) },
      close
    }
  }

  return { dial, close: () => agent.destroy() }
}

/** The code of OpenAI's error object, or undefined. The answer is small, or is not read to its end. */
function readCode (response: IncomingMessage, onCode: (code: unknown) => void): void {
  const chunks: Buffer[] = []
  let bytes = 0
  const done = () => {
    const error = parse(Buffer.concat(chunks))?.error
    onCode(isObject(error) ? error.code : undefined)
  }
  response.on('data', (chunk: Buffer) => {
    if ((bytes += chunk.length) > MAX_REFUSAL_BYTES) response.destroy()
    else chunks.push(chunk)
  })
  response.on('error', () => {})
  response.once('close', done)
}

function parse (data: Buffer): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(data.toString())
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

function memoized<T> (read: () => T): () => T {
  let found: { value: T } | undefined
  return () => (found ??= { value: read() }).value
}

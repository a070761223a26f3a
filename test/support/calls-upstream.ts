// An upstream of calls on a real socket, without WebRTC: does anything that OpenAI may do, by script and without delay.
//
//   const upstream = await startCallsUpstream(t)          // it mints as well: `Upstream` of upstream.ts
//   upstream.onCreate(failure(429), accept())             // replies in order; the last one stays
//   upstream.onAttach(notFound, notFound, open)
//   upstream.onHangUp(failure(500), hang, confirm)
//   const call = await upstream.created()                 // the first call; created(2) is the second
//   await upstream.attached(call.id)
//   call.push(...audioTurn())                             // events of call-events.ts to its sideband
//   call.change({ instructions: 'You are Bob.' })         // a session.update of the browser
//   call.close(1001)                                      // or drop(), freeze(), end()
//   await upstream.hungUp(call.id)
//
// A `session.update` of the service is answered with the effective session, as the emulator merges it.

import { EventEmitter, once } from 'node:events'
import { type IncomingHttpHeaders, type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { isObject, type JsonObject } from '../../src/json.ts'
import { accept, confirm, open } from './call-replies.ts'
import type { Owner } from './fault-proxy.ts'
import { failure, GA, type Received, startUpstream, type Upstream } from './upstream.ts'
import { type Call, createCall, type OwnedCall } from './upstream-call.ts'

export type Part = Readonly<{ headers: Readonly<Record<string, string>>, text: string }>

export type CallRequest = Received & Readonly<{
  /** The parts of the form by name; a raw body is the part `sdp`. `body` of the request is the requested session. */
  parts: Readonly<Record<string, Part>>
  /** Whether the body is `application/sdp`, which is sent with a client secret. */
  isRaw: boolean
  /** Creates the call. */
  open: () => Call
}>
export type CreateReply = (request: CallRequest, response: ServerResponse) => unknown

export type Attach = Readonly<{
  callId: string
  headers: IncomingHttpHeaders
  call: Call | undefined
  accept: (answers?: boolean) => WebSocket
  refuse: (status: number, code: string) => void
}>
export type AttachReply = (attach: Attach) => void

export type HangUp = Received & Readonly<{ callId: string, call: Call | undefined, text: string }>
export type HangUpReply = (request: HangUp, response: ServerResponse) => unknown

export type CallsUpstream = Upstream & Readonly<{
  onCreate: (...replies: [CreateReply, ...CreateReply[]]) => void
  onAttach: (...replies: [AttachReply, ...AttachReply[]]) => void
  onHangUp: (...replies: [HangUpReply, ...HangUpReply[]]) => void
  creations: readonly CallRequest[]
  attaches: readonly Attach[]
  hangUps: readonly HangUp[]
  /** Every call that was ever opened, in order. */
  calls: readonly Call[]
  /** The number of live calls, and the most there were at one moment, in all or with this safety identifier. */
  live: () => number
  maxLive: (safetyIdentifier?: string) => number
  created: (nth?: number) => Promise<Call>
  /** Resolves once `count` requests to create have arrived, answered or not. */
  asked: (count: number) => Promise<CallRequest>
  /** Resolves once `times` sidebands of the call were accepted. */
  attached: (callId: string, times?: number) => Promise<Call>
  /** Resolves once `times` hang-ups of the call have arrived. */
  hungUp: (callId: string, times?: number) => Promise<HangUp>
  ended: (callId: string) => Promise<void>
}>

const CALLS = '/v1/realtime/calls'
/** An event that never comes then fails its own test, not all tests that share its process. */
const WAIT_MS = 60_000

export async function startCallsUpstream (owner: Owner): Promise<CallsUpstream> {
  const changes = new EventEmitter().setMaxListeners(0)
  const sockets = new WebSocketServer({ noServer: true })
  const creations: CallRequest[] = []
  const attaches: Attach[] = []
  const hangUps: HangUp[] = []
  const calls: OwnedCall[] = []
  const accepted: string[] = []
  const most = new Map<string | undefined, number>()
  const scripts = { create: [accept()], attach: [open], hangUp: [confirm] }
  const changed = () => { changes.emit('change') }
  const callOf = (id: string) => calls.find((call) => call.id === id)
  const liveOf = (identifier?: string) => calls.filter((call) =>
    call.isLive() && (identifier === undefined || call.safetyIdentifier === identifier)).length

  const upstream = await startUpstream(owner, { serve, upgrade })
  owner.teardown(() => { for (const socket of sockets.clients) socket.terminate() })

  function serve (request: IncomingMessage, response: ServerResponse, bytes: Buffer): boolean {
    const { pathname } = new URL(request.url as string, upstream.url)
    const [, hungUp] = /^\/v1\/realtime\/calls\/([^/]+)\/hangup$/.exec(pathname) ?? []
    if (request.method !== 'POST' || (pathname !== CALLS && hungUp === undefined)) return false
    const received = {
      method: 'POST', path: request.url as string, headers: request.headers, ended: once(response, 'close')
    }
    if (hungUp !== undefined) {
      const hangUp = { ...received, callId: hungUp, call: callOf(hungUp), text: bytes.toString(), body: {} }
      hangUps.push(hangUp)
      nextOf(scripts.hangUp)(hangUp, response)
    } else {
      const creation = creationOf(received, bytes)
      creations.push(creation)
      if (creation.isRaw && !upstream.secrets.includes(bearer(request.headers))) failure(401)(creation, response)
      else nextOf(scripts.create)(creation, response)
    }
    changed()
    return true
  }

  function creationOf (received: Omit<Received, 'body'>, bytes: Buffer): CallRequest {
    const type = received.headers['content-type'] ?? ''
    const isRaw = type.startsWith('application/sdp')
    const parts: Record<string, Part> = isRaw ? { sdp: { headers: {}, text: bytes.toString() } } : partsOf(type, bytes)
    const minted = upstream.requests.findLast(({ path }) => path === GA)?.body.session
    const session: unknown = isRaw ? minted : JSON.parse(parts.session?.text ?? '{}')
    const body = isObject(session) ? session : {}
    return { ...received, body, parts, isRaw, open: () => openCall(received.headers, body) }
  }

  function openCall (headers: IncomingHttpHeaders, session: JsonObject): Call {
    const identifier = headers['openai-safety-identifier']
    const call = createCall(
      `rtc_u2_${String(calls.length + 1).padStart(6, '0')}`, typeof identifier === 'string' ? identifier : null,
      session, changed
    )
    calls.push(call)
    for (const key of [undefined, call.safetyIdentifier ?? '']) most.set(key, Math.max(most.get(key) ?? 0, liveOf(key)))
    changed()
    return call
  }

  function upgrade (request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => {})
    const callId = new URL(request.url as string, upstream.url).searchParams.get('call_id') ?? ''
    const call = callOf(callId)
    const attach: Attach = {
      callId,
      headers: request.headers,
      call,
      accept: (answers = true) => {
        let joined: WebSocket | undefined
        sockets.handleUpgrade(request, socket, head, (webSocket) => { joined = webSocket })
        call?.join(joined as WebSocket, answers)
        accepted.push(callId)
        changed()
        return joined as WebSocket
      },
      refuse: (status, code) => refuse(socket, status, code)
    }
    attaches.push(attach)
    nextOf(scripts.attach)(attach)
    changed()
  }

  async function when<T> (look: () => T | undefined | false): Promise<T> {
    const signal = AbortSignal.timeout(WAIT_MS)
    for (;;) {
      const found = look()
      if (found !== undefined && found !== false) return found
      await once(changes, 'change', { signal })
    }
  }

  return {
    ...upstream,
    onCreate: (...replies) => { scripts.create = replies },
    onAttach: (...replies) => { scripts.attach = replies },
    onHangUp: (...replies) => { scripts.hangUp = replies },
    creations,
    attaches,
    hangUps,
    calls,
    live: liveOf,
    maxLive: (identifier) => most.get(identifier) ?? 0,
    created: (nth = 1) => when(() => calls[nth - 1]),
    asked: (count) => when(() => creations[count - 1]),
    attached: (callId, times = 1) =>
      when(() => accepted.filter((id) => id === callId).length >= times && callOf(callId)),
    hungUp: (callId, times = 1) => when(() => hangUps.filter((hangUp) => hangUp.callId === callId)[times - 1]),
    ended: async (callId) => { await when(() => callOf(callId)?.isLive() === false) }
  }
}

function nextOf<T> (script: T[]): T {
  return (script.length > 1 ? script.shift() : script[0]) as T
}

function bearer ({ authorization = '' }: IncomingHttpHeaders): string {
  return authorization.replace(/^Bearer /, '')
}

/** Parses the form with each part's headers, which FormData drops. */
function partsOf (type: string, bytes: Buffer): Record<string, Part> {
  const boundary = /boundary="?([^";]+)/.exec(type)?.[1] ?? ''
  return Object.fromEntries(bytes.toString().split(`--${boundary}`).slice(1, -1).map((part) => {
    const end = part.indexOf('\r\n\r\n')
    const headers = Object.fromEntries(part.slice(2, end).split('\r\n').map((line) => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
    }))
    const name = /\bname="([^"]*)"/.exec(headers['content-disposition'] ?? '')?.[1]
    return [name, { headers, text: part.slice(end + 4, -2) }]
  }))
}

function refuse (socket: Duplex, status: number, code: string): void {
  const message = 'No session found for the provided call_id'
  const body = JSON.stringify({ error: { message, type: 'invalid_request_error', code, param: '' } })
  socket.end([
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`, 'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`, 'Connection: close', '', body
  ].join('\r\n'))
}

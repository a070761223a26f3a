// The upstream of the benchmark's calls, as a process, without WebRTC: creates calls, attaches sidebands, hangs up, and
// sends events at a steady pace. Over HTTP or, with KEY and CERT, TLS. The floor attaches as `floor_<n>`.

import { readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'
import { completeSession } from '../../src/sandbox/openai/session-object.ts'
import { ANSWER } from '../support/sdp.ts'
import { FIRST_OF_RESPONSE, frameOf, LAST_OF_RESPONSE, TURN } from './call-turn.ts'

export type Receiver = 'calls' | 'floor'
/** From now on each call of one kind is sent events at this pace; null: none is. */
export type PaceOrder = Readonly<{ to: Receiver | null, eventsPerSecond: number }>
export type UpstreamState = Readonly<{
  url: string
  /** Events sent to calls of the service, and to the floor. */
  events: Readonly<Record<Receiver, number>>
  /** Responses sent to the service's calls as far as their `response.done`. */
  responses: number
  /** For each call that has ended since the last order: from the head of the answer to the first sign of the end. */
  lastedMs: readonly number[]
}>

type Call = {
  readonly of: Receiver
  readonly createdMs: number
  readonly session: string
  readonly serial: number
  socket: WebSocket | null
  sent: number
  /** The last turn whose `response.done` was sent. */
  doneTurn: number
  endBegunMs: number | null
}

/** The service reads a session this often; the floor is sent as many sessions. */
const READ_EVERY_SECONDS = 20
/** Events that are further behind the pace are not sent; the report counts those that were. */
const MAX_BEHIND_MS = 50
const SESSION_PART = /name="session"(?:\r\n[^\r\n]+)*\r\n\r\n([^\r\n]*)\r\n/

const calls = new Map<string, Call>()
const paced: Record<Receiver, Call[]> = { calls: [], floor: [] }
const events: Record<Receiver, number> = { calls: 0, floor: 0 }
const sockets = new WebSocketServer({ noServer: true, perMessageDeflate: false })
let serial = 0
let responses = 0
let lastSession = ''
let lastedMs: number[] = []
let pace: PaceOrder = { to: null, eventsPerSecond: 0 }
let next = 0
let due = 0
let tickedMs = 0

async function serve (request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = Buffer.concat(await request.toArray()).toString()
  const [, id] = /\/realtime\/calls\/([^/]+)\/hangup$/.exec(request.url ?? '') ?? []
  if (id !== undefined) {
    const call = calls.get(id)
    response.writeHead(call === undefined ? 404 : 200).end()
    if (call !== undefined) end(id, call)
  } else if (request.method === 'POST') {
    const asked = JSON.parse(SESSION_PART.exec(body)?.[1] ?? '{}')
    const session = completeSession('realtime', asked, Math.floor(Date.now() / 1000) + 3600)
    const created = newCall('calls', JSON.stringify({ type: 'session.updated', event_id: 'event_session', session }))
    const callId = `rtc_u2_${String(created.serial).padStart(24, '0')}`
    calls.set(callId, created)
    response.writeHead(201, { 'content-type': 'text/plain; charset=utf-8', location: `/v1/realtime/calls/${callId}` })
    response.end(ANSWER)
  } else response.end('{}')
}

/** Each call begins at another event of the turn. */
function newCall (of: Receiver, session: string): Call {
  lastSession = session
  serial++
  const createdMs = performance.now()
  return { of, createdMs, session, serial, socket: null, sent: serial * 7, doneTurn: -1, endBegunMs: null }
}

function attach (callId: string, socket: WebSocket): void {
  socket.on('error', () => {})
  if (callId.startsWith('floor_')) {
    paced.floor.push({ ...newCall('floor', lastSession), socket })
    return
  }
  const call = calls.get(callId)
  if (call === undefined) return socket.terminate()
  call.socket = socket
  paced.calls.push(call)
  socket.on('message', (data) => {
    const { type } = JSON.parse(String(data))
    if (type === 'session.update') socket.send(call.session)
    else if (type === 'response.cancel') {
      beginEnd(call)
      const frame = call.sent % TURN.length
      if (frame > FIRST_OF_RESPONSE && frame <= LAST_OF_RESPONSE) send(call, LAST_OF_RESPONSE)
    }
  })
}

function beginEnd (call: Call): void {
  if (call.endBegunMs !== null) return
  call.endBegunMs = performance.now()
  lastedMs.push(call.endBegunMs - call.createdMs)
  paced.calls = paced.calls.filter((other) => other !== call)
}

function end (id: string, call: Call): void {
  beginEnd(call)
  calls.delete(id)
  call.socket?.close(1000)
}

function send (call: Call, frame: number): void {
  const turn = Math.floor(call.sent / TURN.length)
  const key = `${call.serial.toString(36).padStart(6, '0')}${turn.toString(36).padStart(10, '0')}`
  call.socket?.send(frameOf(TURN[frame] as string, key))
  if (call.of === 'floor' || frame !== LAST_OF_RESPONSE || turn === call.doneTurn) return
  call.doneTurn = turn
  responses++
}

function sendNext (call: Call): void {
  send(call, call.sent % TURN.length)
  call.sent++
  events[call.of]++
  if (call.of === 'calls' || call.sent % (pace.eventsPerSecond * READ_EVERY_SECONDS) !== 0) return
  call.socket?.send(call.session)
  events.floor++
}

function tick (): void {
  const { to, eventsPerSecond } = pace
  if (to === null) return
  const nowMs = performance.now()
  const receivers = paced[to]
  const perMs = eventsPerSecond * receivers.length / 1000
  due = Math.min(due + (nowMs - tickedMs) * perMs, MAX_BEHIND_MS * perMs)
  tickedMs = nowMs
  for (; due >= 1; due--) sendNext(receivers[next++ % receivers.length] as Call)
  setTimeout(tick, 1)
}

const { KEY, CERT } = process.env
const server = KEY && CERT
  ? createTlsServer({ key: readFileSync(KEY), cert: readFileSync(CERT) }, serve)
  : createServer(serve)
server.keepAliveTimeout = 60_000
server.on('upgrade', (request, socket, head) => {
  const callId = new URL(request.url as string, 'http://upstream.invalid').searchParams.get('call_id') ?? ''
  sockets.handleUpgrade(request, socket, head, (attached) => attach(callId, attached))
})
server.listen(0, '127.0.0.1', () => process.send?.('listening'))

process.on('message', (order: Partial<PaceOrder> | 'account') => {
  if (order === 'account') return
  if (order.to !== undefined) {
    pace = order as PaceOrder
    tickedMs = performance.now()
    due = 0
    tick()
  }
  const { port } = server.address() as AddressInfo
  const url = KEY ? `https://localhost:${port}/v1` : `http://127.0.0.1:${port}/v1`
  process.send?.({ url, events, responses, lastedMs } satisfies UpstreamState)
  lastedMs = []
})

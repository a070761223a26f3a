// Counts mints at both ends of the wire: the 200s of upstream, and the secrets that clients received.

import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, request as httpRequest } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { Pool } from 'undici'
import type { Owner } from './fault-proxy.ts'

export type CountingUpstream = Readonly<{
  url: string
  port: number
  /** The secrets of every 200, in order. */
  minted: string[]
  /** The number of mint requests. */
  asked: () => number
  /** The status to answer with instead of 200; null mints again. */
  behave: (status: number | null) => void
}>

export type Counted = Readonly<{
  status: number
  code: string | null
  requestId: string
  secret: string | null
  closes: boolean
  tookMs: number
  /** The delay of the clients' own event loop in that time, which the service did not cause. */
  ownLagMs: number
}>

export type Clients = Readonly<{
  /** Null if there was no answer: connection refused or reset. */
  mint: (token: string) => Promise<Counted | null>
  /** Sends a request and hangs up before the answer. */
  leave: (token: string) => Promise<void>
  close: () => Promise<void>
}>

const PATH = '/v1/realtime/client_secrets'
const LEAVES_AFTER_MS = 5

/** Delays each answer by `delayMs`, so that some are always in flight. */
export async function startCountingUpstream (owner: Owner, delayMs: number): Promise<CountingUpstream> {
  const minted: string[] = []
  let status: number | null = null
  let asked = 0
  const server = createServer(async (request, response) => {
    await request.resume().toArray()
    if (request.method === 'GET') return response.end('{}')
    asked++
    await wait(delayMs)
    if (status !== null) {
      return response.writeHead(status, { 'content-type': 'application/json' }).end('{"error":{"code":"of_the_fake"}}')
    }
    const value = `ek_${randomUUID()}`
    minted.push(value)
    const expiresAt = Math.floor(Date.now() / 1000) + 60
    return response.setHeader('content-type', 'application/json')
      .end(JSON.stringify({
        value,
        expires_at: expiresAt,
        session: {
          type: 'realtime', object: 'realtime.session', id: `sess_${minted.length}`, model: 'gpt-realtime-2.1'
        }
      }))
  }).listen(0, '127.0.0.1')
  server.on('clientError', (_error, socket) => socket.destroy())
  await once(server, 'listening')
  owner.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}/v1`, port, minted, asked: () => asked, behave: (next) => { status = next } }
}

export function createClients (url: string, connections: number): Clients {
  const pool = new Pool(url, { connections, pipelining: 1 })
  const lag = measureLag()
  const headersOf = (token: string) => ({ authorization: `Bearer ${token}` })
  return {
    mint: async (token) => {
      const startedAt = performance.now()
      const lagBefore = lag()
      try {
        const { statusCode: status, headers, body } = await pool.request(
          { method: 'POST', path: PATH, headers: headersOf(token) }
        )
        const answer = await body.json() as { value?: string, error?: { code: string } }
        return {
          status,
          code: answer.error?.code ?? null,
          requestId: String(headers['x-request-id']),
          secret: answer.value ?? null,
          closes: headers.connection === 'close',
          tookMs: performance.now() - startedAt,
          ownLagMs: lag() - lagBefore
        }
      } catch {
        return null
      }
    },
    leave: async (token) => {
      const request = httpRequest(url + PATH, { method: 'POST', headers: headersOf(token), agent: false })
      request.on('error', () => {})
      request.end()
      await once(request, 'finish')
      await wait(LEAVES_AFTER_MS)
      request.destroy()
    },
    close: () => pool.destroy()
  }
}

const TICK_MS = 20

/** Total milliseconds by which timers of this process were late. */
function measureLag (): () => number {
  let [lagMs, last] = [0, performance.now()]
  const look = () => {
    const now = performance.now()
    lagMs += Math.max(0, now - last - TICK_MS)
    last = now
  }
  setInterval(look, TICK_MS).unref()
  return () => lagMs + Math.max(0, performance.now() - last - TICK_MS)
}

export type Script = Owner & Readonly<{ end: () => Promise<void> }>

const SIGNALS = ['SIGINT', 'SIGTERM'] as const

/** Teardown for scripts, in reverse order. */
export function createScript (): Script {
  const callbacks: (() => unknown)[] = []
  const end = async () => {
    for (const signal of SIGNALS) process.off(signal, stop)
    for (const callback of callbacks) await callback()
  }
  // A command that is ended by hand leaves no process behind.
  const stop = () => { end().finally(() => process.exit(1)) }
  for (const signal of SIGNALS) process.on(signal, stop)
  return { teardown: (callback) => { callbacks.unshift(callback) }, end }
}

// A TCP proxy whose faults can be switched while it runs.

import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'

export type Fault =
  /** No fault. */
  | 'pass'
  /** The port is closed, and open connections are cut. */
  | 'refuse'
  /** A RST instead of an answer, before the other side has seen the request. */
  | 'reset'
  /** The request is never forwarded. */
  | 'hang'
  /** Bytes that are not HTTP. */
  | 'garbage'
  /** The answer byte by byte, at this interval in milliseconds. */
  | Readonly<{ drip: number }>
  /** The connection ends after this many bytes of the answer. */
  | Readonly<{ cut: number }>
  /** The answer is delayed by this many milliseconds. */
  | Readonly<{ slow: number }>
  /** Bytes of the answer per second. */
  | Readonly<{ limit: number }>

export type FaultProxy = Readonly<{
  /** `127.0.0.1:port`. */
  host: string
  port: number
  /** Applies to the next `times` exchanges, or until it is called again. */
  inject: (fault: Fault, times?: number) => Promise<void>
  /** Connections accepted in total, and those that are open. */
  connections: () => number
  open: () => number
  /** Requests that have begun to arrive. */
  exchanges: () => number
}>

/** Owner of resources that are torn down at its end: a tap test or a script. */
export type Owner = Readonly<{ teardown: (callback: () => unknown) => void }>

const GARBAGE = Buffer.from(Array.from({ length: 256 }, (_, i) => 255 - i))
const SLICES_PER_SECOND = 20

export async function startFaultProxy (
  owner: Owner, target: Readonly<{ host: string, port: number }>
): Promise<FaultProxy> {
  let fault: Fault = 'pass'
  let times = Infinity
  let [connections, exchanges] = [0, 0]
  const sockets = new Set<Socket>()
  const server = createServer(serve)

  function nextFault (): Fault {
    exchanges++
    const taken = fault
    if (--times <= 0) fault = 'pass'
    return taken
  }

  function serve (client: Socket): void {
    connections++
    const other = connect(target)
    let current: Fault = 'pass'
    let isAnswered = true
    let [sent, delivered] = [0, Promise.resolve()]
    for (const [socket, peer] of [[client, other], [other, client]] as const) {
      sockets.add(socket)
      socket.setNoDelay()
      socket.on('error', () => peer.destroy())
      socket.on('close', () => sockets.delete(socket))
    }
    client.on('close', () => other.destroy())
    client.on('data', (chunk) => {
      if (isAnswered) current = nextFault()
      isAnswered = false
      if (current === 'reset') client.resetAndDestroy()
      else if (current === 'garbage') client.end(GARBAGE)
      else if (current !== 'hang') other.write(chunk)
    })
    other.on('data', (chunk) => {
      if (!isAnswered) sent = 0
      isAnswered = true
      const { cut } = current as { cut?: number }
      const part = cut === undefined ? chunk : chunk.subarray(0, cut - sent)
      sent += chunk.length
      const isCut = cut !== undefined && sent >= cut
      const bearing = current
      delivered = delivered.then(() => deliver(client, part, bearing)).then(() => { if (isCut) client.destroy() })
    })
    other.on('close', () => delivered.then(() => client.end()))
  }

  const listen = async (port: number) => {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
  }
  const stop = async () => {
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    for (const socket of sockets) socket.destroy()
    await closed
  }
  await listen(0)
  const { port } = server.address() as AddressInfo
  owner.teardown(stop)

  return {
    host: `127.0.0.1:${port}`,
    port,
    inject: async (next, count = Infinity) => {
      fault = next
      times = count
      if (next === 'refuse') await stop()
      else if (!server.listening) await listen(port)
    },
    connections: () => connections,
    open: () => [...sockets].filter(({ localPort }) => localPort === port).length,
    exchanges: () => exchanges
  }
}

async function deliver (client: Socket, chunk: Buffer, fault: Fault): Promise<void> {
  const { drip, slow, limit } = fault as { drip?: number, slow?: number, limit?: number }
  if (slow !== undefined) await wait(slow)
  const [size, pauseMs] = drip !== undefined
    ? [1, drip]
    : limit !== undefined
      ? [Math.max(1, Math.floor(limit / SLICES_PER_SECOND)), 1000 / SLICES_PER_SECOND]
      : [chunk.length, 0]
  for (let i = 0; i < chunk.length && !client.destroyed; i += size) {
    client.write(chunk.subarray(i, i + size))
    if (pauseMs > 0) await wait(pauseMs)
  }
}

// A process of its own: connections that never read, connections that drip, and floods of refusals, until it is ended.

import { connect, type Socket } from 'node:net'

export type Attack = Readonly<{ port: number, token: string }>
/** Counts since the last report. */
export type Attacked = Readonly<{ refused: number, reopened: number }>

const DEAF = 50
const DRIPPING = 50
const FLOODS = 4
const DRIP_MS = 100
const REOPEN_MS = 200
const POST = 'POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: a\r\n'
const ANONYMOUS = `${POST}Content-Length: 0\r\n\r\n`

let [refused, reopened] = [0, 0]

process.once('message', ({ port, token }: Attack) => {
  const authorization = `Authorization: Bearer ${token}\r\n`
  const mint = `${POST}${authorization}Content-Length: 0\r\n\r\n`
  const slowBody = `${POST}${authorization}Content-Type: application/json\r\nContent-Length: 30000\r\n\r\n`

  for (let i = 0; i < DEAF; i++) {
    // Some end with a whole request, others with half of one.
    const bytes = (i % 2 === 0 ? ANONYMOUS : mint).repeat(14_000) + (i % 4 < 2 ? '' : POST)
    keepOpen(port, (socket) => { socket.pause().write(bytes) })
  }
  for (let i = 0; i < DRIPPING; i++) {
    keepOpen(port, (socket) => {
      socket.resume().write(i % 2 === 0 ? POST : slowBody)
      const timer = setInterval(() => socket.write(i % 2 === 0 ? 'x' : ' '), DRIP_MS)
      socket.once('close', () => clearInterval(timer))
    })
  }
  for (let i = 0; i < FLOODS; i++) {
    const bytes = i % 2 === 0 ? ANONYMOUS : ANONYMOUS.replace('\r\n\r\n', `\r\nAuthorization: Bearer ${token}x\r\n\r\n`)
    keepOpen(port, (socket) => {
      socket.write(bytes)
      // One `data` event is one answer, which is smaller than a packet.
      socket.on('data', () => {
        refused++
        socket.write(bytes)
      })
    })
  }
})

process.on('message', (message) => {
  if (message !== 'report') return
  process.send?.({ refused, reopened } satisfies Attacked);
  [refused, reopened] = [0, 0]
})

function keepOpen (port: number, attack: (socket: Socket) => void): void {
  const socket = connect(port, '127.0.0.1', () => attack(socket))
  socket.on('error', () => {})
  socket.once('close', () => {
    reopened++
    setTimeout(() => keepOpen(port, attack), REOPEN_MS)
  })
}

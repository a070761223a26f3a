// The load generator, a separate process that sends prepared bytes over raw sockets, to use little CPU itself.

import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'

export type LoadOrder = Readonly<{
  /** Connections are spread over these ports. */
  ports: readonly number[]
  /** A file with a JSON array of request texts, used in turn from `from` on; null for `template`, where {n} counts. */
  requestsFile: string | null
  template?: string
  from: number
  count: number
  connections: number
  /** Requests per second regardless of answers (open loop); null to send the next request after an answer. */
  rate: number | null
}>

export type LoadReport = Readonly<{
  seconds: number
  statuses: Record<string, number>
  /** Milliseconds, sorted. In an open loop measured from the time at which the request was due. */
  latencies: number[]
  cpuMicros: number
}>

type RequestAt = (n: number) => Buffer | string
let loaded: { file: string, requests: Buffer[] } | undefined

process.on('message', async (order: LoadOrder | 'account') => {
  if (order === 'account') return
  process.send?.(await run(order, requestsOf(order)))
})

function requestsOf ({ requestsFile: file, template = '' }: LoadOrder): RequestAt {
  if (file === null) return (n) => template.replace('{n}', String(n))
  if (loaded?.file !== file) {
    loaded = { file, requests: (JSON.parse(readFileSync(file, 'utf8')) as string[]).map((text) => Buffer.from(text)) }
  }
  const { requests } = loaded
  return (n) => requests[n % requests.length] as Buffer
}

async function run ({ ports, from, count, connections, rate }: LoadOrder, requestAt: RequestAt): Promise<LoadReport> {
  const statuses: Record<string, number> = {}
  const latencies: number[] = []
  const idle: Connection[] = await Promise.all(
    Array.from({ length: connections }, (_, i) => open(ports[i % ports.length] as number))
  )
  const all = [...idle]
  const cpuBefore = process.cpuUsage()
  const startedAt = performance.now()
  let sent = 0
  let answered = 0

  await new Promise<void>((resolve, reject) => {
    const due: number[] = []
    const ask = (connection: Connection, dueAt: number) => {
      connection.ask(requestAt(from + sent), (status) => {
        statuses[status] = (statuses[status] ?? 0) + 1
        latencies.push(performance.now() - dueAt)
        if (++answered === count) return resolve()
        if (rate !== null) {
          const next = due.shift()
          if (next === undefined) idle.push(connection)
          else ask(connection, next)
        } else if (sent < count) ask(connection, performance.now())
      }, reject)
      sent++
    }
    if (rate === null) {
      for (const connection of idle.splice(0)) if (sent < count) ask(connection, performance.now())
      return
    }
    let begun = 0
    const tick = () => {
      const target = Math.min(count, Math.floor((performance.now() - startedAt) * rate / 1000))
      for (; begun < target; begun++) {
        const dueAt = startedAt + begun * 1000 / rate
        const connection = idle.pop()
        if (connection === undefined) due.push(dueAt)
        else ask(connection, dueAt)
      }
      if (begun < count) setTimeout(tick, 1)
    }
    tick()
  })

  const seconds = (performance.now() - startedAt) / 1000
  const { user, system } = process.cpuUsage(cpuBefore)
  for (const connection of all) connection.close()
  return { seconds, statuses, latencies: latencies.sort((a, b) => a - b), cpuMicros: user + system }
}

type Connection = Readonly<{
  ask: (request: Buffer | string, done: (status: string) => void, fail: (error: Error) => void) => void,
  close: () => void
}>

async function open (port: number): Promise<Connection> {
  const socket: Socket = connect({ port, host: '127.0.0.1', noDelay: true })
  await new Promise((resolve, reject) => { socket.once('connect', resolve).once('error', reject) })
  let text = ''
  let done: ((status: string) => void) | undefined
  let fail: (error: Error) => void = () => {}
  socket.setEncoding('latin1')
  socket.on('error', (error) => fail(error))
  socket.on('close', () => { if (done !== undefined) fail(new Error('connection closed before the answer')) })
  socket.on('data', (chunk) => {
    text += chunk
    const end = bodyEnd(text)
    if (end === null || text.length < end || done === undefined) return
    const onDone = done
    done = undefined
    const status = text.slice(9, 12)
    text = ''
    onDone(status)
  })
  return {
    ask: (request, onDone, onFail) => {
      done = onDone
      fail = onFail
      socket.write(request)
    },
    close: () => socket.destroy()
  }
}

/** The end of the answer, by its length or its last chunk; null if it is not known yet. */
function bodyEnd (text: string): number | null {
  const head = text.indexOf('\r\n\r\n')
  if (head < 0) return null
  const length = /\r\ncontent-length: (\d+)/i.exec(text.slice(0, head + 2))?.[1]
  if (length !== undefined) return head + 4 + Number(length)
  return text.endsWith('\r\n0\r\n\r\n') ? text.length : null
}

// An upstream that answers no SYN: its process is suspended and its accept queue is full. Once resumed, it mints.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer } from 'node:net'
import type { Owner } from './fault-proxy.ts'
import { UNCOUNTED } from './processes.ts'
import { until } from './until.ts'

const LISTEN = `require('http').createServer((_request, response) => {
  const expiresAt = Math.floor(Date.now() / 1000) + 60
  response.end(JSON.stringify({ value: 'ek_1', expires_at: expiresAt, session: { type: 'realtime' } }))
}).listen({ port: 0, host: '127.0.0.1', backlog: 1 }, function () { console.log(this.address().port) })`
const CONNECTED_WITHIN_MS = 300

/** A server that accepts connections and never writes. */
export async function startSilence (owner: Owner): Promise<{ port: number }> {
  const server = createServer((socket) => {
    owner.teardown(() => socket.destroy())
    socket.on('error', () => {})
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  owner.teardown(() => server.close())
  return { port: (server.address() as AddressInfo).port }
}

export async function startBlackHole (owner: Owner): Promise<{ url: string, resume: () => void }> {
  const [env, ...before] = UNCOUNTED
  const child = spawn(env, [...before, process.execPath, '-e', LISTEN], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = await once(child.stdout, 'data')
  child.kill('SIGSTOP')
  const port = Number(line)
  const fillers = new Set<ReturnType<typeof connect>>()
  const drain = () => { for (const filler of fillers) filler.destroy() }
  owner.teardown(() => {
    drain()
    child.kill('SIGKILL')
  })
  await until('a connection that is not answered', async () => {
    const filler = connect(port, '127.0.0.1')
    fillers.add(filler)
    filler.on('error', () => {})
    const connected = await Promise.race([
      once(filler, 'connect').then(() => true),
      new Promise((resolve) => setTimeout(resolve, CONNECTED_WITHIN_MS, false))
    ])
    return !connected
  })
  return {
    url: `http://127.0.0.1:${port}/v1`,
    resume: () => {
      drain()
      child.kill('SIGCONT')
    }
  }
}

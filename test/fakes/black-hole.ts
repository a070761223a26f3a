// An address where nobody answers a SYN: its process is stopped, and the kernel's queue for it is full.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { until } from './until.ts'
import type { Owner } from './fault-proxy.ts'

const LISTEN = 'require("net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, function () { console.log(this.address().port) })'
const CONNECTED_WITHIN_MS = 300

export async function startBlackHole (owner: Owner): Promise<{ url: string }> {
  const child = spawn(process.execPath, ['-e', LISTEN], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = await once(child.stdout, 'data')
  child.kill('SIGSTOP')
  const port = Number(line)
  const fillers = new Set<ReturnType<typeof connect>>()
  owner.teardown(() => {
    for (const filler of fillers) filler.destroy()
    child.kill('SIGKILL')
  })
  await until('a connection that is not answered', async () => {
    const filler = connect(port, '127.0.0.1')
    fillers.add(filler)
    filler.on('error', () => {})
    const connected = await Promise.race([once(filler, 'connect').then(() => true), new Promise((resolve) => setTimeout(resolve, CONNECTED_WITHIN_MS, false))])
    return !connected
  })
  return { url: `http://127.0.0.1:${port}/v1` }
}

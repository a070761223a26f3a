// HAProxy with the configuration in deploy/; only hosts and ports are replaced, and a socket for its statistics added.

import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import type { Owner } from './fault-proxy.ts'
import { endWith, freePort, makeFolder } from './processes.ts'
import { program } from './programs.ts'
import { until } from './until.ts'

const HAPROXY = program(['haproxy'], 'haproxy')
export const NO_HAPROXY = HAPROXY.skip
const CONFIG = join(import.meta.dirname, '../../deploy/haproxy.cfg')

export type Checked = Readonly<{
  backend: string
  server: string
  /** `UP`, `DOWN` or a transition between them. */
  status: string
  /** Outcome of the last health check, such as `L7OK`. Empty before the first one. */
  check: string
  /** HTTP status of the last health check. */
  code: string
}>

export type LoadBalancer = Readonly<{
  url: string
  /** The output of HAProxy. */
  log: () => string
  servers: () => Promise<Checked[]>
}>

/** `replicas` are URLs. `change` edits the configuration. */
export async function startHaproxy (
  owner: Owner, replicas: readonly [string, string], change: (config: string) => string = (config) => config
): Promise<LoadBalancer> {
  const folder = makeFolder(owner)
  const [file, stats] = [join(folder, 'haproxy.cfg'), join(folder, 'stats')]
  const port = await freePort()
  const [one, two] = replicas.map((url) => new URL(url).host) as [string, string]
  writeFileSync(file, change(readFileSync(CONFIG, 'utf8'))
    .replace('ephemint-1:8080', one)
    .replace('ephemint-2:8080', two)
    .replace('bind :8080', `bind 127.0.0.1:${port}`)
    .replace('global\n', `global\n  stats socket ${stats}\n`))
  const child = spawn(HAPROXY.path(), ['-db', '-f', file], { stdio: ['ignore', 'pipe', 'pipe'] })
  let [log, printed] = ['', '']
  child.stdout.on('data', (chunk) => { log += chunk })
  child.stderr.on('data', (chunk) => { printed += chunk })
  endWith(owner, child)
  const url = `http://127.0.0.1:${port}`
  await until('HAProxy to listen', () => {
    if (child.exitCode !== null) throw new Error(`HAProxy ended: ${printed}`)
    return fetch(`${url}/livez`).then((response) => response.text(), () => false)
  })
  return { url, log: () => log, servers: async () => serversIn(await ask(stats, 'show stat')) }
}

function ask (socket: string, command: string): Promise<string> {
  return text(connect(socket).end(`${command}\n`))
}

function serversIn (csv: string): Checked[] {
  const [head = [], ...rows] = csv.trim().split('\n').map((line) => line.replace(/^# /, '').split(','))
  const at = (row: string[], name: string) => row[head.indexOf(name)] ?? ''
  return rows.filter((row) => !['FRONTEND', 'BACKEND'].includes(at(row, 'svname'))).map((row) => ({
    backend: at(row, 'pxname'),
    server: at(row, 'svname'),
    status: at(row, 'status'),
    check: at(row, 'check_status'),
    code: at(row, 'check_code')
  }))
}

// The service as a separate process, as an operator starts it: for tests of signals, pipes, files and system limits.

import { type ChildProcess, spawn, type SpawnOptions, type StdioOptions } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type JWTPayload, SignJWT } from 'jose'
import type { JsonObject } from '../../src/json.ts'
import { APP_ISSUER, CANARIES, POLICY } from './app.ts'
import type { Owner } from './fault-proxy.ts'
import { endWith, freePort, makeFolder, UNCOUNTED } from './processes.ts'
import { until } from './until.ts'

export const SERVER = join(import.meta.dirname, '../../src/server.ts')

/** The variables by which tap measures coverage. */
const COUNTED: Record<string, string | undefined> = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => /^(NODE_OPTIONS|NODE_V8_COVERAGE|_?TAP.*)$/.test(name))
)

export type ServiceOptions = Readonly<{
  upstreamUrl: string
  policy?: string
  env?: Readonly<Record<string, string>>
  /** The public port; by default a free one. */
  port?: number
  /** Options of Node.js. */
  args?: readonly string[]
  /** A command in front of Node.js, such as `['prlimit', '--nofile=64']`. */
  command?: readonly string[]
  /** File descriptor for stdout; by default a pipe that is read. */
  stdout?: number
  spawning?: SpawnOptions
  /** Whether coverage is measured, which doubles the time of a start. */
  isCounted?: boolean
}>

export type Service = Readonly<{
  url: string
  port: number
  pid: number
  child: ChildProcess
  folder: string
  policyFile: string
  /** The lines of stdout so far. */
  audit: JsonObject[]
  log: JsonObject[]
  stderr: () => string
  exited: Promise<Readonly<{ code: number | null, signal: string | null, afterMs: number }>>
  kill: (signal: NodeJS.Signals) => void
  ask: (path: string, init?: RequestInit) => Promise<TimedAnswer>
  mint: (init?: RequestInit) => Promise<TimedAnswer>
}>

export type TimedAnswer = Readonly<{
  status: number, headers: Headers, body: JsonObject, code: string | null, tookMs: number
}>

export async function startService (owner: Owner, options: ServiceOptions): Promise<Service> {
  const service = await spawnService(owner, options)
  await until('the service to be ready', async () => {
    if (service.child.exitCode !== null) throw new Error(`the service ended: ${service.stderr()}`)
    return service.ask('/readyz').then(({ status }) => status === 200, () => false)
  }, 20_000)
  return service
}

/** Starts the process, and does not wait until it listens. */
export async function spawnService (owner: Owner, {
  upstreamUrl, policy = POLICY, env = {}, port: wanted, args = [], command = [], stdout, spawning, isCounted = false
}: ServiceOptions): Promise<Service> {
  const counted = isCounted ? COUNTED : {}
  const folder = makeFolder(owner)
  const policyFile = env.EPHEMINT_CONFIG ?? join(folder, 'ephemint.yaml')
  if (env.EPHEMINT_CONFIG === undefined) writeFileSync(policyFile, policy)
  const port = wanted ?? await freePort()
  const [program = process.execPath, ...rest] = [
    ...command, ...(counted.NODE_OPTIONS === undefined ? UNCOUNTED : []), process.execPath, ...args, SERVER
  ]
  const stdio: StdioOptions = ['ignore', stdout ?? 'pipe', 'pipe']
  const child = spawn(program, rest, {
    stdio,
    cwd: folder,
    env: {
      PATH: process.env.PATH,
      ...CANARIES,
      OPENAI_BASE_URL: upstreamUrl,
      EPHEMINT_CONFIG: policyFile,
      HOST: '127.0.0.1',
      PORT: String(port),
      OPS_PORT: '',
      ADDRESS_LIMIT_PER_MINUTE: '0',
      DRAIN_SECONDS: '0',
      ...counted,
      ...env
    },
    ...spawning
  })
  const [audit, log]: [JsonObject[], JsonObject[]] = [[], []]
  let stderr = ''
  child.stderr?.on('data', (chunk) => { stderr += chunk })
  if (child.stdout !== null) {
    createInterface(child.stdout).on('line', (text) => {
      const line = JSON.parse(text)
      const kind = line.audit === 1 ? audit : log
      kind.push(line)
    })
  }
  let killedAt = performance.now()
  const exited = endWith(owner, child).then(
    ([code, signal]) => ({ code, signal, afterMs: performance.now() - killedAt })
  )

  const url = `http://127.0.0.1:${port}`
  const ask = async (path: string, init: RequestInit = {}): Promise<TimedAnswer> => {
    const startedAt = performance.now()
    const response = await fetch(url + path, init)
    const text = await response.text()
    const tookMs = performance.now() - startedAt
    const body = text.startsWith('{') ? JSON.parse(text) : {}
    return { status: response.status, headers: response.headers, body, code: body.error?.code ?? null, tookMs }
  }
  return {
    url,
    port,
    pid: child.pid as number,
    child,
    folder,
    policyFile,
    audit,
    log,
    stderr: () => stderr,
    exited,
    kill: (signal) => {
      killedAt = performance.now()
      child.kill(signal)
    },
    ask,
    mint: async (init = {}) => ask(
      '/v1/realtime/client_secrets',
      { method: 'POST', headers: { authorization: `Bearer ${await tokenOf()}` }, ...init }
    )
  }
}

/** A token of a user of the plan `pro`; `claims` override its claims. */
export async function tokenOf (claims: JWTPayload = {}): Promise<string> {
  return new SignJWT(
    { iss: APP_ISSUER, sub: 'ada', aud: 'voice', plan: 'pro', exp: Math.floor(Date.now() / 1000) + 300, ...claims }
  )
    .setProtectedHeader({ alg: 'HS256' })
    .sign(Buffer.from(CANARIES.TOKEN_SECRET))
}

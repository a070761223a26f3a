// Calls through one Ephemint, its upstream, and the floor beside it: each a process, in plain text or over TLS.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { Agent, fetch, FormData } from 'undici'
import { createAuthority } from '../support/certificate.ts'
import { freePort } from '../support/processes.ts'
import { OFFER } from '../support/sdp.ts'
import type { PaceOrder, UpstreamState } from './calls-upstream.ts'
import { ephemint } from './contenders.ts'
import type { Identity } from './identity.ts'
import type { Begin, Running } from './running.ts'

export type Transport = 'plain text' | 'TLS'
/** A call lasts an hour at most, or as long as `shortSeconds` of the world. */
export type Length = 'long' | 'short'

export type BenchWorld = Readonly<{
  service: Running
  floor: Running
  upstream: (order?: PaceOrder) => Promise<UpstreamState>
  /** Makes a call; `tookMs` is from the offer to the answer, without `hangUp`. */
  call: (user: number) => Promise<Readonly<{ tookMs: number, hangUp: () => Promise<void> }>>
  /** Makes the same call directly at the upstream. */
  direct: () => Promise<Readonly<{ tookMs: number, hangUp: () => Promise<void> }>>
  /** Opens a call of each of `count` users; the result hangs all of them up. */
  open: (count: number, length: Length) => Promise<() => Promise<void>>
  /** The responses that the audit lines of ended calls count. */
  responsesInBooks: () => number
  stop: () => Promise<void>
}>

const AT_ONCE = 8
const [RETRIES, RETRY_MS] = [10, 500]
/** As long as carefully written instructions are. */
const INSTRUCTIONS = 'You are Ada, the voice agent of Example. '.repeat(40)
const SESSION = {
  fixed: {
    model: 'gpt-realtime-2.1',
    instructions: INSTRUCTIONS,
    max_output_tokens: 2048,
    audio: { input: { transcription: { model: 'gpt-4o-mini-transcribe' } } }
  },
  defaults: { audio: { output: { voice: 'marin' } } },
  allow: { 'audio.output.voice': { enum: ['marin', 'cedar'] } }
}

class Refused extends Error {
  readonly status: number
  constructor (status: number, answer: string) {
    super(`answered ${status}: ${answer}`)
    this.status = status
  }
}

type Wanted = Readonly<{
  folder: string,
  begin: Begin,
  identity: Identity,
  tokens: Readonly<Record<Length, readonly string[]>>
  transport: Transport,
  callsMax: number,
  shortSeconds: number
}>

export async function startBenchWorld (
  { folder, begin, identity, tokens, transport, callsMax, shortSeconds }: Wanted
): Promise<BenchWorld> {
  const isSecure = transport === 'TLS'
  const { authority, server } = certificates(folder)
  const upstream = await begin('./calls-upstream.ts', isSecure ? { KEY: server.key, CERT: server.cert } : {})
  const { url } = await upstream.ask<UpstreamState>({})
  const trust: Record<string, string> = isSecure ? { NODE_EXTRA_CA_CERTS: authority } : {}
  const port = await freePort()
  const name = `calls ${transport} ${callsMax}`
  const { file, env, args } = ephemint(
    name, folder, policyFile(folder, identity, shortSeconds), url.replace(/\/v1$/, ''), '',
    { ...trust, CALLS_MAX: String(callsMax), PORT: String(port) }
  )
  const service = await begin(file, env, args)
  const floor = await begin('./contenders/call-floor.ts', { ...trust, UPSTREAM: url })
  const dispatcher = new Agent({ headersTimeout: 30_000, connect: isSecure ? { ca: readFileSync(authority) } : {} })

  async function call (base: string, key: string, body: string | FormData) {
    const authorization = `Bearer ${key}`
    const post = (path: string, more: { headers?: Record<string, string>, body?: string | FormData } = {}) =>
      fetch(`${base}/realtime/calls${path}`, {
        method: 'POST', dispatcher, ...more, headers: { authorization, ...more.headers }
      })
    const headers: Record<string, string> = typeof body === 'string' ? { 'content-type': 'application/sdp' } : {}
    const startedAt = performance.now()
    const response = await post('', { headers, body })
    const answer = await response.text()
    const tookMs = performance.now() - startedAt
    if (response.status !== 201) throw new Refused(response.status, answer)
    const id = response.headers.get('location')?.split('/').at(-1)
    return { tookMs, hangUp: async () => { await (await post(`/${id}/hangup`)).text() } }
  }

  const through = (user: number, length: Length = 'long') =>
    call(`http://127.0.0.1:${port}/v1`, tokens[length][user] as string, OFFER)
  const form = new FormData()
  form.set('sdp', OFFER)
  form.set('session', JSON.stringify({ type: 'realtime', model: 'gpt-realtime-2.1', instructions: INSTRUCTIONS }))

  return {
    service,
    floor,
    upstream: (order) => upstream.ask<UpstreamState>(order ?? {}),
    call: (user) => through(user),
    direct: () => call(url, 'sk-bench', form),
    open: async (count, length) => {
      const users = Array.from({ length: count }, (_, i) => i)
      const calls = await inTurn(users, (user) => retried(() => through(user, length)))
      return async () => { await inTurn(calls, ({ hangUp }) => hangUp()) }
    },
    responsesInBooks: () => readFileSync(env.AUDIT_FILE as string, 'utf8').split('\n')
      .filter((line) => line.includes('"event":"call.ended"'))
      .reduce((sum, line) => sum + JSON.parse(line).usage.responses, 0),
    stop: async () => {
      await dispatcher.destroy()
      for (const part of [service, floor, upstream]) await part.stop()
    }
  }
}

/** Retries a 503: on a busy machine the service refuses for a moment. */
async function retried<T> (run: () => Promise<T>, left = RETRIES): Promise<T> {
  try {
    return await run()
  } catch (error) {
    if (left === 0 || !(error instanceof Refused) || error.status !== 503) throw error
  }
  await wait(RETRY_MS)
  return retried(run, left - 1)
}

async function inTurn<T, U> (items: readonly T[], run: (item: T) => Promise<U>): Promise<U[]> {
  const left = [...items]
  const done: U[] = []
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) done.push(await run(item))
  }))
  return done
}

function policyFile (folder: string, { issuer, jwks }: Identity, shortSeconds: number): string {
  const file = join(folder, `calls-${shortSeconds}.yaml`)
  const limits = { minute: 1_000_000 }
  const policy = (name: Length, maxSeconds: number) =>
    ({ name, when: { plan: name }, limits, realtime: { ...SESSION, calls: { max_seconds: maxSeconds } } })
  writeFileSync(file, JSON.stringify({
    callers: [{ jwt: { issuer, jwks, audience: 'voice-app' } }],
    policies: [policy('long', 3600), policy('short', shortSeconds)]
  }))
  return file
}

function certificates (folder: string) {
  const authority = createAuthority()
  const issued = authority.issue()
  const write = (name: string, text: string) => {
    const file = join(folder, name)
    writeFileSync(file, text)
    return file
  }
  return {
    authority: write('authority.pem', authority.cert),
    server: { key: write('calls-key.pem', issued.key), cert: write('calls-cert.pem', issued.cert) }
  }
}

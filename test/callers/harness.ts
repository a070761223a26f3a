// A small app that only authenticates, over a real socket, with a clock that the test sets.

import { Agent, type IncomingHttpHeaders, request as httpRequest } from 'node:http'
import { text } from 'node:stream/consumers'
import { fastify } from 'fastify'
import type { Test } from 'tap'
import { type Callers, compileCallers } from '../../src/callers/authenticate.ts'
import type { Caller } from '../../src/callers/caller.ts'
import { createKeySets, type KeySets } from '../../src/callers/jwks.ts'
import type { CallerEntry } from '../../src/callers/schema.ts'
import type { Clock } from '../../src/clock.ts'
import type { SecretSource } from '../../src/config/secrets.ts'
import { takeBodies } from '../../src/http/bodies.ts'
import { registerRefusals } from '../../src/http/refusals.ts'
import { STRICT_JSON } from '../../src/http/strict-json.ts'
import type { PlainLog } from '../../src/records/log.ts'

export const SITE = 'https://app.example.com'
export const START_MS = Date.UTC(2026, 5, 1, 12)
export const NOW = START_MS / 1000

const REFUSAL = JSON.stringify({
  error: {
    message: 'The request presents no valid credential.',
    type: 'authentication_error',
    code: 'invalid_credentials',
    param: null
  }
})

export type CallersClock = Clock & Readonly<{
  /** Runs the callbacks that fall due, and waits for them. */
  advance: (ms: number) => Promise<void>
  setWall: (ms: number) => void
  /** Milliseconds until the next callback is due. */
  nextInMs: () => number
}>

export function createClock (): CallersClock {
  let monotonic = 0
  let wall = START_MS
  const waiting = new Set<{ at: number, callback: () => unknown }>()
  return {
    wallMs: () => wall,
    monotonicMs: () => monotonic,
    after: (ms, callback) => {
      const entry = { at: monotonic + ms, callback }
      waiting.add(entry)
      return () => waiting.delete(entry)
    },
    advance: async (ms) => {
      monotonic += ms
      wall += ms
      for (const entry of [...waiting].filter(({ at }) => at <= monotonic)) {
        waiting.delete(entry)
        await entry.callback()
      }
    },
    setWall: (ms) => { wall = ms },
    nextInMs: () => Math.min(...[...waiting].map(({ at }) => at)) - monotonic
  }
}

export type SentHeaders = readonly (readonly [name: string, value: string])[]
export type CheckedAnswer = Readonly<{
  status: number, headers: IncomingHttpHeaders, body: string, reason: string | undefined, caller: Caller | undefined
}>
export type LogLine = Readonly<{ level: string, message: string } & Record<string, unknown>>

export function createLog (): PlainLog & { lines: LogLine[] } {
  const lines: LogLine[] = []
  const at = (level: string) => (facts: object, message: string) => { lines.push({ level, message, ...facts }) }
  return { info: at('info'), warn: at('warn'), error: at('error'), lines }
}

export function secretSource (secrets: Record<string, string>): SecretSource {
  const read = (name: string): string => {
    const value = secrets[name]
    if (value === undefined) throw new Error(`names ${name}, which is not there`)
    return value
  }
  return { env: read, file: read }
}

export type CallersService = Readonly<{
  callers: Callers
  clock: CallersClock
  log: ReturnType<typeof createLog>
  url: string
  ask: (sent?: SentHeaders, options?: { method?: string, path?: string, body?: string }) => Promise<CheckedAnswer>
}>

type CallersOptions = Readonly<{
  secrets?: Record<string, string>
  origins?: string[]
  trustProxy?: boolean
  clock?: CallersClock
  keySets?: KeySets
  host?: string
}>

export async function serve (t: Test, entries: CallerEntry[], options: CallersOptions = {}): Promise<CallersService> {
  const { secrets = {}, origins = [SITE], trustProxy = false, clock = createClock(), host = '127.0.0.1' } = options
  const log = createLog()
  const { keySets = createKeySets({ log, clock }) } = options
  const { callers, problems } = compileCallers(
    entries, { secrets: secretSource(secrets), log, clock, keySets, allowedOrigins: new Set(origins) }
  )
  t.same(problems, [])
  await callers.start()
  t.teardown(callers.close)

  let reason: string | undefined
  let caller: Caller | undefined
  const app = fastify({ trustProxy, forceCloseConnections: true })
  registerRefusals(app, (error) => { reason = error.reason ?? error.code })
  takeBodies(app, [STRICT_JSON])
  app.addHook('onRequest', async (request) => { caller = await callers.authenticate(request) })
  app.post('/', async () => ({}))
  app.get('/*', async () => ({}))
  const url = await app.listen({ port: 0, host })
  const agent = new Agent({ keepAlive: true })
  t.teardown(async () => {
    agent.destroy()
    await app.close()
  })

  return {
    callers,
    clock,
    log,
    url,
    ask: async (sent = [], { method = 'POST', path = '/', body = '' } = {}) => {
      reason = caller = undefined
      const answer = await new Promise<Omit<CheckedAnswer, 'reason' | 'caller'>>((resolve, reject) => {
        const headers = [
          'host', 'mint.example.com', ...(body === '' ? ['content-length', '0'] : ['transfer-encoding', 'chunked']),
          ...sent.flat()
        ]
        httpRequest(url, { method, path, headers, agent, insecureHTTPParser: false }, async (response) => {
          resolve({ status: response.statusCode as number, headers: response.headers, body: await text(response) })
        }).on('error', reject).end(body)
      })
      assertNothingLeaks(t, sent, answer.body + JSON.stringify(log.lines))
      return { ...answer, reason, caller }
    }
  }
}

/** The request's credentials appear neither in the response nor in the log. */
function assertNothingLeaks (t: Test, sent: SentHeaders, output: string): void {
  const values = sent.filter(([name]) => /^(authorization|cookie)$/i.test(name)).map(([, value]) => value)
  const secrets = values.map((value) => value.replace(/^\S+?[ =]/, ''))
  const leaked = secrets.filter((secret) => secret.length > 16 && output.includes(secret))
  if (leaked.length > 0) t.fail('a credential leaked', { leaked })
}

/** The 401, identical for every fault of every credential. */
export function assertRefused (t: Test, answer: CheckedAnswer, reason: string, name = reason): void {
  const { status, body, headers } = answer
  t.same({
    reason: answer.reason,
    status,
    body,
    type: headers['content-type'],
    challenge: headers['www-authenticate'],
    cache: headers['cache-control'],
    sniff: headers['x-content-type-options']
  }, {
    reason,
    status: 401,
    body: REFUSAL,
    type: 'application/json; charset=utf-8',
    challenge: 'Bearer',
    cache: 'no-store',
    sniff: 'nosniff'
  }, name)
  t.equal(answer.caller, undefined)
}

/** The 503 for credentials that cannot be checked, with Retry-After. */
export function assertUnavailable (t: Test, answer: CheckedAnswer, reason: string, name = reason): void {
  t.equal(answer.reason, reason, name)
  t.equal(answer.status, 503)
  t.match(answer.body, '"code":"identity_unavailable"')
  t.match(answer.headers['retry-after'], /^[1-9]\d*$/)
}

export function assertPassed (t: Test, answer: CheckedAnswer, caller: Partial<Caller>, name?: string): void {
  t.equal(answer.reason, undefined, name ?? 'passed')
  t.equal(answer.status, 200)
  t.match(answer.caller, caller)
}

export const bearer = (token: string): SentHeaders => [['authorization', `Bearer ${token}`]]

/** Divides all deadlines by a hundred. */
export function shortenTimeouts (t: Test): void {
  const { timeout } = AbortSignal
  t.intercept(AbortSignal, 'timeout', { value: (ms: number) => timeout(ms / 100) })
}

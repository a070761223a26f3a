// Calls through a whole service, over real sockets, against the upstream of the tests. The test moves the clock.

import { writeFileSync } from 'node:fs'
import type { JWTPayload } from 'jose'
import type { Test } from 'tap'
import type { JsonObject } from '../../src/json.ts'
import type { LimitStore } from '../../src/limits/limits.ts'
import { createMemoryStore } from '../../src/limits/memory.ts'
import { type Answer, type App, type AppOptions, CALLERS, CANARIES, startApp } from '../support/app.ts'
import { type CallsUpstream, startCallsUpstream } from '../support/calls-upstream.ts'
import { createTestClock, type TestClock } from '../support/clock.ts'
import { assertNoCanary } from '../support/invariants.ts'
import { OFFER } from '../support/sdp.ts'
import { until } from '../support/until.ts'

type PolicyOptions = Readonly<{
  calls?: string, limits?: string, realtime?: string, blocked?: string, more?: string
}>

export function policyOf ({
  calls = '{}', limits = '{ minute: 500 }', realtime = '', blocked = '[{ subject: blocked }]', more = ''
}: PolicyOptions = {}): string {
  return `${CALLERS}
policies:
  - name: pro
    when: { plan: pro }
    limits: ${limits}
    realtime:
      fixed: { model: gpt-realtime-2.1, instructions: 'You are Ada.' }
      allow: { audio.output.voice: { enum: [marin, cedar] } }
      calls: ${calls}
      ${realtime}
${more}
blocked: ${blocked}
`
}

export type CallToBegin = Readonly<{
  offer?: string
  /** The session that is asked for; with one the body is a form. */
  session?: JsonObject
  claims?: JWTPayload
  headers?: Readonly<Record<string, string>>
  signal?: AbortSignal
}>

export type CallsApp = App & Readonly<{
  upstream: CallsUpstream
  clock: TestClock
  begin: (begin?: CallToBegin) => Promise<Answer>
  get: (path: string, claims?: JWTPayload) => Promise<Answer>
  hangUp: (path: string, init?: RequestInit, claims?: JWTPayload) => Promise<Answer>
  /** A request of an operator at the listener for operations, a POST with a body. Needs the variables of OPS. */
  operate: (path: string, body?: unknown, headers?: Readonly<Record<string, string>>) => Promise<Answer>
  /** The audit lines of this event. */
  lines: (event: string) => JsonObject[]
  /** Waits until there are `count` of them. */
  wrote: (event: string, count?: number) => Promise<JsonObject[]>
  /** Writes the policy file, as an operator does; resolves when it is in use. */
  swapPolicy: (policy: string) => Promise<void>
  /** Resolves once everything that has arrived at the service is handled. */
  settle: () => Promise<void>
  /** Lets time pass in which each ping is answered. */
  pass: (ms: number) => Promise<void>
  /** Resolves once `count` connections of clients are closed. */
  disconnected: (count: number) => Promise<unknown>
  reserving: () => boolean
  /** The limits that `GET /v1/realtime/policy` shows. */
  limits: (claims?: JWTPayload) => Promise<any>
}>

/** The environment of a service with a listener for operations. */
export const OPS = { OPS_HOST: '127.0.0.1', OPS_PORT: '0' }

/** Without `store` the limits are in memory; with null the environment decides. Services may share an upstream. */
export type CallsOptions = Omit<AppOptions, 'limits' | 'upstream'> & PolicyOptions &
  Readonly<{ store?: LimitStore | null, upstream?: CallsUpstream }>

export async function startCalls (
  t: Test, { limits, store = createMemoryStore(), ...options }: CallsOptions = {}
): Promise<CallsApp> {
  const upstream = options.upstream ?? await startCallsUpstream(t)
  const clock = createTestClock()
  let isReserving = false
  const watched = (store: LimitStore): LimitStore => ({
    ...store,
    reserve: (reservation) => {
      isReserving = true
      return store.reserve(reservation)
    }
  })
  const policy = policyOf({ ...options, ...limits === undefined ? {} : { limits } })
  const app = await startApp(t, {
    policy,
    clock,
    ...options,
    ...store === null ? {} : { limits: watched(store) },
    upstream
  })
  let generation = 1
  let disconnections = 0
  app.server.on('connection', (socket) => socket.once('close', () => { disconnections++ }))

  const read = async (response: Response, authorization = ''): Promise<Answer> => {
    const text = await response.text()
    const isJson = response.headers.get('content-type')?.startsWith('application/json') === true
    const answer = {
      status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : {}
    }
    assertNoCanary(app, answer, [authorization])
    return answer
  }
  const ask = async (path: string, init: RequestInit, claims: JWTPayload = {}): Promise<Answer> => {
    const authorization = `Bearer ${await app.token(claims)}`
    return read(await fetch(app.url + path, { ...init, headers: { authorization, ...init.headers } }), authorization)
  }
  const self: CallsApp = {
    ...app,
    upstream,
    clock,
    begin: async ({ offer = OFFER, session, claims, headers = {}, signal } = {}) => {
      const form = new FormData()
      form.set('sdp', offer)
      if (session !== undefined) form.set('session', JSON.stringify(session))
      return ask('/v1/realtime/calls', {
        method: 'POST',
        ...(signal === undefined ? {} : { signal }),
        ...(session === undefined
          ? { body: offer, headers: { 'content-type': 'application/sdp', ...headers } }
          : { body: form, headers })
      }, claims)
    },
    get: (path, claims) => ask(path, {}, claims),
    hangUp: (path, init = {}, claims) => ask(`${path}/hangup`, { method: 'POST', ...init }, claims),
    operate: async (path, body, headers = { authorization: `Bearer ${CANARIES.ADMIN_TOKEN}` }) => {
      const opsUrl = app.logLines().find(({ msg }) => msg === 'listening')?.ops_url as string
      return read(await fetch(opsUrl + path, body === undefined
        ? { headers }
        : {
            method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json', ...headers }
          }))
    },
    lines: (event) => app.auditLines().filter((line) => line.event === event),
    wrote: (event, count = 1) => until(`${count} × ${event}`, () => {
      const lines = self.lines(event)
      return lines.length >= count ? lines : null
    }),
    swapPolicy: async (policy) => {
      writeFileSync(app.policyFile, policy)
      generation++
      await until('the policy to be in use', () => app.logLines().some((line) => line.generation === generation))
    },
    pass: async (ms) => {
      for (let leftMs = ms; leftMs > 0; leftMs -= 10_000) {
        clock.pass(Math.min(leftMs, 10_000))
        await self.settle()
      }
    },
    settle: async () => { for (let i = 0; i < 2; i++) await ask('/v1/realtime/calls', {}) },
    disconnected: (count) => until('clients to be gone', () => disconnections >= count),
    reserving: () => isReserving,
    limits: async (claims) => (await ask('/v1/realtime/policy', {}, claims)).body.limits
  }
  t.teardown(() => {
    const written = [...app.audit.kept, ...app.log.kept].join('')
    for (const secret of ['m=audio', 'a=mid', 'canary']) {
      if (written.includes(secret)) throw new Error(`${secret} in a line`)
    }
  })
  return self
}

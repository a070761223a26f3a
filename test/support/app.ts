// The service as in production, in this process, with real sockets on both sides, and a clock and files of the test.

import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { exportJWK, type JWTPayload, SignJWT } from 'jose'
import type { Test } from 'tap'
import { type Clock, systemClock } from '../../src/clock.ts'
import type { JsonObject } from '../../src/json.ts'
import type { LimitStore } from '../../src/limits/limits.ts'
import { createMemoryStore } from '../../src/limits/memory.ts'
import { openService } from '../../src/service.ts'
import { assertInvariants, type Watched } from './invariants.ts'
import { keepLines, type KeptLines } from './lines.ts'
import { makeFolder } from './processes.ts'
import { startUpstream, type Upstream } from './upstream.ts'

export const APP_ISSUER = 'https://auth.test/'
export const ORIGIN = 'https://app.test'

/** Secrets that must never leave the service. */
export const CANARIES = {
  OPENAI_API_KEY: 'sk-canary-1f0b6b0c9a7d4e52',
  TOKEN_SECRET: 'canary-token-secret-9b1f6d0a4c7e2385',
  SAFETY_IDENTIFIER_SECRET: 'canary-safety-secret-3c7a9e5b1d8f2046',
  MCP_KEY: 'canary-mcp-key-7e2d4b6f8a1c3950',
  ADMIN_TOKEN: 'canary-admin-token-5a0c8e2b4d6f1937'
}

export const CALLERS = `
callers:
  - jwt: { issuer: '${APP_ISSUER}', audience: voice, secret_env: TOKEN_SECRET }
`

/** Users of the plan `pro` may choose some fields of every kind. */
export const POLICY = `${CALLERS}
policies:
  - { name: suspended, when: { status: suspended }, deny: true }
  - name: pro
    when: { plan: pro }
    limits: { minute: 50, day: 500 }
    realtime:
      fixed: { model: gpt-realtime-2.1, instructions: 'You are Ada.' }
      defaults: { audio: { output: { voice: marin } } }
      allow:
        audio.output.voice: { enum: [marin, cedar] }
        audio.output.speed: { type: number, minimum: 0.75, maximum: 1.25 }
        audio.input.turn_detection:
          anyOf:
            - { type: 'null' }
            - type: object
              additionalProperties: false
              properties: { type: { const: server_vad }, threshold: { type: number } }
      ignore: [temperature]
      expires_after: { default: 60, max: 300 }
      hide: [instructions]
    transcription:
      fixed: { audio: { input: { transcription: { model: gpt-4o-transcribe } } } }
      allow: { audio.input.transcription.language: { enum: [en, de] } }
    translation:
      fixed: { model: gpt-realtime-translate }
      allow: { audio.output.language: { enum: [en, de] } }
blocked: [{ subject: blocked }]
`

export type AppOptions = Readonly<{
  policy?: string
  env?: Readonly<Record<string, string>>
  signing?: 'HS256' | 'ES256'
  /** Methods that replace those of the memory store. */
  limits?: Partial<LimitStore>
  clock?: Clock
  isDraining?: () => boolean
  waitingFor?: () => readonly string[]
  redisWithinMs?: number
  upstream?: Upstream
}>

export type Answer = Readonly<{ status: number, headers: Headers, text: string, body: JsonObject }>

export type App = Watched & Readonly<{
  url: string
  port: number
  upstream: Upstream
  audit: KeptLines
  log: KeptLines
  auditLines: () => JsonObject[]
  /** The counted outcomes of upstream requests, in order: statuses, reasons and `retry`. */
  attempts: string[]
  logLines: () => JsonObject[]
  /** A token of a user of the plan `pro`; `claims` override its claims. */
  token: (claims?: JWTPayload) => Promise<string>
  /** POST to `/v1/realtime/<route>`, as a user of the plan `pro`. Every answer is checked against the invariants. */
  mint: (route: string, body?: unknown, headers?: Readonly<Record<string, string | undefined>>) => Promise<Answer>
  request: (path: string, init?: RequestInit) => Promise<Answer>
  server: Server
  policyFile: string
  close: () => Promise<void>
  /** Stops the service as a signal does. */
  stop: () => Promise<void>
}>

export async function startApp (t: Test, options: AppOptions = {}): Promise<App> {
  const {
    policy = POLICY, signing = 'HS256', clock = systemClock, limits, isDraining, waitingFor, redisWithinMs
  } = options
  const upstream = options.upstream ?? await startUpstream(t)
  const env: Record<string, string> = {
    ...CANARIES,
    OPENAI_BASE_URL: upstream.url,
    REALTIME_PUBLIC_URL: 'https://realtime.test/v1',
    CORS_ORIGINS: ORIGIN,
    ADDRESS_LIMIT_PER_MINUTE: '0',
    LOG_LEVEL: 'trace',
    UPSTREAM_TIMEOUT_MS: '5000',
    ...options.env
  }
  const [audit, log] = [keepLines(), keepLines()]
  const issuer = await startIssuer(t, signing, env.TOKEN_SECRET as string)
  const policyFile = join(makeFolder(t), 'ephemint.yaml')
  writeFileSync(policyFile, policy.replaceAll('JWKS_URL', issuer.jwks))

  const attempts: string[] = []
  const watchUpstream = {
    attempted: (outcome: string) => { attempts.push(outcome) },
    retried: () => { attempts.push('retry') }
  }
  const service = await openService({
    HOST: '127.0.0.1', PORT: '0', OPS_PORT: '', DRAIN_SECONDS: '0', ...env, EPHEMINT_CONFIG: policyFile
  }, {
    lines: { stdout: log, audit },
    clock,
    isCold: true,
    watchUpstream,
    ...(limits === undefined ? {} : { limits: { ...createMemoryStore(), ...limits } }),
    ...(isDraining === undefined ? {} : { isDraining }),
    ...(waitingFor === undefined ? {} : { waitingFor }),
    ...(redisWithinMs === undefined ? {} : { redisWithinMs })
  })
  const { app } = service
  let stopped: Promise<void> | undefined
  const stop = () => (stopped ??= service.stop())
  const { url } = await service.listen()
  t.teardown(() => {
    app.server.closeAllConnections()
    // Not awaited: a request that hangs upstream ends with the upstream.
    stop().catch(() => {})
  })

  const token = (claims: JWTPayload = {}) =>
    issuer.sign({ iss: APP_ISSUER, sub: 'ada', aud: 'voice', plan: 'pro', ...claims })
  const request = async (path: string, init: RequestInit = {}): Promise<Answer> => {
    const response = await fetch(url + path, { redirect: 'manual', ...init })
    const text = await response.text()
    return { status: response.status, headers: response.headers, text, body: text === '' ? {} : JSON.parse(text) }
  }
  const self: App = {
    url,
    port: Number(new URL(url).port),
    upstream,
    audit,
    log,
    attempts,
    auditLines: () => audit.kept.map((line) => JSON.parse(line)),
    logLines: () => log.kept.map((line) => JSON.parse(line)),
    canaries: Object.keys(CANARIES).map((name) => env[name] as string).filter((value) => value !== ''),
    token,
    request,
    server: app.server,
    policyFile,
    stop,
    close: async () => { await app.close() },
    mint: async (route, body, headers = {}) => {
      const linesBefore = audit.kept.length
      const sent = {
        authorization: `Bearer ${await token()}`,
        'content-type': body === undefined ? undefined : 'application/json',
        ...headers
      }
      const answer = await request(`/v1/realtime/${route}`, {
        method: 'POST',
        headers: Object.entries(sent).filter((entry): entry is [string, string] => entry[1] !== undefined),
        ...(body === undefined
          ? {}
          : { body: typeof body === 'string' || body instanceof Uint8Array ? body as string : JSON.stringify(body) })
      })
      assertInvariants(self, answer, linesBefore, [sent.authorization])
      return answer
    }
  }
  return self
}

async function startIssuer (t: Test, signing: 'HS256' | 'ES256', secret: string) {
  const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const jwks = { keys: [{ ...await exportJWK(keys.publicKey), kid: 'one', alg: 'ES256' }] }
  const server = createServer((_request, response) => response.end(JSON.stringify(jwks))).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return {
    jwks: `http://127.0.0.1:${(server.address() as AddressInfo).port}/jwks`,
    sign: (claims: JWTPayload) => new SignJWT({ exp: Math.floor(Date.now() / 1000) + 300, ...claims })
      .setProtectedHeader({ alg: signing, kid: 'one' })
      .sign(signing === 'HS256' ? Buffer.from(secret) : keys.privateKey)
  }
}

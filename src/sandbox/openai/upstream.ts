// The upstream of the sandbox: it behaves as OpenAI's documented API does, strict where that is strict.

import { fastify, type FastifyError, type FastifyInstance } from 'fastify'
import { isObject, type JsonObject } from '../../json.ts'
import type { Kind } from '../../realtime/session.ts'
import { admitKey } from '../admit.ts'
import { listen } from '../listen.ts'
import { type CallsOptions, createEmulatedCalls, type Quirks } from './calls.ts'
import { checkMint, checkTranslationMint } from './checks.ts'
import { invalidValue, openaiEnvelope, OpenaiError } from './error.ts'
import { checkLegacyMint, completeLegacySession } from './legacy.ts'
import { serveRealtimeSockets } from './realtime-socket.ts'
import { completeSession } from './session-object.ts'
import { createSessionStore, newId } from './session-store.ts'

export type UpstreamOptions = {
  /** The wanted port; another if it is taken. By default any. */
  port?: number
  apiKey: string
  /** Mints at the legacy routes too, as servers do that still speak the beta. */
  legacy?: boolean
  /** How long a session lasts. Default an hour. */
  sessionSeconds?: number
  quirks?: Quirks
  /** Milliseconds. */
  now?: () => number
  log?: (line: string) => void
  onSideband?: CallsOptions['onSideband']
}

export type EmulatedUpstream = Readonly<{ url: string, close: () => Promise<void> }>

export async function startUpstream ({
  port = 0, apiKey, legacy = false, sessionSeconds = 3600, quirks = {}, now = Date.now, log = () => {},
  onSideband = () => {}
}: UpstreamOptions): Promise<EmulatedUpstream> {
  const app = fastify({ forceCloseConnections: true })
  const store = createSessionStore(now, sessionSeconds)

  app.addHook('onSend', async (_request, reply) => { reply.headers(openaiHeaders(reply.elapsedTime)) })
  app.setNotFoundHandler(({ method, url }) => { throw new OpenaiError(404, `Invalid URL (${method} ${url})`) })
  app.setErrorHandler((error: FastifyError | OpenaiError, _request, reply) => {
    const refusal = error instanceof OpenaiError
      ? error
      : new OpenaiError(error.statusCode ?? 500, 'We could not parse the JSON body of your request.')
    return reply.code(refusal.statusCode).send(openaiEnvelope(refusal))
  })

  app.register(async (api) => {
    api.addHook('onResponse', async ({ method, url }, reply) => log(`${method} ${url} ${reply.statusCode}`))
    api.addHook('onRequest', async ({ headers }) => admitKey(headers.authorization, apiKey))
    serveMints(api)
    legacy ? serveLegacyMints(api) : retireLegacyMints(api)
  }, { prefix: '/v1/realtime' })

  const calls = createEmulatedCalls({ store, apiKey, sessionSeconds, quirks, log, onSideband })
  app.register(calls.routes)
  const endSessions = serveRealtimeSockets(app.server, store, calls, log)
  const origin = await listen(app, port)
  return {
    url: `${origin}/v1`,
    close: async () => {
      endSessions()
      await calls.end()
      await app.close()
    }
  }

  function serveMints (api: FastifyInstance): void {
    api.post('/client_secrets', ({ body }) => {
      const { kind, session, seconds } = checkMint(bodyOf(body))
      return mint(kind, session, seconds)
    })
    api.post('/translations/client_secrets', ({ body }) => {
      const { session, seconds } = checkTranslationMint(bodyOf(body))
      return mint('translation', session, seconds)
    })
  }

  function mint (kind: Kind, asked: JsonObject, seconds: number): JsonObject {
    const expiresAt = expiry(seconds)
    // A translation's session has the time at which its secret expires, the others 0.
    const session = completeSession(kind, asked, kind === 'translation' ? expiresAt : 0)
    return { value: store.mint({ kind, legacy: false, session }, expiresAt), expires_at: expiresAt, session }
  }

  function serveLegacyMints (api: FastifyInstance): void {
    for (const [kind, path] of LEGACY_PATHS) {
      api.post(path, ({ body }) => {
        const { session: asked, seconds } = checkLegacyMint(kind, bodyOf(body))
        const expiresAt = expiry(seconds)
        const session = completeLegacySession(kind, asked)
        return {
          ...session,
          client_secret: { value: store.mint({ kind, legacy: true, session }, expiresAt), expires_at: expiresAt }
        }
      })
    }
  }

  function expiry (seconds: number): number {
    return Math.floor(now() / 1000) + seconds
  }
}

const LEGACY_PATHS = [['realtime', '/sessions'], ['transcription', '/transcription_sessions']] as const

function retireLegacyMints (api: FastifyInstance): void {
  for (const [, path] of LEGACY_PATHS) {
    api.post(path, () => {
      throw new OpenaiError(
        400,
        'The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API.',
        'beta_api_shape_disabled'
      )
    })
  }
}

/** No body is an empty one. */
function bodyOf (body: unknown): JsonObject {
  if (body === undefined) return {}
  if (!isObject(body)) throw invalidValue('body', 'The body must be a JSON object.')
  return body
}

/** More headers than a mint needs, as OpenAI sends them: tests notice if Ephemint passes one on. */
function openaiHeaders (elapsedMs: number): Record<string, string> {
  return {
    'x-request-id': newId('req'),
    'openai-processing-ms': String(Math.ceil(elapsedMs)),
    'openai-version': '2020-10-01',
    'openai-organization': 'sandbox-organization',
    'openai-project': 'proj_sandbox',
    'set-cookie': `__cf_bm=${newId('sandbox')}; path=/; HttpOnly; SameSite=None`,
    'strict-transport-security': 'max-age=31536000; includeSubDomains; preload',
    server: 'cloudflare'
  }
}

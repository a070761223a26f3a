// Calls: a realtime session over WebRTC. A page posts its offer with a client secret, or a server posts the page's
// offer with its key; that server may then watch the call over a sideband of its own, and hang it up.

import cors from '@fastify/cors'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { RTCDataChannel } from 'werift'
import type { WebSocket } from 'ws'
import { admit, admitKey, bearerOf } from '../admit.ts'
import { checkCallSession } from './checks.ts'
import { type Conversation, startConversation } from './conversation.ts'
import { createEmulatedPeer } from './emulated-peer.ts'
import { invalidValue, missingParameter, OpenaiError, unknownParameter } from './error.ts'
import { completeSession } from './session-object.ts'
import type { SessionConfig, SessionStore } from './session-store.ts'

/** Undocumented behaviour that servers show, or may show. */
export type Quirks = Readonly<{
  /** Whether a client's `session.update` is shown to the sideband. Default true. */
  mirrorsUpdates?: boolean
  /** 401 to the key at `/calls`, as Azure answers: only a client secret creates. */
  refusesKeyAtCalls?: boolean
  /** So many attempts to attach to a call are 404 before one succeeds. */
  refusedAttaches?: number
}>

export type CallsOptions = Readonly<{
  store: SessionStore
  apiKey: string
  sessionSeconds: number
  quirks: Quirks
  log: (line: string) => void
  /** The type of each event that is sent to a sideband, with the offer of its call. */
  onSideband: (offer: string, type: string) => void
}>

export type EmulatedCalls = Readonly<{
  routes: (app: FastifyInstance) => Promise<void>
  /** How a sideband is joined to the call once it is open. Throws OpenaiError. */
  attach: (callId: string, authorization: string | undefined) => (sideband: WebSocket) => void
  end: () => Promise<void>
}>

type EmulatedCall = {
  readonly offer: string
  readonly conversation: Conversation
  readonly sidebands: Set<WebSocket>
  refusals: number
  readonly end: (code: number, reason: string) => Promise<void>
}

const PATHS = ['/v1/realtime/calls', '/v1/realtime/translations/calls']
const OFFER_LIMIT_BYTES = 64 * 1024
const FORM_LIMIT_BYTES = 256 * 1024
const OVER = 'Your session hit the maximum duration of 60 minutes.'

export function createEmulatedCalls (
  { store, apiKey, sessionSeconds, quirks, log, onSideband }: CallsOptions
): EmulatedCalls {
  /** Live calls. A call that was never joined lives until its session ends. */
  const calls = new Map<string, EmulatedCall>()

  async function routes (app: FastifyInstance): Promise<void> {
    // OpenAI takes requests from pages of any origin: the secret alone decides.
    await app.register(cors, { origin: '*', methods: ['POST'], exposedHeaders: ['Location', 'x-request-id'] })
    app.addHook('onResponse', async ({ method, url }, reply) => log(`${method} ${url} ${reply.statusCode}`))
    app.addContentTypeParser(
      'application/sdp', { parseAs: 'string', bodyLimit: OFFER_LIMIT_BYTES }, (_request, body, done) => done(null, body)
    )
    app.addContentTypeParser(
      'multipart/form-data', { parseAs: 'buffer', bodyLimit: FORM_LIMIT_BYTES },
      ({ headers }: FastifyRequest, body: Buffer<ArrayBuffer>) => parseForm(headers['content-type'] as string, body)
    )
    for (const path of PATHS) {
      app.post(path, async ({ headers, body }, reply) => {
        const { offer, config } = body instanceof FormData && path === PATHS[0]
          ? await callOfServer(headers.authorization, body)
          : callOfPage(headers.authorization, path, body)
        // A call and its session are named alike.
        const id = String(config.session.id).replace(/^sess/, 'rtc')
        const answer = await answerOffer(id, offer, config)
        return reply.code(201).header('location', `${path}/${id}`)
          .type(body instanceof FormData ? 'text/plain; charset=utf-8' : 'application/sdp').send(answer)
      })
    }
    app.post<{ Params: { id: string } }>(`${PATHS[0]}/:id/hangup`, async ({ headers, params }, reply) => {
      admitKey(headers.authorization, apiKey)
      await find(params.id).end(1000, '')
      return reply.code(200).send()
    })
  }

  async function callOfServer (authorization: string | undefined, form: FormData) {
    admitKey(authorization, apiKey)
    if (quirks.refusesKeyAtCalls) throw new OpenaiError(401, 'This operation requires ephemeral tokens.')
    const { sdp, session } = await partsOf(form)
    const asked = checkCallSession(session)
    const complete = completeSession('realtime', asked, 0)
    return { offer: sdp, config: store.begin({ kind: 'realtime', legacy: false, session: complete }) }
  }

  function callOfPage (authorization: string | undefined, path: string, body: unknown) {
    const config = admit(store, bearerOf(authorization), path)
    if (typeof body !== 'string') {
      throw new OpenaiError(400, 'The body must be an SDP offer, sent as application/sdp.', 'invalid_offer')
    }
    return { offer: body, config }
  }

  /** The SDP answer. Throws OpenaiError where the offer is none. */
  async function answerOffer (id: string, offer: string, config: SessionConfig): Promise<string> {
    const hangUp = () => { call.end(1000, '') }
    const peer = createEmulatedPeer({
      onFrame: (frame) => call.conversation.hear(frame),
      onChannel: (channel) => converse(channel, call.conversation, hangUp),
      onEnd: hangUp
    })
    const call: EmulatedCall = {
      offer,
      conversation: startConversation(config, { voice: peer, mirrorsUpdates: quirks.mirrorsUpdates ?? true }),
      sidebands: new Set(),
      refusals: quirks.refusedAttaches ?? 0,
      end: async (code, reason) => {
        // Closing the connection calls this function again.
        if (!calls.delete(id)) return
        clearTimeout(longest)
        log(`${id} ended`)
        call.conversation.end()
        for (const sideband of call.sidebands) sideband.close(code, reason)
        await peer.close()
      }
    }
    calls.set(id, call)
    const longest = setTimeout(() => call.end(1001, OVER), sessionSeconds * 1000)
    try {
      return await peer.answer(offer)
    } catch (error) {
      await call.end(1000, '')
      throw error
    }
  }

  function find (id: string): EmulatedCall {
    const call = calls.get(id)
    if (call === undefined) throw notFound()
    return call
  }

  return {
    routes,
    attach: (callId, authorization) => {
      admitKey(authorization, apiKey)
      const call = find(callId)
      if (call.refusals-- > 0) throw notFound()
      return (sideband) => watch(sideband, call, onSideband)
    },
    end: async () => { await Promise.all([...calls.values()].map((call) => call.end(1001, ''))) }
  }
}

function watch (
  sideband: WebSocket, { offer, conversation, sidebands }: EmulatedCall, onSideband: CallsOptions['onSideband']
): void {
  const { receive, leave } = conversation.join((event) => {
    sideband.send(JSON.stringify(event))
    onSideband(offer, String(event.type))
  }, 'sideband')
  sidebands.add(sideband)
  sideband.on('message', (data) => receive(data.toString()))
  sideband.on('error', () => {})
  sideband.on('close', () => {
    leave()
    sidebands.delete(sideband)
  })
}

function converse (channel: RTCDataChannel, conversation: Conversation, hangUp: () => void): void {
  // A page that goes in the middle of a sentence leaves a channel that throws.
  const { receive } = conversation.join(
    (event) => { if (channel.readyState !== 'closed') channel.send(JSON.stringify(event)) }
  )
  channel.onMessage.subscribe((message) => receive(message.toString()))
  channel.stateChange.subscribe((state) => { if (state === 'closed') hangUp() })
}

async function parseForm (type: string, body: Buffer<ArrayBuffer>): Promise<FormData> {
  try {
    return await new Response(body, { headers: { 'content-type': type } }).formData()
  } catch {
    throw new OpenaiError(400, 'We could not parse the multipart body of your request.')
  }
}

async function partsOf (form: FormData): Promise<{ sdp: string, session: unknown }> {
  for (const name of form.keys()) {
    if (name !== 'sdp' && name !== 'session') throw unknownParameter(name)
  }
  const [sdp, session] = await Promise.all(['sdp', 'session'].map(async (name) => {
    const part = form.get(name)
    if (part === null) throw missingParameter(name)
    return typeof part === 'string' ? part : await part.text()
  })) as [string, string]
  try {
    return { sdp, session: JSON.parse(session) }
  } catch {
    throw invalidValue('session')
  }
}

function notFound (): OpenaiError {
  return new OpenaiError(404, 'No session found for the provided call_id', 'call_id_not_found', '')
}

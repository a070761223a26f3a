// Calls: a realtime session over WebRTC, as browsers hold it. The page posts an SDP offer with its secret; what answers is a
// peer on this machine whose data channel carries the events. The user's voice is taken and nobody listens.

import cors from '@fastify/cors'
import type { FastifyInstance } from 'fastify'
import { type RTCDataChannel, RTCPeerConnection } from 'werift'
import { admit, bearerOf } from '../admit.ts'
import { HOST } from '../listen.ts'
import { startConversation } from './conversation.ts'
import { OpenaiError } from './error.ts'
import { newId, type SessionConfig, type SessionStore } from './session-store.ts'

const PATHS = ['/v1/realtime/calls', '/v1/realtime/translations/calls']
const CHANNEL = 'oai-events'
/** An offer whose page never comes is not kept. */
const JOIN_WITHIN_MS = 30_000
const SESSION_MS = 3_600_000
const SDP_LIMIT_BYTES = 64 * 1024

export type Calls = Readonly<{ routes: (app: FastifyInstance) => Promise<void>, end: () => Promise<void> }>

export function createCalls (store: SessionStore, log: (line: string) => void): Calls {
  /** How to hang up each that is under way. */
  const calls = new Set<() => Promise<void>>()

  async function routes (app: FastifyInstance): Promise<void> {
    // A page of any origin calls OpenAI; what it may do is said by the secret alone.
    await app.register(cors, { origin: '*', methods: ['POST'], exposedHeaders: ['Location', 'x-request-id'] })
    app.addHook('onResponse', async ({ method, url }, reply) => log(`${method} ${url} ${reply.statusCode}`))
    app.addContentTypeParser(
      'application/sdp', { parseAs: 'string', bodyLimit: SDP_LIMIT_BYTES }, (_request, body, done) => done(null, body)
    )
    for (const path of PATHS) {
      app.post(path, async ({ headers, body }, reply) => {
        const config = admit(store, bearerOf(headers.authorization), path)
        if (typeof body !== 'string') {
          throw new OpenaiError(400, 'The body must be an SDP offer, sent as application/sdp.', 'invalid_offer')
        }
        const id = newId('rtc')
        const answer = await pickUp(id, body, config)
        return reply.code(201).header('location', `${path}/${id}`).type('application/sdp').send(answer)
      })
    }
  }

  /** The SDP answer. Throws OpenaiError where the offer is none. */
  async function pickUp (id: string, offer: string, config: SessionConfig): Promise<string> {
    const peer = createPeer()
    const hangUp = async () => {
      clearTimeout(timer)
      // Closing is a change of state too.
      if (!calls.delete(hangUp)) return
      log(`${id} ended`)
      await peer.close()
    }
    calls.add(hangUp)
    let timer = setTimeout(hangUp, JOIN_WITHIN_MS)
    peer.connectionStateChange.subscribe((state) => {
      if (state === 'connected') {
        clearTimeout(timer)
        timer = setTimeout(hangUp, SESSION_MS)
      }
      if (state === 'failed' || state === 'disconnected' || state === 'closed') hangUp()
    })
    peer.onDataChannel.subscribe((channel) => { if (channel.label === CHANNEL) converse(channel, config, hangUp) })
    try {
      return await answerTo(peer, offer)
    } catch {
      await hangUp()
      throw new OpenaiError(400, 'The SDP offer cannot be answered.', 'invalid_offer')
    }
  }

  return { routes, end: async () => { await Promise.all([...calls].map((hangUp) => hangUp())) } }
}

/**
 * On the loopback address and nothing else: no STUN server is asked (werift's default is a public one), no other interface
 * is bound. ICE lite, as the browser then does the checks: candidates that it hides behind mDNS names need not be found.
 */
function createPeer (): RTCPeerConnection {
  return new RTCPeerConnection({
    iceServers: [],
    iceLite: true,
    iceUseIpv4: false,
    iceUseIpv6: false,
    iceAdditionalHostAddresses: [HOST],
    iceInterfaceAddresses: { udp4: HOST }
  })
}

async function answerTo (peer: RTCPeerConnection, offer: string): Promise<string> {
  await peer.setRemoteDescription({ type: 'offer', sdp: offer })
  if (!offer.includes('m=application')) throw new Error('no data channel is offered')
  // A page waits for the model's track, which never says anything here.
  for (const transceiver of peer.getTransceivers()) transceiver.setDirection('sendrecv')
  await peer.setLocalDescription(await peer.createAnswer())
  const { sdp } = peer.localDescription ?? {}
  if (sdp === undefined) throw new Error('no answer was made')
  return sdp
}

function converse (channel: RTCDataChannel, config: SessionConfig, hangUp: () => void): void {
  // A page that goes in the middle of a sentence leaves a channel that throws.
  const receive = startConversation(
    config, (event) => { if (channel.readyState !== 'closed') channel.send(JSON.stringify(event)) }
  )
  channel.onMessage.subscribe((message) => receive(message.toString()))
  channel.stateChange.subscribe((state) => { if (state === 'closed') hangUp() })
}

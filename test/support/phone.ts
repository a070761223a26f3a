// The user's side of a call without a browser: a WebRTC peer that offers, talks, and records audio and events.

import type { Test } from 'tap'
import { MediaStreamTrack, RTCPeerConnection, RtpHeader, RtpPacket } from 'werift'
import type { JsonObject } from '../../src/json.ts'
import { FRAME_MS, FRAME_SAMPLES, hum, loudness } from '../../src/sandbox/openai/voice.ts'

export type Phone = Readonly<{
  peer: RTCPeerConnection
  offer: string
  take: (answer: string) => Promise<void>
  send: (event: JsonObject) => void
  /** The next event of this type, received or still to come; each event is returned once. */
  next: (type: string) => Promise<any>
  seen: readonly string[]
  /** Closes the peer, as leaving a page does. */
  hangUp: () => void
  /** Resolves once the other side has closed the data channel. */
  ended: Promise<unknown>
  /** The number of loud frames received so far. */
  heard: () => number
  /** Sends a hum for `milliseconds`, in real time. */
  talk: (milliseconds: number) => Promise<void>
}>

export async function createPhone (t: Test, { channel = true } = {}): Promise<Phone> {
  const peer = createPeer(t)
  const voice = new MediaStreamTrack({ kind: 'audio' })
  let heard = 0
  let sent = 0
  peer.onTrack.subscribe((track) => {
    track.onReceiveRtp.subscribe(({ payload }) => { if (loudness(payload) > 0.02) heard++ })
  })
  peer.addTrack(voice)
  const events = channel ? peer.createDataChannel('oai-events') : null
  const inbox = createInbox()
  events?.onMessage.subscribe((message) => inbox.put(message.toString()))
  await peer.setLocalDescription(await peer.createOffer())

  return {
    peer,
    offer: peer.localDescription?.sdp as string,
    take: (answer) => peer.setRemoteDescription({ type: 'answer', sdp: answer }),
    send: (event) => events?.send(JSON.stringify(event)),
    next: inbox.next,
    seen: inbox.seen,
    ended: new Promise((resolve) => {
      events?.stateChange.subscribe((state) => { if (state === 'closed') resolve(state) })
    }),
    hangUp: () => events?.close(),
    heard: () => heard,
    talk: (milliseconds) => new Promise((resolve) => {
      const frames = hum(milliseconds)
      const timer = setInterval(() => {
        const frame = frames.shift()
        if (frame === undefined) {
          clearInterval(timer)
          return resolve()
        }
        voice.writeRtp(new RtpPacket(new RtpHeader({ sequenceNumber: sent, timestamp: sent++ * FRAME_SAMPLES }), frame))
      }, FRAME_MS)
      t.teardown(() => clearInterval(timer))
    })
  }
}

export function createPeer (t: Test): RTCPeerConnection {
  // Browsers bundle too; werift's default leaves a socket open that keeps this process alive.
  const peer = new RTCPeerConnection({
    bundlePolicy: 'max-bundle',
    iceServers: [],
    iceUseIpv4: false,
    iceUseIpv6: false,
    iceAdditionalHostAddresses: ['127.0.0.1'],
    iceInterfaceAddresses: { udp4: '127.0.0.1' }
  })
  t.teardown(() => peer.close())
  return peer
}

/** `next(type)` takes the first event of the type that was not taken yet, or waits for it; `seen` lists all types. */
export function createInbox () {
  const seen: string[] = []
  const came: { type: string }[] = []
  const waiting: { type: string, resolve: (event: any) => void }[] = []
  return {
    seen,
    put: (text: string) => {
      const event = JSON.parse(text)
      seen.push(event.type)
      const index = waiting.findIndex(({ type }) => type === event.type)
      index === -1 ? came.push(event) : waiting.splice(index, 1)[0]?.resolve(event)
    },
    next: (type: string): Promise<any> => {
      const index = came.findIndex((event) => event.type === type)
      if (index !== -1) return Promise.resolve(came.splice(index, 1)[0])
      return new Promise((resolve) => waiting.push({ type, resolve }))
    }
  }
}

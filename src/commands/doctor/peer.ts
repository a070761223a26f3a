// The browser's side of the doctor's call: a WebRTC peer that sends silence. Its library is a development dependency,
// since the service has no use for it, and it is nearly as large as all that the service uses.

import { readObject } from '../../outbound/request.ts'
import { type Inbox, openInbox } from './inbox.ts'

export type Peer = Readonly<{
  offer: string
  /** Resolves to whether media and data channel are connected within the time. */
  join: (answer: string, withinMs: number) => Promise<boolean>
  /** The data channel. */
  send: (event: object) => void
  inbox: Inbox
  close: () => Promise<void>
}>

type Werift = typeof import('werift')

const LOOPBACK = '127.0.0.1'
const FRAME_MS = 20
const FRAME_SAMPLES = 160
/** Silence in G.711 µ-law. */
const SILENCE = Buffer.alloc(FRAME_SAMPLES, 0xff)

/** Null where the library is not installed. `isLocal`: upstream is on this machine. */
export async function openPeer (isLocal: boolean, load: () => Promise<Werift> = loadWerift): Promise<Peer | null> {
  const werift = await load().catch(() => null)
  if (werift === null) return null
  const { MediaStreamTrack, RTCPeerConnection, RtpHeader, RtpPacket, usePCMU } = werift
  const peer = new RTCPeerConnection({
    codecs: { audio: [usePCMU()], video: [] },
    bundlePolicy: 'max-bundle',
    // OpenAI has public addresses: this machine needs no STUN server to learn its own.
    iceServers: [],
    ...isLocal && {
      iceUseIpv4: false,
      iceUseIpv6: false,
      iceAdditionalHostAddresses: [LOOPBACK],
      iceInterfaceAddresses: { udp4: LOOPBACK }
    }
  })
  const voice = new MediaStreamTrack({ kind: 'audio' })
  peer.addTrack(voice)
  const channel = peer.createDataChannel('oai-events')
  const inbox = openInbox()
  channel.onMessage.subscribe((message) => inbox.put(readObject(Buffer.from(message))))
  let sent = 0
  let speaking: NodeJS.Timeout | undefined
  const open = new Promise<true>((resolve) => {
    channel.stateChange.subscribe((state) => { if (state === 'open') resolve(true) })
  })
  await peer.setLocalDescription(await peer.createOffer())

  return {
    offer: peer.localDescription?.sdp as string,
    join: async (answer, withinMs) => {
      speaking = setInterval(() => {
        voice.writeRtp(new RtpPacket(
          new RtpHeader({ sequenceNumber: sent & 0xffff, timestamp: sent++ * FRAME_SAMPLES, payloadType: 0 }), SILENCE
        ))
      }, FRAME_MS)
      const late = Promise.withResolvers<false>()
      const timer = setTimeout(() => late.resolve(false), withinMs)
      const joined = peer.setRemoteDescription({ type: 'answer', sdp: answer }).then(() => open, () => false)
      return Promise.race([joined, late.promise]).finally(() => clearTimeout(timer))
    },
    send: (event) => channel.send(JSON.stringify(event)),
    inbox,
    close: async () => {
      clearInterval(speaking)
      await peer.close()
    }
  }
}

function loadWerift (): Promise<Werift> {
  return import('werift')
}

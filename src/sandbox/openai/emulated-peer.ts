// The peer of one call, by WebRTC on this machine: it takes the user's voice, plays the answer's, carries events.

import { setTimeout as wait } from 'node:timers/promises'
import {
  MediaStreamTrack, type RTCDataChannel, RTCPeerConnection, type RTCStatsReport, RtpHeader, RtpPacket, usePCMU
} from 'werift'
import { HOST } from '../listen.ts'
import { OpenaiError } from './error.ts'
import { FRAME_MS, FRAME_SAMPLES, hum } from './voice.ts'

const CHANNEL = 'oai-events'
const GOODBYE_MS = 500
/** More records than the last flight of the handshake has. */
const HANDSHAKE_RECORDS = 32
/** Browsers check every 2.5 s, and others, as RFC 7675 has it, every 5 s. */
const WATCH_MS = 7000

export type EmulatedPeer = Readonly<{
  /** The SDP answer. Throws OpenaiError where the offer is none. */
  answer: (offer: string) => Promise<string>
  /** Plays in real time; what was being played is cut off. */
  play: (milliseconds: number, ended: () => void) => void
  stopPlaying: () => void
  close: () => Promise<void>
}>

export type PeerEvents = Readonly<{
  onFrame: (frame: Buffer) => void
  onChannel: (channel: RTCDataChannel) => void
  onEnd: () => void
}>

export function createEmulatedPeer ({ onFrame, onChannel, onEnd }: PeerEvents): EmulatedPeer {
  const connection = createConnection()
  const voice = new MediaStreamTrack({ kind: 'audio' })
  let sent = 0
  let playing: NodeJS.Timeout | undefined
  let events: RTCDataChannel | undefined
  let watching: NodeJS.Timeout | undefined
  let received = -1

  connection.connectionStateChange.subscribe((state) => {
    if (state === 'failed' || state === 'disconnected' || state === 'closed') onEnd()
    if (state !== 'connected') return
    skipRecordNumbers(connection)
    watching = setInterval(endIfGone, WATCH_MS)
  })
  connection.onDataChannel.subscribe((channel) => {
    if (channel.label !== CHANNEL) return
    events = channel
    onChannel(channel)
  })
  connection.onTrack.subscribe((track) => { track.onReceiveRtp.subscribe(({ payload }) => onFrame(payload)) })

  /** ICE lite asks nothing of the page, but hears the checks that it sends while it is there. */
  async function endIfGone (): Promise<void> {
    const before = received
    received = receivedBy(await connection.getStats())
    if (received === before) onEnd()
  }

  function stopPlaying (): void {
    clearInterval(playing)
  }

  return {
    answer: async (offer) => {
      if (!offer.startsWith('v=0') || /^m=video/m.test(offer) || !/^m=audio/m.test(offer)) throw unanswerable()
      try {
        await connection.setRemoteDescription({ type: 'offer', sdp: offer })
        for (const transceiver of connection.getTransceivers()) {
          await transceiver.sender.replaceTrack(voice)
          transceiver.setDirection('sendrecv')
        }
        await connection.setLocalDescription(await connection.createAnswer())
      } catch {
        throw unanswerable()
      }
      return connection.localDescription?.sdp as string
    },
    play: (milliseconds, ended) => {
      stopPlaying()
      const frames = hum(milliseconds)
      const startedAt = performance.now()
      let played = 0
      playing = setInterval(() => {
        const due = Math.min(frames.length, Math.floor((performance.now() - startedAt) / FRAME_MS) + 1)
        for (; played < due; played++) {
          voice.writeRtp(new RtpPacket(new RtpHeader({
            sequenceNumber: sent & 0xffff,
            timestamp: (sent * FRAME_SAMPLES) % 2 ** 32,
            marker: played === 0,
            payloadType: 0
          }), frames[played] as Buffer))
          sent++
        }
        if (played < frames.length) return
        stopPlaying()
        ended()
      }, FRAME_MS)
    },
    stopPlaying,
    close: async () => {
      stopPlaying()
      clearInterval(watching)
      // werift sends no DTLS alert: the page sees the end of its channel, once that has gone out.
      events?.close()
      if (events?.readyState === 'closing') await Promise.race([events.stateChange.asPromise(), wait(GOODBYE_MS)])
      await connection.close()
      endHandshake(connection)
    }
  }
}

/**
 * On the loopback address and nothing else: no STUN server is asked (werift's default is a public one), no other
 * interface is bound. ICE lite, as the browser then does the checks: candidates that it hides behind mDNS names need
 * not be found.
 */
function createConnection (): RTCPeerConnection {
  return new RTCPeerConnection({
    codecs: { audio: [usePCMU()], video: [] },
    iceServers: [],
    iceLite: true,
    iceUseIpv4: false,
    iceUseIpv6: false,
    iceAdditionalHostAddresses: [HOST],
    iceInterfaceAddresses: { udp4: HOST }
  })
}

/**
 * werift (0.24 and 0.25) restarts the numbers of its DTLS records after its Finished, so that two have the same number.
 * A browser drops the later one as a replay: an event came a second late, with the next attempt.
 */
function skipRecordNumbers (connection: RTCPeerConnection): void {
  for (const { dtls } of connection.dtlsTransports) {
    if (dtls !== undefined) dtls.dtls.recordSequenceNumber += HANDSHAKE_RECORDS
  }
}

/**
 * werift begins or repeats its part of a handshake for half a minute after a close, too: no process could end before.
 */
function endHandshake (connection: RTCPeerConnection): void {
  for (const { dtls } of connection.dtlsTransports) {
    if (dtls === undefined) continue
    dtls.dtls.flight = Infinity
    Object.assign(dtls, { connect: async () => {} })
  }
}

function receivedBy (stats: RTCStatsReport): number {
  return stats.values().reduce((sum, stat) =>
    'requestsReceived' in stat && typeof stat.requestsReceived === 'number' ? sum + stat.requestsReceived : sum, 0)
}

function unanswerable (): OpenaiError {
  return new OpenaiError(400, 'The SDP offer cannot be answered.', 'invalid_offer')
}

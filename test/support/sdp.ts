// Offers and answers as browsers and OpenAI write them, shortened: no connection is made by these.

const AUDIO = [
  'm=audio 9 UDP/TLS/RTP/SAVPF 111 0', 'c=IN IP4 0.0.0.0', 'a=mid:0', 'a=sendrecv', 'a=rtcp-mux',
  'a=rtpmap:111 opus/48000/2', 'a=rtpmap:0 PCMU/8000'
]
const CHANNEL = [
  'm=application 9 UDP/DTLS/SCTP webrtc-datachannel', 'c=IN IP4 0.0.0.0', 'a=mid:1', 'a=sctp-port:5000'
]

function sdp (setup: string, ...media: string[][]): string {
  const session = ['v=0', 'o=- 4611731400430051336 2 IN IP4 127.0.0.1', 's=-', 't=0 0', `a=setup:${setup}`]
  return `${[...session, ...media.flat()].join('\r\n')}\r\n`
}

export const OFFER = sdp('actpass', AUDIO, CHANNEL)
export const AUDIO_OFFER = sdp('actpass', AUDIO)
export const ANSWER = sdp('active', AUDIO, CHANNEL)
export const AUDIO_ANSWER = sdp('active', AUDIO)

// Offers that a call may have: one audio stream, and a data channel where the policy allows one.

import fc from 'fast-check'
import t from 'tap'
import { ApiError } from '../../src/errors.ts'
import { assertOffer, isAnswer } from '../../src/http/sdp.ts'
import { ANSWER, AUDIO_ANSWER, AUDIO_OFFER, OFFER } from '../support/sdp.ts'
import { times } from '../support/times.ts'

const BOTH = { hasDataChannel: true }
const AUDIO_ONLY = { hasDataChannel: false }
const CHANNEL = 'm=application 9 UDP/DTLS/SCTP webrtc-datachannel'

/** The refusal of an offer; null if it passes. */
function refusalOf (sdp: string, rules: { hasDataChannel: boolean }): string | null {
  try {
    assertOffer(sdp, rules)
    return null
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    return `${error.statusCode} ${error.code} ${error.param}`
  }
}

const withLine = (line: string) => `${AUDIO_OFFER}${line}\r\n`

t.test('call offer: what is no offer of one voice is refused, also where a data channel is allowed', async (t) => {
  const rows: [name: string, sdp: string][] = [
    ['nothing', ''],
    ['words', 'hello'],
    ['JSON', '{"type":"offer","sdp":"v=0"}'],
    ['another version', AUDIO_OFFER.replace('v=0', 'v=1')],
    ['something before the version', ` ${AUDIO_OFFER}`],
    ['a byte order mark', `\ufeff${AUDIO_OFFER}`],
    ['a version that goes on', AUDIO_OFFER.replace('v=0', 'v=01')],
    ['no media', AUDIO_OFFER.split('m=audio')[0] as string],
    ['only a data channel', OFFER.replace(/m=audio[^]*(?=m=application)/, '')],
    ['a rejected voice', AUDIO_OFFER.replace('m=audio 9', 'm=audio 0')],
    ['a rejected voice, written longer', AUDIO_OFFER.replace('m=audio 9', 'm=audio 000/1')],
    ['a port that 16 bits cannot hold', AUDIO_OFFER.replace('m=audio 9', 'm=audio 65536')],
    ['two voices', withLine('m=audio 9 UDP/TLS/RTP/SAVPF 111')],
    ['two voices, one of them rejected', withLine('m=audio 0 UDP/TLS/RTP/SAVPF 111')],
    ['video', withLine('m=video 9 UDP/TLS/RTP/SAVPF 96')],
    ['rejected video', withLine('m=video 0 UDP/TLS/RTP/SAVPF 96')],
    ['text', withLine('m=text 9 UDP/TLS/RTP/SAVPF 96')],
    ['two data channels', `${OFFER}${CHANNEL}\r\n`],
    ['media in capital letters', withLine(CHANNEL.replace('application', 'Application'))],
    ['media without a port', withLine('m=application UDP/DTLS/SCTP webrtc-datachannel')],
    ['media after a tab', withLine('m=application\t9 UDP/DTLS/SCTP webrtc-datachannel')],
    ['an indented line', withLine(` ${CHANNEL}`)],
    ['a space before the equals sign', withLine(CHANNEL.replace('=', ' ='))],
    ['a key in a capital letter', withLine('M=application 9 UDP/DTLS/SCTP webrtc-datachannel')],
    ['a blank line between', AUDIO_OFFER.replace('m=audio', '\r\nm=audio')],
    ...['\0', '\v', '\f', '\x1c', '\x1d', '\x1e', '\x85', '\u2028', '\u2029'].map((char): [string, string] => [
      `a line that another parser ends at U+${char.charCodeAt(0).toString(16)}`, withLine(`a=x${char}${CHANNEL}`)
    ]),
    ['a line of more than 2 KiB', withLine(`a=${'x'.repeat(2047)}`)],
    ['a line of more than 2 KiB in UTF-8', withLine(`s=${'ä'.repeat(1024)}`)],
    ['more than 1,000 lines', AUDIO_OFFER + 'a=x\r\n'.repeat(1000)]
  ]
  for (const [name, sdp] of rows) {
    for (const rules of [BOTH, AUDIO_ONLY]) t.equal(refusalOf(sdp, rules), '400 invalid_request sdp', name)
  }
})

t.test('call offer: audio only, a data channel is refused however it is written', async (t) => {
  const channels = [
    OFFER, OFFER.replace('m=application 9', 'm=application 0'), OFFER.replaceAll('\r\n', '\n'),
    withLine(CHANNEL), `${withLine(CHANNEL)}a=bundle-only\r\n`, `${AUDIO_OFFER.trimEnd()}\r${CHANNEL}`,
    OFFER.replace('m=application 9', 'm=application 9/2')
  ]
  for (const sdp of channels) {
    t.equal(refusalOf(sdp, AUDIO_ONLY), '403 policy_violation sdp', JSON.stringify(sdp.slice(-80)))
    t.equal(refusalOf(sdp, BOTH), null)
  }
})

t.test('call offer: what browsers send passes', async (t) => {
  const lines = AUDIO_OFFER.split('\r\n').length - 1
  const rows = [
    AUDIO_OFFER, AUDIO_OFFER.trimEnd(), `${AUDIO_OFFER}\r\n`, AUDIO_OFFER.replaceAll('\r\n', '\n'),
    AUDIO_OFFER.replace('m=audio 9', 'm=audio 53412'), withLine(`a=${'x'.repeat(2046)}`),
    AUDIO_OFFER + 'a=x\r\n'.repeat(1000 - lines), withLine('a=candidate:1 1 udp 2113937151 a.local 9 typ host'),
    AUDIO_OFFER.replace('s=-', 's=Größe')
  ]
  for (const sdp of rows) {
    for (const rules of [BOTH, AUDIO_ONLY]) t.equal(refusalOf(sdp, rules), null, sdp.slice(-80))
  }
  t.equal(refusalOf(OFFER, BOTH), null)
})

t.test('call answer: what is none is not passed on, nor a data channel where there may be none', async (t) => {
  for (const rules of [BOTH, AUDIO_ONLY]) {
    for (const sdp of ['', '{}', '<html>', ` ${AUDIO_ANSWER}`]) t.notOk(isAnswer(sdp, rules), sdp)
    t.ok(isAnswer(AUDIO_ANSWER, rules))
  }
  const channels = [
    ANSWER, ANSWER.replace('m=application 9', 'm=application 0'), ANSWER.replaceAll('\r\n', '\r'),
    ANSWER.replace('m=application', ' M = Application')
  ]
  for (const sdp of channels) t.notOk(isAnswer(sdp, AUDIO_ONLY), sdp)
  t.ok(isAnswer(ANSWER, BOTH))
})

t.test('call offer: audio only, no text that passes has a data channel for any reader of lines', async (t) => {
  const piece = fc.constantFrom(
    'v=0', 'm=audio 9 UDP/TLS/RTP/SAVPF 111', CHANNEL, 'm=video 9 X 1', 'a=x', ' ', '=', 'm', 'a', '\t', '0',
    '\r\n', '\n', '\r', '\r\n', '\n', '\v', '\f', '\x1e', '\x85', '\u2028', '\0'
  )
  let passed = 0
  fc.assert(fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
    const sdp = `v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n${pieces.join('')}`
    if (refusalOf(sdp, AUDIO_ONLY) !== null) return true
    passed++
    // eslint-disable-next-line no-control-regex
    const media = sdp.split(/[\r\n\v\f\x1c-\x1e\x85\u2028\u2029\0]/).filter((line) => /^\s*m\s*=/i.test(line))
    return media.length === 1
  }), { numRuns: times(500) })
  t.ok(passed > 0)
})

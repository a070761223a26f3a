// Hostile answers of an upstream, and the outcome of each.

import { gzipSync } from 'node:zlib'
import type { ErrorCode } from '../../src/errors.ts'
import { failure, inSeconds, json, raw, type Reply, reset } from './upstream.ts'

export type Hostile = Readonly<{
  name: string, reply: Reply, code: ErrorCode, event: 'mint.refused' | 'mint.unknown', attempts: number
}>

const OK = 'HTTP/1.1 200 OK\r\n'
const MINTED = JSON.stringify({ value: 'ek_canary_hostile', expires_at: inSeconds(60), session: { type: 'realtime' } })
const answer = (changes: object): Reply => json(200, { ...JSON.parse(MINTED), ...changes })
const sized = (body: string | Buffer, ...headers: string[]) =>
  `Content-Length: ${Buffer.byteLength(body)}\r\n${headers.map((header) => `${header}\r\n`).join('')}\r\n`

function unusable (
  name: string, reply: Reply, { attempts = 1, event = 'mint.unknown' }: Partial<Hostile> = {}
): Hostile {
  return { name, reply, code: 'upstream_error', event, attempts }
}

const refused = (name: string, reply: Reply, code: ErrorCode, attempts = 1): Hostile =>
  ({ name, reply, code, event: 'mint.refused', attempts })
const late = (name: string, reply: Reply): Hostile =>
  ({ name, reply, code: 'upstream_timeout', event: 'mint.unknown', attempts: 1 })

/** Writes `piece` every 20 ms until the connection is closed. */
function drip (head: string, piece: string): Reply {
  return (_received, { socket }) => {
    socket?.write(head)
    const timer = setInterval(() => socket?.write(piece), 20)
    socket?.once('close', () => clearInterval(timer))
  }
}

/** Writes as fast as the other side reads. */
function endless (head: string, piece: string): Reply {
  const pieces = piece.repeat(5000)
  return (_received, { socket }) => {
    const more = () => { while (socket?.writable && socket.write(pieces)); }
    socket?.on('drain', more).write(head)
    more()
  }
}

const chunked = `${MINTED.length.toString(16)}\r\n${MINTED}\r\n0\r\n`
const coded = (coding: string) => raw(OK, `Transfer-Encoding: ${coding}\r\n\r\n`, chunked, '\r\n')
const bomb = gzipSync(MINTED + ' '.repeat(10 * 1024 * 1024))

export const UNUSABLE_BY_LAW: Readonly<Record<string, readonly Hostile[]>> = {
  'G2: a redirect is 502, and is not followed': [
    ...[300, 301, 302, 303, 305, 307, 308].map((status) => unusable(
      `${status} to another host`, json(status, {}, { location: 'https://evil.test/' }), { event: 'mint.refused' }
    )),
    ...[301, 302, 307, 308].map((status) => unusable(
      `${status} to the same host`,
      json(status, {}, { location: '/v1/realtime/client_secrets' }),
      { event: 'mint.refused' }
    ))
  ],
  'G6, fault 13: a 200 that is no mint is 502, and nothing of it is forwarded': [
    unusable(
      'HTML', (_received, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<h1>canary</h1>')
    ),
    unusable('an empty body', (_received, response) => response.end()),
    unusable('half of its JSON', (_received, response) => response.end(MINTED.slice(0, -1))),
    unusable('JSON in UTF-16', (_received, response) => response.end(Buffer.from(MINTED, 'utf16le'))),
    unusable('{}', json(200, {})),
    unusable('null', json(200, null)),
    unusable('an array', json(200, [MINTED])),
    unusable('a mint in a string', json(200, MINTED)),
    unusable('a mint under __proto__', raw(OK, sized(`{"__proto__":${MINTED}}`), `{"__proto__":${MINTED}}`)),
    unusable('an error with 200', json(200, { error: { message: 'canary' } })),
    unusable('no value', answer({ value: undefined })),
    ...[7, null, true, ['ek_canary'], { value: 'ek_canary' }].map(
      (value) => unusable(`a value ${JSON.stringify(value)}`, answer({ value }))
    ),
    unusable('an empty value', answer({ value: '' })),
    unusable('a value with CRLF', answer({ value: 'ek_canary\r\nSet-Cookie: a=b' })),
    unusable('a value with a space', answer({ value: 'ek_canary x' })),
    unusable('a value with NUL', answer({ value: 'ek_canary\0' })),
    unusable('a value beyond ASCII', answer({ value: 'ek_canary_é' })),
    unusable('a value of 5000 characters', answer({ value: 'ek_canary'.padEnd(5000, 'x') })),
    unusable('a value of 1 MB', answer({ value: 'ek_canary'.padEnd(1_000_000, 'x') })),
    unusable('no expiry', answer({ expires_at: undefined })),
    ...[null, 0, -1, true, [inSeconds(60)], inSeconds(60) + 0.5].map(
      (expiry) => unusable(`an expiry ${JSON.stringify(expiry)}`, answer({ expires_at: expiry }))
    ),
    unusable(
      'an infinite expiry', raw(OK, sized(MINTED.replace(/\d{10}/, '1e40000')), MINTED.replace(/\d{10}/, '1e40000'))
    ),
    unusable('an expiry in the past', answer({ expires_at: inSeconds(-1) })),
    unusable('an expiry in the far future', answer({ expires_at: inSeconds(86_400) })),
    unusable('an expiry in milliseconds', answer({ expires_at: Date.now() + 60_000 })),
    unusable('an expiry that is a string', answer({ expires_at: String(inSeconds(60)) })),
    unusable('no session', answer({ session: undefined })),
    unusable('a session that is null', answer({ session: null })),
    unusable('a session that is an array', answer({ session: [] })),
    unusable('a session that is a string', answer({ session: 'canary' }))
  ],
  'G8: an answer whose length can be read in two ways is 502': [
    unusable('a length behind chunks', raw(OK, 'Transfer-Encoding: chunked\r\n', sized(MINTED), MINTED)),
    unusable(
      'chunks behind a length',
      raw(OK, `Content-Length: ${MINTED.length}\r\n`, 'Transfer-Encoding: chunked\r\n\r\n', chunked, '\r\n')
    ),
    unusable('two lengths', raw(OK, `Content-Length: ${MINTED.length + 1}\r\n`, sized(MINTED), MINTED)),
    unusable('the same length twice', raw(OK, `Content-Length: ${MINTED.length}\r\n`, sized(MINTED), MINTED)),
    ...[`+${MINTED.length}`, '-1', '0x10', `${MINTED.length}, ${MINTED.length}`, '9'.repeat(30)].map(
      (length) => unusable(`a length ${length}`, raw(OK, `Content-Length: ${length}\r\n\r\n`, MINTED))
    ),
    unusable('a length that is too short', raw(OK, `Content-Length: ${MINTED.length - 1}\r\n\r\n`, MINTED)),
    unusable(
      'chunked, twice', raw(OK, 'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n', chunked, '\r\n')
    )
  ],
  'G10: any status but 200, before it or instead of it, is 502': [
    unusable('100 without Expect', raw('HTTP/1.1 100 Continue\r\n\r\n', OK, sized(MINTED), MINTED)),
    unusable('100 and nothing more', raw('HTTP/1.1 100 Continue\r\n\r\n')),
    unusable('101', raw('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n')),
    unusable('101 to nothing', raw('HTTP/1.1 101 Switching Protocols\r\n\r\n', OK, sized(MINTED), MINTED)),
    unusable(
      '103 before the answer', raw('HTTP/1.1 103 Early Hints\r\nLink: </canary>\r\n\r\n', OK, sized(MINTED), MINTED)
    ),
    unusable('199 before the answer', raw('HTTP/1.1 199 X\r\n\r\n', OK, sized(MINTED), MINTED)),
    unusable('1000 times 102', raw('HTTP/1.1 102 Processing\r\n\r\n'.repeat(1000), OK, sized(MINTED), MINTED)),
    unusable('102 without end', endless('', 'HTTP/1.1 102 Processing\r\n\r\n')),
    ...[201, 202, 203, 206, 207, 226, 299].map(
      (status) => unusable(`${status} with a secret`, json(status, JSON.parse(MINTED)))
    ),
    ...[204, 205].map((status) => unusable(`${status}`, (_received, response) => response.writeHead(status).end())),
    unusable('304', (_received, response) => response.writeHead(304).end(), { event: 'mint.refused' }),
    ...['000', '099', '99', '20', '1200'].map(
      (status) => unusable(`a status ${status}`, raw(`HTTP/1.1 ${status} OK\r\n`, sized(MINTED), MINTED))
    ),
    ...[600, 999].map((status) => unusable(
      `a status ${status}`, raw(`HTTP/1.1 ${status} OK\r\n`, sized(MINTED), MINTED), { event: 'mint.refused' }
    ))
  ],
  'G11, fault 13: headers that are too many, too large or none are 502': [
    unusable('a header of 40 KB', raw(OK, sized(MINTED, `X-Big: ${'x'.repeat(40_000)}`), MINTED)),
    unusable('1000 headers', raw(OK, sized(MINTED, ...Array.from({ length: 1000 }, (_, i) => `X-${i}: y`)), MINTED)),
    unusable('headers without end', endless(OK, 'X: y\r\n')),
    unusable('trailers without end', endless(`${OK}Transfer-Encoding: chunked\r\n\r\n${chunked}`, 'X: y\r\n')),
    unusable('line feeds alone', raw(`HTTP/1.1 200 OK\nContent-Length: ${MINTED.length}\n\n${MINTED}`)),
    unusable('a folded header', raw(OK, sized(MINTED, 'X: a\r\n b'), MINTED)),
    unusable('a header without a name', raw(OK, sized(MINTED, ': a'), MINTED)),
    unusable('a space before the colon', raw(OK, sized(MINTED, 'X : a'), MINTED)),
    unusable('NUL in a header', raw(OK, sized(MINTED, 'X: a\0'), MINTED)),
    unusable('garbage', raw('220 canary ESMTP\r\n')),
    unusable('garbage that is binary', raw(Buffer.from(Array.from({ length: 256 }, (_, i) => 255 - i)))),
    unusable('another protocol', raw('ICY 200 OK\r\n', sized(MINTED), MINTED)),
    unusable('another version', raw('HTTP/1.2 200 OK\r\n', sized(MINTED), MINTED))
  ],
  'G12: more than 256 KiB is 502, and the rest is not read': [
    unusable('JSON of 300 KiB', answer({ padding: 'x'.repeat(300 * 1024) })),
    unusable('a body of 300 KiB without a length', raw(`${OK}\r\n`, MINTED, ' '.repeat(300 * 1024))),
    unusable('a body without end', endless(`${OK}\r\n${MINTED}`, ' ')),
    unusable('chunks without end', endless(`${OK}Transfer-Encoding: chunked\r\n\r\n`, '1\r\n \r\n')),
    unusable('500 with a body of 300 KiB', json(500, { padding: 'x'.repeat(300 * 1024) }), { event: 'mint.refused' }),
    unusable('500 with a body without end', endless('HTTP/1.1 500 X\r\n\r\n', ' '), { event: 'mint.refused' })
  ],
  'G13: what is encoded is not decoded: it is 502': [
    unusable('gzip', raw(OK, sized(gzipSync(MINTED), 'Content-Encoding: gzip'), gzipSync(MINTED))),
    unusable('a bomb of gzip', raw(OK, sized(bomb, 'Content-Encoding: gzip'), bomb)),
    ...['gzip', 'br', 'deflate', 'zstd', 'x-canary', 'gzip, br', 'gzip, '.repeat(1000)].map((coding) =>
      unusable(
        `content encoding ${coding.slice(0, 20)}`, raw(OK, sized(MINTED, `Content-Encoding: ${coding}`), MINTED)
      )),
    ...['gzip, chunked', 'chunked, identity', 'xchunked', 'identity'].map(
      (coding) => unusable(`transfer encoding ${coding}`, coded(coding))
    )
  ],
  'G19, fault 7: a connection that ends before the headers is retried once, then 502': [
    unusable('a reset', reset(), { attempts: 2 }),
    unusable('an end', raw(''), { attempts: 2 }),
    unusable('an end in the status line', raw('HTTP/1.1 2'), { attempts: 2 }),
    unusable('an end in the headers', raw(OK), { attempts: 2 })
  ],
  'fault 8: an answer that is cut in its body is 502 without a retry': [
    unusable('a reset in the body', reset(`${OK}Content-Length: 999\r\n\r\n${MINTED}`)),
    unusable('a reset before the body', reset(`${OK}Content-Length: 999\r\n\r\n`)),
    unusable('a body that ends early', raw(`${OK}Content-Length: 999\r\n\r\n${MINTED}`)),
    unusable('a cut chunk', raw(`${OK}Transfer-Encoding: chunked\r\n\r\nfff\r\n{`)),
    unusable(
      'a chunk too few', raw(`${OK}Transfer-Encoding: chunked\r\n\r\n${MINTED.length.toString(16)}\r\n${MINTED}\r\n`)
    ),
    unusable('a chunk of no size', raw(`${OK}Transfer-Encoding: chunked\r\n\r\nzz\r\n${MINTED}\r\n0\r\n\r\n`)),
    unusable('a cut error', raw('HTTP/1.1 500 X\r\nContent-Length: 999\r\n\r\n{'), { event: 'mint.refused' })
  ],
  'G19, fault 9: an outage upstream is retried once, then 502, and its body is dropped': [
    ...[500, 502, 503, 504].map(
      (status) => unusable(`${status}`, failure(status), { attempts: 2, event: 'mint.refused' })
    ),
    ...[501, 505, 507, 520, 529].map((status) => unusable(`${status}`, failure(status), { event: 'mint.refused' }))
  ]
}

export const REFUSED_BY_LAW: Readonly<Record<string, readonly Hostile[]>> = {
  'fault 9: a 503 that says when to come back is 503': [
    refused('503 with Retry-After', failure(503, null, { headers: { 'retry-after': '0' } }), 'upstream_unavailable', 2)
  ],
  'fault 10: a 429 is 429 by a code of its own, and is retried only where that can help': [
    ...[
      'insufficient_quota', 'credit_balance_exhausted', 'project_spend_limit_exceeded',
      'organization_usage_limit_exceeded'
    ].map((code) => refused(code, failure(429, code), 'upstream_rate_limited')),
    ...['rate_limit_exceeded', 'slow_down', null].map((code) =>
      refused(`429 ${code}`, failure(429, code, { headers: { 'retry-after-ms': '1' } }), 'upstream_rate_limited', 2))
  ],
  'fault 11: a key that upstream rejects is 502, not the user\'s 401 or 403': [401, 403].map(
    (status) => refused(`${status}`, failure(status, 'canary_code', { param: 'canary' }), 'upstream_rejected')
  ),
  'fault 12: a request of ours that upstream rejects is 502, and its error is not reflected': [
    400, 402, 404, 405, 406, 410, 413, 415, 418, 422, 431, 451
  ].map((status) => refused(`${status}`, failure(status, 'canary_code', { param: 'canary' }), 'upstream_rejected')),
  'G19: a conflict or a timeout upstream is retried once, then 502': [408, 409].map(
    (status) => refused(`${status}`, failure(status), 'upstream_error', 2)
  )
}

export const UNUSABLE = Object.values(UNUSABLE_BY_LAW).flat()
export const REFUSED = Object.values(REFUSED_BY_LAW).flat()

export const LATE: readonly Hostile[] = [
  late('no answer at all', () => {}),
  late('headers and then nothing', (_received, response) => response.writeHead(200).flushHeaders()),
  late(
    'half a body and then nothing', (_received, { socket }) => socket?.write(OK + sized(MINTED) + MINTED.slice(0, -1))
  ),
  late('a body that drips', drip(`${OK}Content-Length: 999\r\n\r\n`, ' ')),
  late('chunks that drip', drip(`${OK}Transfer-Encoding: chunked\r\n\r\n`, '1\r\n \r\n')),
  late('headers that drip', drip(OK, 'X-Drip: y\r\n')),
  late('a status line that drips', drip('HTTP/1.1 200 ', 'x')),
  late('a status line without end', endless('HTTP/1.1 200 ', 'x')),
  late('a chunk\'s size that does not end', endless(`${OK}Transfer-Encoding: chunked\r\n\r\n1;`, 'x')),
  late('an error that drips', drip('HTTP/1.1 500 X\r\nContent-Length: 999\r\n\r\n', ' '))
]

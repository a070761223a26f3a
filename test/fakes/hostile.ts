// What an upstream may answer that is not a mint, and what becomes of it.

import type { ErrorCode } from '../../src/errors.ts'
import { gzipSync } from 'node:zlib'
import { failure, inSeconds, json, raw, reset, type Reply } from './upstream.ts'

export type Hostile = Readonly<{ name: string, reply: Reply, code: ErrorCode, event: 'mint.refused' | 'mint.unknown', attempts: number }>

const OK = 'HTTP/1.1 200 OK\r\n'
const MINTED = JSON.stringify({ value: 'ek_canary_hostile', expires_at: inSeconds(60), session: { type: 'realtime' } })
const answer = (changes: object): Reply => json(200, { ...JSON.parse(MINTED), ...changes })
const sized = (body: string | Buffer, ...headers: string[]) => `Content-Length: ${Buffer.byteLength(body)}\r\n${headers.map((header) => `${header}\r\n`).join('')}\r\n`

function unusable (name: string, reply: Reply, { attempts = 1, event = 'mint.unknown' }: Partial<Hostile> = {}): Hostile {
  return { name, reply, code: 'upstream_error', event, attempts }
}

const drip: Reply = (_received, response) => {
  response.writeHead(200)
  const timer = setInterval(() => response.write(' '), 20)
  response.once('close', () => clearInterval(timer))
}

export const UNUSABLE: readonly Hostile[] = [
  ...[301, 302, 303, 307, 308].map((status) => unusable(`${status} to another host`, json(status, {}, { location: 'https://evil.test/' }), { event: 'mint.refused' })),
  unusable('307 to the same host', json(307, {}, { location: '/v1/realtime/client_secrets' }), { event: 'mint.refused' }),
  unusable('304', (_received, response) => response.writeHead(304).end(), { event: 'mint.refused' }),
  ...[201, 202, 206].map((status) => unusable(`${status} with a secret`, json(status, JSON.parse(MINTED)))),
  unusable('204', (_received, response) => response.writeHead(204).end()),
  unusable('HTML', (_received, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<h1>canary</h1>')),
  unusable('an empty body', (_received, response) => response.end()),
  unusable('{}', json(200, {})),
  unusable('an array', json(200, [MINTED])),
  unusable('an error with 200', json(200, { error: { message: 'canary' } })),
  unusable('a value that is no string', answer({ value: 7 })),
  unusable('an empty value', answer({ value: '' })),
  unusable('a value with CRLF', answer({ value: 'ek_canary\r\nSet-Cookie: a=b' })),
  unusable('a value beyond ASCII', answer({ value: 'ek_canary_é' })),
  unusable('a value of 5000 characters', answer({ value: 'ek_canary'.padEnd(5000, 'x') })),
  unusable('no expiry', answer({ expires_at: undefined })),
  unusable('an expiry in the past', answer({ expires_at: inSeconds(-1) })),
  unusable('an expiry in the far future', answer({ expires_at: inSeconds(86_400) })),
  unusable('an expiry in milliseconds', answer({ expires_at: Date.now() + 60_000 })),
  unusable('an expiry that is a string', answer({ expires_at: String(inSeconds(60)) })),
  unusable('no session', answer({ session: undefined })),
  unusable('a session that is an array', answer({ session: [] })),
  unusable('JSON of 300 KiB', answer({ padding: 'x'.repeat(300 * 1024) })),
  unusable('a body of 300 KiB without a length', raw(`${OK}\r\n`, MINTED, ' '.repeat(300 * 1024))),
  unusable('gzip', raw(OK, sized(gzipSync(MINTED), 'Content-Encoding: gzip'), gzipSync(MINTED))),
  unusable('a chain of encodings', raw(OK, sized(MINTED, 'Content-Encoding: gzip, br'), MINTED)),
  unusable('both a length and chunks', raw(OK, 'Transfer-Encoding: chunked\r\n', sized(MINTED), MINTED)),
  unusable('two lengths', raw(OK, `Content-Length: ${MINTED.length + 1}\r\n`, sized(MINTED), MINTED)),
  unusable('a truncated body', reset(`${OK}Content-Length: 999\r\n\r\n${MINTED}`)),
  unusable('a body that ends early', raw(`${OK}Content-Length: 999\r\n\r\n${MINTED}`)),
  unusable('a cut chunk', raw(`${OK}Transfer-Encoding: chunked\r\n\r\nfff\r\n{`)),
  unusable('103 before the answer', raw('HTTP/1.1 103 Early Hints\r\nLink: </canary>\r\n\r\n', OK, sized(MINTED), MINTED)),
  unusable('a flood of 102', raw('HTTP/1.1 102 Processing\r\n\r\n'.repeat(1000), OK, sized(MINTED), MINTED)),
  unusable('100 that nobody asked for', raw('HTTP/1.1 100 Continue\r\n\r\n', OK, sized(MINTED), MINTED), { attempts: 2 }),
  unusable('101', raw('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n'), { attempts: 2 }),
  unusable('a header of 40 KB', raw(OK, sized(MINTED, `X-Big: ${'x'.repeat(40_000)}`), MINTED)),
  unusable('1000 headers', raw(OK, sized(MINTED, ...Array.from({ length: 1000 }, (_, i) => `X-${i}: y`)), MINTED)),
  unusable('line feeds alone', raw(`HTTP/1.1 200 OK\nContent-Length: ${MINTED.length}\n\n${MINTED}`)),
  unusable('garbage', raw('220 canary ESMTP\r\n')),
  unusable('a reset before the headers', reset(), { attempts: 2 }),
  unusable('an end before the headers', raw(''), { attempts: 2 }),
  ...[500, 502, 504].map((status) => unusable(`${status}`, failure(status), { attempts: 2, event: 'mint.refused' })),
  unusable('500 with a body of 300 KiB', json(500, { padding: 'x'.repeat(300 * 1024) }), { event: 'mint.refused' })
]

export const REFUSED: readonly Hostile[] = [
  ...[400, 401, 403, 404, 405, 413, 422, 451].map((status) => ({ name: `${status}`, reply: failure(status, 'canary_code', { param: 'canary' }), code: 'upstream_rejected', event: 'mint.refused', attempts: 1 } as const)),
  ...[408, 409].map((status) => ({ name: `${status}`, reply: failure(status), code: 'upstream_error', event: 'mint.refused', attempts: 2 } as const)),
  ...['insufficient_quota', 'credit_balance_exhausted', 'project_spend_limit_exceeded', 'organization_usage_limit_exceeded']
    .map((code) => ({ name: `429 ${code}`, reply: failure(429, code), code: 'upstream_rate_limited', event: 'mint.refused', attempts: 1 } as const)),
  ...['rate_limit_exceeded', 'slow_down', null]
    .map((code) => ({ name: `429 ${code}`, reply: failure(429, code, { headers: { 'retry-after-ms': '1' } }), code: 'upstream_rate_limited', event: 'mint.refused', attempts: 2 } as const)),
  { name: '503', reply: failure(503), code: 'upstream_error', event: 'mint.refused', attempts: 2 },
  { name: '503 with Retry-After', reply: failure(503, null, { headers: { 'retry-after': '0' } }), code: 'upstream_unavailable', event: 'mint.refused', attempts: 2 }
]

export const LATE: readonly Hostile[] = [
  { name: 'no answer at all', reply: () => {}, code: 'upstream_timeout', event: 'mint.unknown', attempts: 1 },
  { name: 'headers and then nothing', reply: (_received, response) => response.writeHead(200).flushHeaders(), code: 'upstream_timeout', event: 'mint.unknown', attempts: 1 },
  { name: 'a body that drips', reply: drip, code: 'upstream_timeout', event: 'mint.unknown', attempts: 1 },
  { name: 'headers that drip', reply: (_received, { socket }) => { socket?.write(OK); const timer = setInterval(() => socket?.write('X-Drip: y\r\n'), 20); socket?.once('close', () => clearInterval(timer)) }, code: 'upstream_timeout', event: 'mint.unknown', attempts: 1 }
]
